/** Keys of which there are too many for memory are verified before somebody asks for them, and nobody hears of it but in the log. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { KeysVerifiedAhead } from '../../src/daemon/keys-verified-ahead.ts';
import type { Logger } from '../../src/kms/logger.ts';
import type { BackingKeyId, KeyId } from '../../src/kms/names.ts';
import { type RecordSource, UnverifiedRecords } from '../../src/store/record-source.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { addedAny, aliasPut, examples, formerRegion, testMacs } from '../store/records.ts';

const keyCount = 90;
const keyIdOf = (number: number) => `${String(number).padStart(8, '0')}-1111-2222-3333-444444444444` as KeyId;

describe('After a start over many keys', () => {
  let folder: string;
  let path: string;
  let store: SqliteStore;
  let source: RecordSource;
  let macs = testMacs;
  const told: [object, string][] = [];
  const note = (facts: object, text: string): void => void told.push([facts, text]);
  const log = { debug: note, info: note, warn: note, error: note } as unknown as Logger;

  async function begin(): Promise<void> {
    store = await openSqliteStore({ path, macs: (messages) => macs(messages), formerRegion });
    const begun = await store.begin(0, undefined, { packedKeyBytes: 4 * 1024 * 1024 });
    if (begun.source === undefined) throw new Error('all of it was loaded');
    ({ source } = begun);
  }

  beforeEach(async () => {
    told.length = 0;
    macs = testMacs;
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-verified-ahead-'));
    path = join(folder, 'metadata.db');
    const made = await openSqliteStore({ path, macs: testMacs, formerRegion });
    const keys = Array.from({ length: keyCount }, (_, number) => {
      const keyId = keyIdOf(number);
      const backingKeyId = String(number).padStart(32, 'b') as BackingKeyId;
      return [
        addedAny('key', { ...examples.key, keyId, nextRotationDateMs: null, currentBackingKeyId: backingKeyId }),
        addedAny('keyPolicy', { ...examples.keyPolicy, keyId }),
        addedAny('backingKey', { ...examples.backingKey, keyId, backingKeyId, residency: 'wrapped' }),
      ];
    });
    // And more than a start verifies by itself.
    await made.write([...keys.flat(), ...Array.from({ length: 4100 }, (_, number) => aliasPut(`n${number}`))]);
    await made.close();
    await begin();
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  const atHand = (): number => {
    let count = 0;
    for (let number = 0; number < keyCount; number++) {
      try {
        if (source.readKey(formerRegion, keyIdOf(number)) !== undefined) count++;
      } catch (error) {
        expect(error).toBeInstanceOf(UnverifiedRecords);
      }
    }
    return count;
  };

  const isDone = () =>
    told.some(([, text]) => text === 'keys that are not in memory were verified ahead, as many as there is room for');

  test('all of them are at hand', async () => {
    expect(atHand()).toBeLessThan(3);
    await store.close();
    await begin();
    const ahead = new KeysVerifiedAhead({ source, log });
    await vi.waitFor(() => expect(isDone()).toBe(true), { timeout: 60_000 });
    expect(ahead.status()).toEqual({ keys: keyCount, isDone: true });
    ahead.end();
    expect(atHand()).toBe(keyCount);
  });

  test('they are verified once the HSM can say something again', async () => {
    let failures = 0;
    macs = async (messages) => {
      if (failures++ < 3) throw new Error('the HSM is away');
      return testMacs(messages);
    };
    const ahead = new KeysVerifiedAhead({ source, log, failedDelayMs: 5 });
    await vi.waitFor(() => expect(isDone()).toBe(true), { timeout: 60_000 });
    ahead.end();
    expect(failures).toBeGreaterThan(3);
    expect(atHand()).toBe(keyCount);
  });

  test('the end is none of the rest of them', async () => {
    macs = async () => {
      throw new Error('the HSM is away');
    };
    const ahead = new KeysVerifiedAhead({ source, log, failedDelayMs: 10_000_000 });
    await vi.waitFor(() => expect(told).toHaveLength(1), { timeout: 60_000 });
    expect(ahead.status().isDone).toBe(false);
    ahead.end();
    // What it rests for is over at once, and nothing comes after it.
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(told).toHaveLength(1);
  });

  test('one whose policy was edited is named though nobody asks for it', async () => {
    await store.close();
    const file = new DatabaseSync(path);
    file.prepare("update key_policy set document = 'Allow' where key_id = ?").run(keyIdOf(44));
    file.close();
    await begin();
    const refused: string[] = [];
    source.whenRefused(({ id }) => refused.push(id));
    const ahead = new KeysVerifiedAhead({ source, log });
    await vi.waitFor(() => expect(isDone()).toBe(true), { timeout: 60_000 });
    ahead.end();
    expect(refused).toEqual([keyIdOf(44)]);
  });
});
