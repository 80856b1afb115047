/** Files of identity policies, as an administrator writes them. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface IdentityStatement {
  readonly Sid?: string;
  readonly Effect: 'Allow' | 'Deny';
  readonly Action: string | readonly string[];
  readonly Resource: string;
  readonly Condition?: object;
}

export const may = (Action: string | readonly string[], Resource = '*', more: object = {}): IdentityStatement => ({
  Effect: 'Allow',
  Action,
  Resource,
  ...more,
});

/** Over what there may be under that name. */
export function writeIdentityPolicy(
  folder: string,
  name: string,
  AttachedTo: readonly string[],
  ...Statement: readonly IdentityStatement[]
): void {
  const PolicyDocument = { Version: '2012-10-17', Statement };
  writeFileSync(join(folder, name), JSON.stringify({ AttachedTo, PolicyDocument }));
}
