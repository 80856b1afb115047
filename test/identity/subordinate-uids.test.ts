/** Whose a subordinate uid is, by tables of this test's own and by the machine's. */

import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ownerOfUid, SubordinateUids } from '../../src/identity/subordinate-uids.ts';

let folder: string;
let subuidPath: string;
let passwdPath: string;
let directory: Map<string, number>;
let owners: SubordinateUids;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-subuid-'));
  subuidPath = join(folder, 'subuid');
  passwdPath = join(folder, 'passwd');
  writeFileSync(passwdPath, 'root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n');
  directory = new Map();
  owners = new SubordinateUids({ subuidPath, passwdPath, idOfUser: (name) => directory.get(name) });
});

afterEach(() => rmSync(folder, { recursive: true }));

/** As `usermod` does it. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}-`, text);
  renameSync(`${path}-`, path);
}

const table = `alice:100000:65536
bob:165536:65536
1002:300000:10
carol:400000:10
dave:500000:10
carol:600000:10
bob:100100:10
`;

test.each([
  ['the first of a range', 100_000, 1000],
  ['the last of a range', 165_535, 1000],
  ['the first of the next', 165_536, 1001],
  ['one that two have: the first', 100_105, 1000],
  ['of an owner by uid', 300_009, 1002],
  ['of an owner whom a directory knows', 400_003, 70_003],
  ['of an owner of whom nothing is known: one for all of his', 500_003, 500_000],
  ['before all', 99_999, 99_999],
  ['after a range', 300_010, 300_010],
  ['an owner himself', 1000, 1000],
  ['nobody’s', 65_534, 65_534],
  ['the largest', 4_294_967_294, 4_294_967_294],
])('%s: uid %i is %i’s', (_, uid, owner) => {
  writeFileSync(subuidPath, table);
  directory.set('carol', 70_003);
  expect(owners.ownerOf(uid)).toBe(owner);
});

test('an owner of whom nothing is known is one, whatever range of his it is', () => {
  writeFileSync(subuidPath, table);
  expect([400_003, 600_003].map((uid) => owners.ownerOf(uid))).toEqual([400_000, 400_000]);
  directory.set('carol', 70_003);
  expect([400_003, 600_003].map((uid) => owners.ownerOf(uid))).toEqual([70_003, 70_003]);
});

test.each([
  'alice',
  'alice:200000',
  ':200000:65536',
  'alice:200000:65536:',
  'alice:200000:-65536',
  'alice:2e5:65536',
  'alice: 200000:65536',
  'alice:200000:0',
  'alice:200000:4294967295',
  '# alice:200000:65536 is what she had',
])('a broken line, %j, says nothing, and takes nothing from the others', (line) => {
  writeFileSync(subuidPath, `${line}\nbob:300000:1\n`);
  expect([200_000, 265_535, 300_000].map((uid) => owners.ownerOf(uid))).toEqual([200_000, 265_535, 1001]);
});

test('root is nobody’s subordinate', () => {
  writeFileSync(subuidPath, 'alice:0:65536\n');
  expect(owners.ownerOf(0)).toBe(0);
  expect(owners.ownerOf(1001)).toBe(1000);
});

test('a table that is made, replaced, added to or removed counts from the next question on', () => {
  expect(owners.ownerOf(100_000)).toBe(100_000);
  writeFileSync(subuidPath, 'alice:100000:65536\n');
  expect(owners.ownerOf(100_000)).toBe(1000);
  replace(subuidPath, 'bob:100000:65536\n');
  expect(owners.ownerOf(100_000)).toBe(1001);
  writeFileSync(subuidPath, 'alice:200000:65536\n', { flag: 'a' });
  expect([100_000, 200_000].map((uid) => owners.ownerOf(uid))).toEqual([1001, 1000]);
  replace(passwdPath, 'alice:x:2000:2000::/:/bin/sh\n');
  expect([100_000, 200_000].map((uid) => owners.ownerOf(uid))).toEqual([100_000, 2000]);
  rmSync(subuidPath);
  expect(owners.ownerOf(100_000)).toBe(100_000);
});

test('the machine’s own tables leave its root and its users who they are', () => {
  expect(ownerOfUid(0)).toBe(0);
  expect(ownerOfUid(1)).toBe(1);
});
