import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { createSmallDisk, smallDiskMissing } from '../support/small-disk.ts';
import { aliasPut, asPuts, examplePuts, examples, formerRegion, testMacs } from './records.ts';

describe('a daemon that is killed while it writes metadata', () => {
  test('finds every acknowledged record, and no half of a write, when it starts again', {
    timeout: 120_000,
  }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
    const path = join(folder, 'metadata.db');
    try {
      const acknowledged: number[] = [];
      for (const killAfter of [1, 2, 37, 150, 400]) {
        acknowledged.push(...(await writeUntilKilled(path, (acknowledged.at(-1) ?? 0) + 1_000, killAfter)));
        const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
        const loaded = await store.load();
        await store.close();
        expect(loaded.quarantined).toEqual([]);
        const names = new Set<string>(loaded.alias.map((alias) => alias.aliasName));
        expect(acknowledged.filter((number) => !names.has(`alias/n${number}`))).toEqual([]);
        const halves = [...names].filter(
          (name) => name.startsWith('alias/n') && !names.has(name.replace('/n', '/twin')),
        );
        expect(halves).toEqual([]);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

async function writeUntilKilled(path: string, first: number, killAfter: number): Promise<readonly number[]> {
  const child = spawn(
    process.execPath,
    [new URL('./store-child.ts', import.meta.url).pathname, 'write', path, String(first)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const exited = once(child, 'exit');
  onTestFinished(() => void child.kill('SIGKILL'));
  const acknowledged: number[] = [];
  for await (const line of createInterface(child.stdout)) {
    acknowledged.push(Number(line));
    if (acknowledged.length === killAfter) child.kill('SIGKILL');
  }
  expect(await exited).toEqual([null, 'SIGKILL']);
  return acknowledged;
}

describe.skipIf(smallDiskMissing !== null)('a disk', () => {
  test('that fills up refuses the write that does not fit, whole, and takes the next one that does', async () => {
    const disk = createSmallDisk(1024 * 1024);
    try {
      const path = join(disk.folder, 'metadata.db');
      const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
      await store.write(examplePuts);
      const large = {
        put: 'keyPolicy',
        record: { ...examples.keyPolicy, version: 2, document: 'x'.repeat(2 * 1024 * 1024) },
        replaces: 1,
      } as const;
      await expect(store.write([aliasPut('half'), large])).rejects.toMatchObject({
        name: 'StoreError',
        failure: 'full',
        message: `cannot write to the metadata store \`${path}\`: database or disk is full; make room on the disk`,
      });
      await store.write([aliasPut('small')]);
      await store.close();
      const reopened = await openSqliteStore({ path, macs: testMacs, formerRegion });
      const loaded = await reopened.load();
      await reopened.close();
      expect(loaded.quarantined).toEqual([]);
      expect(asPuts(loaded)).toEqual(asPuts({ ...loaded, keyPolicy: [examples.keyPolicy] }));
      expect(loaded.alias.map((alias) => alias.aliasName)).toEqual(['alias/payroll', 'alias/small']);
    } finally {
      disk.remove();
    }
  });

  test('that is read-only is named when the store is opened', async () => {
    const disk = createSmallDisk(1024 * 1024);
    try {
      const path = join(disk.folder, 'metadata.db');
      const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
      await store.write(examplePuts);
      await store.close();
      disk.makeReadOnly();
      await expect(openSqliteStore({ path, macs: testMacs, formerRegion })).rejects.toMatchObject({
        name: 'StoreError',
        failure: 'readOnly',
        message: `cannot open the metadata store \`${path}\`: the file system is read-only (EROFS)`,
      });
    } finally {
      disk.remove();
    }
  });
});
