/** Large files come to the disk as they are written: a sync of all of it at the end keeps every other file's waiting. */

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { flushWhile, readInPieces, writeFlushed } from '../../src/store/flushed-file.ts';

const mebibyte = 1024 * 1024;
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-flushed-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.restoreAllMocks());

/** Counts the syncs of all files. */
async function countSyncs() {
  const file = await open(join(folder, 'any'), 'w');
  const spy = vi.spyOn(Object.getPrototypeOf(file), 'datasync');
  await file.close();
  return spy.mock.calls;
}

test('A large file is synced every few megabytes as it is written, and is what was written', async () => {
  const [from, to] = [join(folder, 'from'), join(folder, 'to')];
  const bytes = Buffer.alloc(17 * mebibyte + 5).map((_, at) => at % 251);
  writeFileSync(from, bytes);
  const syncs = await countSyncs();
  await writeFlushed(to, readInPieces(from));
  expect(syncs).toHaveLength(4);
  expect(readFileSync(to).equals(bytes)).toBe(true);
  expect(statSync(to).mode & 0o777).toBe(0o600);
  await expect(writeFlushed(to, readInPieces(from))).rejects.toThrow('EEXIST');
});

test('A file that somebody else writes is synced until that ends, however it does', async () => {
  const path = join(folder, 'other');
  writeFileSync(path, '');
  const syncs = await countSyncs();
  const seen = async (count: number) => {
    const before = syncs.length;
    await vi.waitUntil(() => syncs.length >= before + count, { timeout: 10_000 });
  };
  expect(await flushWhile(path, () => seen(3).then(() => 'written'))).toBe('written');
  const refused = flushWhile(path, async () => {
    await seen(2);
    throw new Error('the disk is full');
  });
  await expect(refused).rejects.toThrow('the disk is full');
  const after = syncs.length;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(syncs).toHaveLength(after);
});
