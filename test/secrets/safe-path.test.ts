import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { assertSafePath } from '../../src/secrets/safe-path.ts';

const isRoot = process.getuid?.() === 0;
const stranger = 12_345;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-safe-'));
  mkdirSync(join(folder, 'a', 'b'), { recursive: true, mode: 0o755 });
  writeFileSync(join(folder, 'a', 'b', 'file'), '', { mode: 0o644 });
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('a path', () => {
  test('below /tmp is safe, and so is a link of its own', async () => {
    expect((await assertSafePath(join(folder, 'a/b/file'))).isFile()).toBe(true);
    symlinkSync('../a/b', join(folder, 'a', 'link'));
    expect((await assertSafePath(join(folder, 'a/link/file'))).isFile()).toBe(true);
    symlinkSync(join(folder, 'a'), join(folder, 'absolute'));
    expect((await assertSafePath(join(folder, 'absolute/link'))).isDirectory()).toBe(true);
    symlinkSync('b/..', join(folder, 'a', 'up'));
    expect((await assertSafePath(join(folder, 'a/up'))).isDirectory()).toBe(true);
  });

  test('that is not there fails as it does for everybody', async () => {
    await expect(assertSafePath(join(folder, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
    symlinkSync('loop', join(folder, 'loop'));
    await expect(assertSafePath(join(folder, 'loop'))).rejects.toMatchObject({ code: 'ELOOP' });
  });

  test.each([
    ['everybody', 0o757, 'a', 'everybody; run: chmod o-w'],
    ['everybody, though it is a file', 0o646, 'a/b/file', 'everybody; run: chmod o-w'],
  ])('that can be written by %s is not', async (_who, mode, part, why) => {
    chmodSync(join(folder, part), mode);
    await expect(assertSafePath(join(folder, 'a/b/file'))).rejects.toThrow(
      `can be written by ${why} ${join(folder, part)}`,
    );
  });

  test('to a device or a socket is, though everybody can talk to what is behind it', async () => {
    expect((await assertSafePath('/dev/null')).isCharacterDevice()).toBe(true);
    const server = createServer();
    onTestFinished(() => void server.close());
    await new Promise<void>((resolve) => void server.listen(join(folder, 'socket'), resolve));
    chmodSync(join(folder, 'socket'), 0o777);
    expect((await assertSafePath(join(folder, 'socket'))).isSocket()).toBe(true);
    chmodSync(folder, 0o757);
    await expect(assertSafePath(join(folder, 'socket'))).rejects.toThrow(`chmod o-w ${folder}`);
  });

  test('in a folder with the sticky bit is', async () => {
    chmodSync(join(folder, 'a'), 0o1777);
    expect((await assertSafePath(join(folder, 'a/b/file'))).isFile()).toBe(true);
  });

  describe.skipIf(!isRoot)("with something of somebody else's on it", () => {
    test.each(['a', 'a/b', 'a/b/file'])('is not: %s', async (part) => {
      chownSync(join(folder, part), stranger, 0);
      await expect(assertSafePath(join(folder, 'a/b/file'))).rejects.toThrow(`belongs to uid ${stranger}, who can put`);
      expect((await assertSafePath(join(folder, 'a/b/file'), { owners: [stranger] })).isFile()).toBe(true);
    });

    test('is not, where it is a link in a folder that all can write to', async () => {
      chmodSync(folder, 0o755);
      chmodSync(join(folder, 'a'), 0o1777);
      execFileSync('setpriv', [`--reuid=${stranger}`, '--clear-groups', 'ln', '-s', 'b', join(folder, 'a', 'link')]);
      await expect(assertSafePath(join(folder, 'a/link/file'))).rejects.toThrow(`belongs to uid ${stranger}`);
    });

    test('is not, where a group can write to it in which others are, and is where only its owner is in it', async () => {
      chmodSync(join(folder, 'a'), 0o775);
      // The group of several users of the system, none of whom is a member by the group's own entry.
      const nogroup = 65_534;
      chownSync(join(folder, 'a'), 4, nogroup);
      await expect(assertSafePath(join(folder, 'a'), { owners: [4] })).rejects.toThrow(
        `the group ${nogroup}; run: chmod g-w`,
      );
      // The user `daemon` is alone in his.
      chownSync(join(folder, 'a'), 1, 1);
      expect((await assertSafePath(join(folder, 'a'), { owners: [1] })).isDirectory()).toBe(true);
    });
  });
});
