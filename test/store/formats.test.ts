/** Rows that an earlier version wrote, with fewer members than records have now. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LoadedMetadata } from '../../src/store/metadata-store.ts';
import { toColumns } from '../../src/store/record-columns.ts';
import { canonicalRecord } from '../../src/store/record-mac.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { examples, testMac } from './records.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  path = join(folder, 'metadata.db');
});
afterEach(() => rmSync(folder, { recursive: true }));

const edited = 'its MAC does not verify: it was edited or damaged';

/** A backing key as format 1 has it: without a public key, in the row and under the MAC. */
async function writeFormat1(): Promise<void> {
  const store = await openSqliteStore({ path, mac: testMac });
  await store.write([{ put: 'backingKey', record: examples.backingKey }]);
  await store.close();
  const { publicKey, ...columns } = toColumns('backingKey', { ...examples.backingKey, publicKey: null });
  const mac = (await testMac(canonicalRecord('backingKey', columns, 1))).toString('hex');
  run(`UPDATE backing_key SET format = 1, public_key = '${publicKey}', mac = '${mac}'`);
}

async function load(): Promise<LoadedMetadata> {
  const store = await openSqliteStore({ path, mac: testMac });
  try {
    return await store.load();
  } finally {
    await store.close();
  }
}

function run(sql: string): void {
  const database = new DatabaseSync(path);
  database.exec(sql);
  database.close();
}

describe('a backing key that was written before public keys were kept', () => {
  test('is read as one that has none', async () => {
    await writeFormat1();
    const { backingKey, quarantined } = await load();
    expect(quarantined).toEqual([]);
    expect(backingKey).toEqual([{ ...examples.backingKey, publicKey: null }]);
  });

  test('is not one that has another member edited', async () => {
    await writeFormat1();
    run('UPDATE backing_key SET reserved_encryptions = 0');
    expect((await load()).quarantined).toMatchObject([{ kind: 'backingKey', reason: edited }]);
  });

  test.each([
    ['is given a public key, which its MAC would not cover', "UPDATE backing_key SET public_key = 'MCowBQYDK2Vw'"],
    ['is called one of the newer format', 'UPDATE backing_key SET format = 2'],
    ['has the format of nothing', 'UPDATE backing_key SET format = 0'],
  ])('is refused when it %s', async (_what, sql) => {
    await writeFormat1();
    run(sql);
    const { backingKey, quarantined } = await load();
    expect(backingKey).toEqual([]);
    expect(quarantined).toHaveLength(1);
  });

  test('is of the newer format once it is put again', async () => {
    await writeFormat1();
    const store = await openSqliteStore({ path, mac: testMac });
    await store.write([{ put: 'backingKey', record: examples.backingKey }]);
    await store.close();
    run("UPDATE backing_key SET public_key = ''");
    expect((await load()).quarantined).toMatchObject([{ kind: 'backingKey', reason: edited }]);
  });
});

describe('a public key', () => {
  test.each([
    ['is no base64', '!!!!'],
    ['has a stray bit at its end', 'MB=='],
    ['has a line end in it', 'MCow\nBQYDK2Vw'],
  ])('that %s is no write of ours', async (_what, column) => {
    await writeFormat1();
    const store = await openSqliteStore({ path, mac: testMac });
    await store.write([{ put: 'backingKey', record: examples.backingKey }]);
    await store.close();
    run(`UPDATE backing_key SET public_key = '${column}'`);
    expect((await load()).quarantined).toMatchObject([
      { kind: 'backingKey', reason: 'its member publicKey has a value that nothing here writes' },
    ]);
  });
});
