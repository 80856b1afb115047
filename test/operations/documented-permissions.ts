/** The rows of `test/vectors/kms-developer-guide/permissions.txt`: what AWS says that each action is a permission on. */

import { readFileSync } from 'node:fs';

export interface DocumentedPermission {
  readonly action: string;
  readonly resources: readonly string[];
  readonly source: string;
  /** In the order of their names. */
  readonly conditions: readonly string[];
}

const file = new URL('../vectors/kms-developer-guide/permissions.txt', import.meta.url);

/** Cells are set apart by spaces; what stands above the empty line is for people. */
const [head, ...rows] = (readFileSync(file, 'utf8').split('\n\n').at(-1) ?? '')
  .trimEnd()
  .split('\n')
  .map((line) => line.split(/ +/));
if (head?.join(' ') !== 'action resource source conditions') throw new Error(`${file.pathname} has other columns`);

export const documentedPermissions: readonly DocumentedPermission[] = rows.map(
  ([action = '', resources = '', source = '', ...conditions]) => ({
    action,
    resources: resources.split(','),
    source,
    conditions: conditions.filter((name) => name !== '-').toSorted(),
  }),
);

const byAction = new Map(documentedPermissions.map((row) => [row.action, row]));

export function documentedPermission(action: string): DocumentedPermission {
  const row = byAction.get(action);
  if (row === undefined) throw new Error(`${file.pathname} has no row for ${action}`);
  return row;
}

/** The operation whose permission the action is. */
export function operationOfAction(action: string): string {
  return action.replace(/^kms:/, '').replace(/^(ReEncrypt)(?:From|To)$/, '$1');
}
