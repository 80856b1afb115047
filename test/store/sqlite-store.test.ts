import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BackingKeyId } from '../../src/kms/names.ts';
import { added, type Change, removed, replaced } from '../../src/store/records/changes.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { StoreError } from '../../src/store/store-error.ts';
import { arbitraryPut } from './arbitrary-records.ts';
import {
  aliasPut,
  asPuts,
  conflict,
  eachByItself,
  examplePuts,
  examples,
  formerRegion,
  inSequence,
  lastPuts,
  testMac,
  testMacs,
} from './records.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  path = join(folder, 'metadata.db');
});
afterEach(() => rmSync(folder, { recursive: true }));

async function reload() {
  const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
  try {
    return await store.load();
  } finally {
    await store.close();
  }
}

async function write(...changes: readonly Change[]): Promise<void> {
  const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
  try {
    await store.write(changes);
  } finally {
    await store.close();
  }
}

describe('the metadata store', () => {
  test('is empty when it is new', async () => {
    expect(await reload()).toEqual({
      key: [],
      backingKey: [],
      domainKey: [],
      keyPolicy: [],
      alias: [],
      grant: [],
      accessKey: [],
      tombstone: [],
      lastUse: [],
      wrappingKey: [],
      customKeyStore: [],
      milestone: [],
      upkeepWait: [],
      remnant: [],
      member: [],
      quarantined: [],
    });
  });

  test('gives back after a restart what was written, to the letter', { timeout: 170_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(arbitraryPut, { maxLength: 8 }), async (puts) => {
        await write(...inSequence(puts));
        const loaded = await reload();
        expect(loaded.quarantined).toEqual([]);
        expect(asPuts(loaded)).toEqual(lastPuts(puts));
        await write(...lastPuts(puts).map(({ put, record }) => removed(put, record)));
        expect(asPuts(await reload())).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });

  test('replaces a record that is put again, and removes one that is removed', async () => {
    await write(...examplePuts);
    await write(replaced('keyPolicy', examples.keyPolicy, { document: '{}' }));
    await write(removed('alias', examples.alias));
    const loaded = await reload();
    expect(loaded.keyPolicy).toEqual([{ ...examples.keyPolicy, version: 2, document: '{}' }]);
    expect(loaded.alias).toEqual([]);
    expect(loaded.key).toEqual([examples.key]);
  });

  test('refuses the removal of a record that is not there, and takes a write of nothing', async () => {
    await expect(write(removed('alias', examples.alias))).rejects.toMatchObject(conflict);
    await write();
    expect(asPuts(await reload())).toEqual([]);
  });

  test('applies the changes of one write in their order', async () => {
    const { record } = aliasPut('a');
    await write(added('alias', record), removed('alias', record), aliasPut('b', 1), aliasPut('b', 2, 1));
    expect((await reload()).alias.map((alias) => [alias.aliasName, alias.updatedAtMs])).toEqual([['alias/b', 2]]);
  });

  test('applies concurrent writes in the order of the calls, however long their MACs take', async () => {
    let calls = 0;
    const store = await openSqliteStore({
      path,
      formerRegion,
      macs: eachByItself(async (data) => {
        // The first ones take the longest.
        for (let turns = 50 - calls++; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
        return testMac(data);
      }),
    });
    await Promise.all(
      Array.from({ length: 50 }, (_, index) => store.write([aliasPut('contended', index, index === 0 ? null : index)])),
    );
    await store.close();
    expect((await reload()).alias.map((alias) => alias.updatedAtMs)).toEqual([49]);
  });

  test('is not changed by what the caller does with a record after the call', async () => {
    const tag = { TagKey: 'team', TagValue: 'payroll' };
    const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
    const written = store.write([added('key', { ...examples.key, tags: [tag] })]);
    tag.TagValue = 'somebody else';
    await written;
    await store.close();
    expect((await reload()).key[0]?.tags).toEqual([{ TagKey: 'team', TagValue: 'payroll' }]);
  });

  test('changes nothing when the HSM cannot compute one of the MACs, passes its error on, and works again', async () => {
    let broken = true;
    const store = await openSqliteStore({
      path,
      formerRegion,
      macs: eachByItself(async (data) => {
        if (broken && data.includes('alias/b')) throw new RangeError('the HSM is away');
        return testMac(data);
      }),
    });
    await expect(store.write([aliasPut('a'), aliasPut('b')])).rejects.toThrow(new RangeError('the HSM is away'));
    broken = false;
    await store.write([aliasPut('c')]);
    await store.close();
    expect((await reload()).alias.map((alias) => alias.aliasName)).toEqual(['alias/c']);
  });

  test('changes nothing when one of the records cannot be kept', async () => {
    const ill = added('keyPolicy', { ...examples.keyPolicy, document: '\udfff' });
    await expect(write(aliasPut('a'), ill)).rejects.toThrow(
      new TypeError('a text with a lone surrogate cannot be kept'),
    );
    expect(asPuts(await reload())).toEqual([]);
  });

  test('refuses a MAC of another length than HMAC-SHA-256 has', async () => {
    const store = await openSqliteStore({ path, formerRegion, macs: async () => [Buffer.alloc(31)] });
    await expect(store.write([aliasPut('a')])).rejects.toThrow(new TypeError('a MAC has 32 bytes, not 31'));
    await store.close();
  });

  test('fails to load, rather than quarantine, when the HSM cannot verify', async () => {
    await write(...examplePuts);
    const store = await openSqliteStore({
      path,
      formerRegion,
      macs: () => Promise.reject(new RangeError('the HSM is away')),
    });
    await expect(store.load()).rejects.toThrow(new RangeError('the HSM is away'));
    await store.close();
  });

  test('keeps at most 512 MACs in flight, and loads thousands of records', { timeout: 170_000 }, async () => {
    await write(...Array.from({ length: 3_000 }, (_, index) => aliasPut(`n${index}`)));
    let inFlight = 0;
    let most = 0;
    const store = await openSqliteStore({
      path,
      formerRegion,
      macs: eachByItself(async (data) => {
        most = Math.max(most, ++inFlight);
        await new Promise((resolve) => setImmediate(resolve));
        inFlight--;
        return testMac(data);
      }),
    });
    const loaded = await store.load();
    await store.close();
    expect(loaded.alias).toHaveLength(3_000);
    expect(loaded.quarantined).toEqual([]);
    expect(most).toBe(512);
  });

  test('finishes the writes that were called before it was closed, and refuses those after', async () => {
    const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
    const before = store.write([aliasPut('before')]);
    const closing = store.close();
    const closed = new StoreError('closed', `the metadata store \`${path}\` is closed`);
    await expect(store.write([aliasPut('after')])).rejects.toThrow(closed);
    await Promise.all([before, closing]);
    await store.close();
    await expect(store.load()).rejects.toThrow(closed);
    await expect(store.nameServiceKey('metadata-integrity', 'ab'.repeat(16) as BackingKeyId)).rejects.toThrow(closed);
    expect((await reload()).alias.map((alias) => alias.aliasName)).toEqual(['alias/before']);
  });
});

describe('the name of the service key', () => {
  const first = '0'.repeat(32) as BackingKeyId;
  const second = '1'.repeat(32) as BackingKeyId;

  test('is unknown at first, is given once, and stays', async () => {
    const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
    expect(store.serviceKey('metadata-integrity')).toBe(undefined);
    await store.nameServiceKey('metadata-integrity', first);
    expect(store.serviceKey('metadata-integrity')).toBe(first);
    await store.close();
    const reopened = await openSqliteStore({ path, macs: testMacs, formerRegion });
    expect(reopened.serviceKey('metadata-integrity')).toBe(first);
    await expect(reopened.nameServiceKey('metadata-integrity', second)).rejects.toMatchObject({
      name: 'StoreError',
      failure: 'serviceKeyNamed',
      message: `\`${path}\` already names \`${first}\` as its metadata-integrity key`,
    });
    expect(reopened.serviceKey('metadata-integrity')).toBe(first);
    await reopened.close();
  });

  test('is given to one of two who ask at once', async () => {
    const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
    const results = await Promise.allSettled(
      [first, second].map((id) => store.nameServiceKey('metadata-integrity', id)),
    );
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected']);
    expect(store.serviceKey('metadata-integrity')).toBe(first);
    await store.close();
  });
});
