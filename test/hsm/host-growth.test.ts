/** A host whose library keeps memory that it should not is replaced, and nobody notices: over the token that does so. */

import { generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { isAlive } from './processes.ts';
import { failureOf, newKey, openTestStore, roundTrip, until } from './test-store.ts';

const { missing } = softHsm2;
if (missing !== null) process.stdout.write(`skipped: hosts that grow too large: ${missing}\n`);

describe.skipIf(missing !== null)('A host that has grown too large', () => {
  let token: TestToken;
  beforeAll(() => {
    token = softHsm2.create();
  });
  afterAll(() => token?.remove());

  const publicKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
    format: 'der',
    type: 'spki',
  });

  test('is replaced while calls go on, none of which fails, and a key that is destroyed meanwhile is gone', async () => {
    const limits = { maxHostGrowthMb: 0.2, growthCheckMs: 20 };
    const { keyStore, log } = await openTestStore(token, { limits });
    const agreement = newBackingKeyId();
    const of = { label: 'drawbridge:test:1', keySpec: 'ECC_NIST_P256', keyUsage: 'KEY_AGREEMENT' } as const;
    await keyStore.generateKey({ backingKeyId: agreement, ...of });
    const former = keyStore.status().pids;
    const replaced = () => log.filter(({ message }) => message.includes('has grown too large, and another')).length;
    const ends: string[] = [];
    const endless = async () => {
      // Each leaves a session object behind.
      while (replaced() < 2)
        ends.push((await failureOf(keyStore.deriveSharedSecret({ backingKeyId: agreement, publicKey }))).failure);
    };
    const changing = async () => {
      while (replaced() < 2) {
        const backingKeyId = await newKey(keyStore);
        await roundTrip(keyStore, backingKeyId);
        await keyStore.destroyKey({ backingKeyId });
        expect((await failureOf(roundTrip(keyStore, backingKeyId))).failure).toBe('keyUnavailable');
      }
    };
    await Promise.all([...Array.from({ length: 8 }, endless), changing()]);
    expect(new Set(ends)).toEqual(new Set(['none']));
    expect(keyStore.status()).toMatchObject({ state: 'connected', hosts: 1, restarts: 0, lastFailure: null });
    expect(keyStore.status().pids).not.toEqual(former);
    await until(() => former.every((pid) => !isAlive(pid)));
  });

  test('is left alone for what it holds from the beginning', async () => {
    const { keyStore, log } = await openTestStore(token, { limits: { maxHostGrowthMb: 64, growthCheckMs: 20 } });
    const backingKeyId = await newKey(keyStore);
    for (let times = 0; times < 50; times++) await roundTrip(keyStore, backingKeyId);
    expect(log.filter(({ message }) => message.includes('too large'))).toEqual([]);
  });
});
