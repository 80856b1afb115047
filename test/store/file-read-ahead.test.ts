/** A metadata store that is not in memory is read in order when it is opened, whatever of it the start asks for. */

import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout } from 'node:timers/promises';
import koffi from 'koffi';
import { expect, onTestFinished, test, vi } from 'vitest';
import { readAhead } from '../../src/secrets/file-ahead.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { formerRegion, testMacs } from './records.ts';

const fadvise = koffi.load(null).func('int posix_fadvise(int descriptor, int64_t offset, int64_t length, int advice)');
const dontNeed = 4;
/** Where files are on a disk: what `TMPDIR` names may be memory. */
const onDisk = '/var/tmp';

function folderOnDisk(): string {
  const folder = mkdtempSync(join(onDisk, 'drawbridge-ahead-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Of a file, in memory. */
function residentBytes(path: string): number {
  const { stdout, status } = spawnSync('fincore', ['--bytes', '--noheadings', '--output', 'RES', path], {
    encoding: 'utf8',
  });
  return status === 0 ? Number(stdout) : Number.NaN;
}

function putOutOfMemory(path: string): void {
  const descriptor = openSync(path, 'r');
  fsyncSync(descriptor);
  fadvise(descriptor, 0, 0, dontNeed);
  closeSync(descriptor);
}

function whyNot(): string | null {
  const folder = mkdtempSync(join(onDisk, 'drawbridge-ahead-'));
  try {
    const path = join(folder, 'probe');
    writeFileSync(path, randomBytes(1024 ** 2));
    putOutOfMemory(path);
    const bytes = residentBytes(path);
    if (Number.isNaN(bytes)) return 'no fincore';
    return bytes < 1024 ** 2 ? null : `files in ${onDisk} stay in memory`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
const missing = whyNot();
if (missing !== null) process.stdout.write(`skipped: a file that is read ahead: ${missing}\n`);

const expectInMemory = (path: string): Promise<void> =>
  vi.waitFor(() => expect(residentBytes(path)).toBeGreaterThanOrEqual(statSync(path).size), { timeout: 60_000 });

test.skipIf(missing !== null)('a file is in memory soon after it was asked for', async () => {
  const path = join(folderOnDisk(), 'file');
  writeFileSync(path, randomBytes(24 * 1024 ** 2 + 1));
  putOutOfMemory(path);
  expect(residentBytes(path)).toBeLessThan(1024 ** 2);
  const descriptor = openSync(path, 'r');
  onTestFinished(() => closeSync(descriptor));
  await readAhead(path);
  await expectInMemory(path);
});

test.skipIf(missing !== null)('a store is asked for whole before it is opened', async () => {
  const path = join(folderOnDisk(), 'metadata.db');
  const options = { path, macs: testMacs, formerRegion };
  await (await openSqliteStore(options)).close();
  const database = new DatabaseSync(path);
  // Of a record that nothing reads when the store is opened.
  const put = database.prepare(
    "insert into tombstone (region, key_id, version, deleted_at_ms, domain_key_ids, format, mac) values (?, ?, 1, 1, '', 2, '')",
  );
  database.exec('begin');
  for (let row = 0; row < 1000; row++) put.run(`region-${row}`, randomBytes(8192).toString('hex'));
  database.exec('commit');
  database.close();
  putOutOfMemory(path);
  expect(residentBytes(path)).toBeLessThan(8 * 1024 ** 2);
  const store = await openSqliteStore(options);
  onTestFinished(() => store.close());
  await expectInMemory(path);
});

test('a file that is read ahead stays locked by this process, which closing it anywhere would end', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-ahead-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'locked.db');
  const database = new DatabaseSync(path);
  onTestFinished(() => database.close());
  database.exec('create table t (a); begin exclusive');
  const locking = `new (require('node:sqlite').DatabaseSync)(process.argv[1]).exec('begin exclusive')`;
  const lockElsewhere = () => spawnSync(process.execPath, ['-e', locking, path], { encoding: 'utf8' });
  await readAhead(path);
  expect(lockElsewhere().stderr).toContain('database is locked');
  database.exec('commit');
  expect(lockElsewhere()).toMatchObject({ status: 0 });
});

test.skipIf(missing !== null)('a file that is not open is left on the disk', async () => {
  const path = join(folderOnDisk(), 'file');
  writeFileSync(path, randomBytes(24 * 1024 ** 2));
  putOutOfMemory(path);
  await readAhead(path);
  await setTimeout(500);
  expect(residentBytes(path)).toBeLessThan(1024 ** 2);
});

test('a file that is not there is not made', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-ahead-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  await readAhead(join(folder, 'none'));
  expect(readdirSync(folder)).toEqual([]);
});
