import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { UserDatabaseWatch } from '../../src/identity/user-database-watch.ts';

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-users-'));
afterAll(() => rmSync(folder, { recursive: true }));

const paths = { passwd: join(folder, 'passwd'), group: join(folder, 'group'), nsswitch: join(folder, 'nsswitch.conf') };
let nowMs: number;
let watch: UserDatabaseWatch;

beforeEach(() => {
  nowMs = 1_000_000;
  for (const path of Object.values(paths)) writeFileSync(path, '');
  watch = new UserDatabaseWatch(paths, () => nowMs);
});

/** The files are looked at once in each. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setTimeout(() => setImmediate(resolve)));

function replace(path: string, text: string): void {
  writeFileSync(`${path}+`, text);
  renameSync(`${path}+`, path);
}

test.each(['passwd', 'group', 'nsswitch'] as const)(
  'a change of %s is seen in the next turn, of nsswitch.conf within a second',
  async (file) => {
    const before = [watch.state(), watch.filesState()];
    await nextTurn();
    expect([watch.state(), watch.filesState()]).toEqual(before);
    for (const change of [
      () => replace(paths[file], 'a:x:1:1\n'),
      () => writeFileSync(paths[file], 'b:x:1:12\n'),
      () => rmSync(paths[file]),
    ]) {
      const [state, filesState] = [watch.state(), watch.filesState()];
      change();
      nowMs += 1_000;
      await nextTurn();
      expect(watch.filesState()).not.toBe(filesState);
      expect(watch.state()).not.toBe(state);
    }
  },
);

test.each<[string, string, boolean]>([
  ['no configuration', '', true],
  ['files', 'passwd: files\ngroup:  files\nhosts: files dns\n', true],
  ['files and what to do then', 'passwd: files [NOTFOUND=return !SUCCESS=continue]\n', true],
  ['a directory', 'passwd: files sss\ngroup: files\n', false],
  ['a directory of groups', 'passwd: files\n group:files [NOTFOUND=continue] ldap # later\n', false],
  ['a directory of memberships', 'passwd: files\ninitgroups: sss\n', false],
  ['systemd’s dynamic users', 'passwd:\tfiles systemd\n', false],
  ['NIS', 'passwd: compat\n', false],
  ['a directory in a comment', 'passwd: files # sss\n#group: sss\n', true],
])('with %s, what was said is good for seconds unless there are files alone', (_, nsswitch, isFilesOnly) => {
  replace(paths.nsswitch, nsswitch);
  const [state, filesState] = [watch.state(), watch.filesState()];
  const { freshMs, staleMs } = watch.freshness;
  expect([freshMs, staleMs]).toEqual(isFilesOnly ? [60_000, 600_000] : [5_000, 10_000]);
  nowMs += 4_999;
  expect(watch.state()).toBe(state);
  nowMs += 1;
  expect(watch.state() === state).toBe(isFilesOnly);
  expect(watch.filesState()).toBe(filesState);
});

test('another answer than before means that everybody is identified again', () => {
  const state = watch.state();
  watch.hasAnsweredOtherwise();
  expect(watch.state()).not.toBe(state);
});
