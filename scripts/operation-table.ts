/**
 * Writes the part of README.md that says which operations of AWS KMS there are, from the table of operations.
 *
 *     node scripts/operation-table.ts           print it
 *     node scripts/operation-table.ts --write   put it into README.md, between its two markers
 *
 * `test/operations/readme.test.ts` holds the README to it, and writes it too when snapshots are written anew.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { AnyOperation } from '../src/operations/declaration/operation.ts';
import { operations, unbuiltOperations } from '../src/operations/find-operation.ts';
import * as table from '../src/operations/table.ts';
import { markedPart } from './marked-part.ts';

export const operationTable = markedPart('scripts/operation-table.ts');

const rowsText = readFileSync(new URL('../src/operations/table.ts', import.meta.url), 'utf8');
const readme = fileURLToPath(new URL('../README.md', import.meta.url));

const effects = ['reads', 'uses', 'changes'] as const satisfies readonly AnyOperation['effect'][];

/** One row for each topic, and a line of what is not built. */
export function renderOperationTable(): string {
  const rows = [...Map.groupBy(operations, topicOf)].toSorted().map(([topic, own]) => {
    const cells = effects.map((effect) =>
      own
        .filter((one) => one.effect === effect)
        .map(describe)
        .join(', '),
    );
    return `| \`${topic}/\` | ${cells.join(' | ')} |`;
  });
  const notBuilt = unbuiltOperations.length === 0 ? [] : ['', `Not built yet: ${unbuiltOperations.join(', ')}.`];
  return ['| | reads | uses a key | changes |', '| --- | --- | --- | --- |', ...rows, ...notBuilt].join('\n');
}

/** The folder of its file, as its row in the table has it. */
function topicOf({ name }: AnyOperation): string {
  const [row] = Object.entries(table).find(([, operation]) => operation.name === name) ?? [];
  const topic = new RegExp(`^export \\{ ${row} \\} from '\\./([^/]+)/`, 'm').exec(rowsText)?.[1];
  if (topic === undefined) throw new Error(`src/operations/table.ts has no row for ${name}`);
  return topic;
}

/** Its name, with the permissions that it takes where they are not one of its own name. */
function describe({ name, needs }: AnyOperation): string {
  const all = [...(needs.resources ?? []), ...Object.values(needs.keys ?? {})].map(({ action }) => action);
  const permissions = [...new Set(all)];
  return permissions.join() === `kms:${name}` ? name : `${name} (${permissions.join(', ')})`;
}

if (import.meta.main) {
  const rendered = renderOperationTable();
  if (process.argv.includes('--write'))
    writeFileSync(readme, operationTable.replace(readFileSync(readme, 'utf8'), rendered));
  else process.stdout.write(`${rendered}\n`);
}
