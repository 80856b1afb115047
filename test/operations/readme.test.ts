/** What README.md says of operations is what the table says; with `-u` it is written anew, like any snapshot. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { operationTable, renderOperationTable } from '../../scripts/operation-table.ts';
import { operationNames } from '../../src/kms/operation-names.ts';

const readme = fileURLToPath(new URL('../../README.md', import.meta.url));

test('README.md says which operations there are', async () => {
  await expect(operationTable.replace(readFileSync(readme, 'utf8'), renderOperationTable())).toMatchFileSnapshot(
    readme,
  );
});

test('every operation of AWS KMS stands in its table once', () => {
  const words = renderOperationTable()
    .replaceAll(/\(.*?\)/g, '')
    .split(/[^A-Za-z]+/);
  for (const name of operationNames) expect([name, words.filter((word) => word === name).length]).toEqual([name, 1]);
});
