/** The programs of others in `test/clients`: each can be run, and has its row in the table. Running them is `scripts/clients`. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { operations } from '../../src/operations/find-operation.ts';
import { root, runScript } from './run-script.ts';

const folder = join(root, 'test/clients');
const names = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

test.each(names)('%s says what it is, which operations it needs, and has been run', (name) => {
  const client = JSON.parse(readFileSync(join(folder, name, 'client.json'), 'utf8'));
  expect(Object.keys(client).sort()).toEqual(['did', 'operations', 'program']);
  const known = new Set<string>([...operations.map((operation) => operation.name), 'AssumeRole', 'GetCallerIdentity']);
  expect(Object.keys(client.operations).filter((operation) => !known.has(operation))).toEqual([]);
  expect(Object.keys(client.operations)).not.toEqual([]);
  expect(existsSync(join(folder, name, 'run'))).toBe(true);
  const rows = readFileSync(join(folder, 'README.md'), 'utf8').split('\n');
  expect(rows.filter((row) => row.startsWith(`| ${client.program} | `))).toEqual([
    expect.stringContaining(' | passed |'),
  ]);
});

test('what programs take is told in order, and each line by what was run', () => {
  const text = readFileSync(join(root, 'native-config/aws/README.md'), 'utf8');
  const rows = text.split('\n').filter((line) => / \| [^|]*(test\/clients\/|\.test\.ts)[^|]*\|$/.test(line));
  expect(rows.length).toBeGreaterThan(10);
  const programs = rows.map((row) => (row.split(' | ')[0] ?? '').toLowerCase());
  expect(programs).toEqual(programs.toSorted());
  for (const row of rows) {
    const [, name] = /\(\.\.\/\.\.\/test\/clients\/([a-z0-9-]+)\) \|$/.exec(row) ?? [];
    const path = name === undefined ? `test/end-to-end/${/`([^`]*)` \|$/.exec(row)?.[1]}` : `test/clients/${name}`;
    expect(existsSync(join(root, path)), path).toBe(true);
  }
});

test('a program that is not there is refused with those that are', async () => {
  const { code, stderr } = await runScript('clients', ['boto4']);
  expect(code).toBe(2);
  expect(stderr).toContain(`there is no \`boto4\` in test/clients; there are ${names.toSorted().join(', ')}`);
});
