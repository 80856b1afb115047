/** The table has each operation once, under a name that AWS KMS has, every file that declares one is in it, and each is tested. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { operationNames } from '../../src/kms/operation-names.ts';
import { findOperation, isUnbuilt, operations, unbuiltOperations } from '../../src/operations/find-operation.ts';

const folder = fileURLToPath(new URL('../../src/operations/', import.meta.url));
/** `./keys/create-key.ts` */
const rows = [...readFileSync(join(folder, 'table.ts'), 'utf8').matchAll(/^export .* from '(.*)';$/gm)].map(
  ([, path = '']) => path,
);
const declaring = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && / = operation\(\{/.test(readFileSync(join(folder, path), 'utf8')))
  .map((path) => `./${path}`);

test('every file that declares an operation has one row in the table, and no row has another file', () => {
  expect(declaring.length).toBeGreaterThan(30);
  expect(rows.toSorted()).toEqual(declaring.toSorted());
});

test('every operation is in the table once', () => {
  const names = operations.map(({ name }) => name);
  expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  expect(names).toHaveLength(rows.length);
});

test('every operation in the table is one of AWS KMS', () => {
  const known: ReadonlySet<string> = new Set(operationNames);
  expect(operations.map(({ name }) => name).filter((name) => !known.has(name))).toEqual([]);
});

test('each name of AWS KMS finds its own operation, or is one of those that are not built', () => {
  for (const name of operationNames) {
    expect([name, findOperation(name)?.name]).toEqual([name, isUnbuilt(name) ? undefined : name]);
  }
  expect(operations.length + unbuiltOperations.length).toBe(operationNames.length);
});

test('every operation is called in a file of test/end-to-end/', () => {
  const endToEnd = fileURLToPath(new URL('../end-to-end/', import.meta.url));
  // What `support/examples.ts` makes of the schemas says nothing of what an operation does.
  const tests = readdirSync(endToEnd, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && path !== 'support/examples.ts')
    .map((path) => readFileSync(join(endToEnd, path), 'utf8'))
    .join('\n');
  const untested = operations.filter(({ name }) => {
    const method = `${name.charAt(0).toLowerCase()}${name.slice(1)}`;
    // By the SDK, or on either wire: by its name, or in a row of a table of requests.
    const call = `\\.${method}\\(|\\b${name}Command\\(|/v1/${name}\\b|\\bcall(?:V1)?\\([^'\\n]*'${name}'|\\['${name}', \\{`;
    return !new RegExp(call).test(tests);
  });
  expect(untested.map(({ name }) => `${name} has no behaviour test: call it in a file of test/end-to-end/`)).toEqual(
    [],
  );
});

test.each(['', 'encrypt', 'Frobnicate', '__proto__', 'toString', 'createKey'])('%j is no operation', (name) => {
  expect(findOperation(name)).toBeUndefined();
  expect(isUnbuilt(name)).toBe(false);
});
