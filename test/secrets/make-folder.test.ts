import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FolderError, makeFolder } from '../../src/secrets/make-folder.ts';

const root = mkdtempSync(join(tmpdir(), 'drawbridge-folder-'));
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

beforeAll(() => {
  chmodSync(root, 0o755);
  writeFileSync(join(root, 'file'), '');
  symlinkSync(join(root, 'nothing'), join(root, 'link'));
});
afterAll(() => rmSync(root, { recursive: true }));

describe('a folder', () => {
  test('is made with those above it, in the mode that was asked for, and left as it is the second time', async () => {
    const deep = join(root, 'a', 'b', 'c');
    expect(await makeFolder(deep, 0o700)).toBe(true);
    expect([join(root, 'a'), join(root, 'a', 'b'), deep].map(modeOf)).toEqual(['700', '700', '700']);
    chmodSync(deep, 0o711);
    expect(await makeFolder(deep, 0o700)).toBe(false);
    expect(modeOf(deep)).toBe('711');
  });

  test('that two make at once is there for both', async () => {
    const deep = join(root, 'd', 'e', 'f');
    await Promise.all([makeFolder(deep), makeFolder(deep), makeFolder(join(deep, 'g'))]);
    expect(statSync(join(deep, 'g')).isDirectory()).toBe(true);
  });

  const file = 'something on its path is a file; choose another place';
  const refusals: readonly [where: string, path: string, reason: string][] = [
    ['where a file is', join(root, 'file'), file],
    ['under a file', join(root, 'file', 'x', 'y'), file],
    ['where a link leads nowhere', join(root, 'link'), file],
    ['with a name that is too long', join(root, 'x'.repeat(256)), 'ENAMETOOLONG'],
  ];
  test.each(refusals)('%s is refused in words', async (_where, path, reason) => {
    await expect(makeFolder(path)).rejects.toThrow(new FolderError(`cannot make the folder \`${path}\`: ${reason}`));
  });
});

/** Root may everywhere. */
const nobody = 65_534;
const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stdout.write('skipped: folders where nobody can make any: not root\n');
describe.skipIf(!isRoot)('a folder that nobody can make', () => {
  test('in `/proc` is refused at once', async () => {
    const path = '/proc/drawbridge/token';
    await expect(makeFolder(path)).rejects.toThrow(
      new FolderError(
        `cannot make the folder \`${path}\`: nobody can make folders in \`/proc\` (ENOENT); choose another place`,
      ),
    );
  });
});

test('a folder that only others may make is refused with who could', async () => {
  const closed = join(root, 'closed');
  mkdirSync(closed, { mode: 0o555 });
  const path = join(closed, 'x');
  if (isRoot) process.seteuid?.(nobody);
  try {
    await expect(makeFolder(path)).rejects.toThrow(
      new FolderError(
        `cannot make the folder \`${path}\`: you may not make folders in \`${closed}\` (EACCES); run as a user who may, or choose another place`,
      ),
    );
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});
