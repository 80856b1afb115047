/** Where keys that live outside of the token are unwrapped: together in one host as long as that gains, and divided among all where it does not. */

import { beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { HostLane } from '../../src/hsm/host-lane.ts';
import { maxUnwrappedKeys } from '../../src/hsm/kept-keys.ts';
import { type BackingKeyReference, WrappedKey, type WrappedKeyOutline } from '../../src/hsm/wrapped-key.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachToken } from '../support/tokens.ts';
import { aad, newKey, openStore, openTestStore, plaintextOf, roundTrip } from './test-store.ts';

describeEachToken('Wrapped keys, in a key store of two hosts,', (token) => {
  let outline: WrappedKeyOutline;
  beforeAll(async () => {
    const keyStore = await openStore(token());
    const domainKeyId = newBackingKeyId();
    await keyStore.generateDomainKey({ backingKeyId: domainKeyId, label: 'drawbridge:domain:test:1' });
    const kind = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    outline = { domainKeyId, ...kind, ...(await keyStore.generateWrappedKey({ domainKeyId, ...kind })) };
    await keyStore.close();
  });

  const keysOf = (count: number) =>
    Array.from({ length: count }, () => ({ backingKeyId: newBackingKeyId(), wrapped: new WrappedKey(outline) }));

  /** Uses keys one after the other in a new key store whose little calls keep together, and tells how many lanes had them. */
  async function lanesOfLittleCalls() {
    const store = await openTestStore(token(), {
      hosts: 2,
      sessionsAreParallel: false,
      limits: { maxLaneMs: 10_000 },
    });
    const sent = vi.spyOn(HostLane.prototype, 'send');
    onTestFinished(() => sent.mockRestore());
    return async (keys: readonly BackingKeyReference[]) => {
      sent.mockClear();
      for (const key of keys) await store.keyStore.encrypt({ ...key, aad, plaintext: plaintextOf('text') });
      return new Set(sent.mock.contexts).size;
    };
  }

  test('are unwrapped in the first host while it keeps all, then divided among hosts, and used where they are unwrapped', async () => {
    const store = await openTestStore(token(), { hosts: 2 });
    const sent = vi.spyOn(HostLane.prototype, 'send');
    onTestFinished(() => sent.mockRestore());
    /** Each after the other, so that no lane has calls before. */
    const lanesOf = async (keys: readonly BackingKeyReference[]) => {
      sent.mockClear();
      for (const key of keys) await store.keyStore.encrypt({ ...key, aad, plaintext: plaintextOf('text') });
      return sent.mock.contexts;
    };
    const residents = maxUnwrappedKeys - 32;
    const few = keysOf(residents);
    expect(new Set(await lanesOf(few)).size).toBe(1);
    const further = keysOf(48);
    const lanes = await lanesOf(further);
    expect(new Set(lanes).size).toBe(2);
    // Each comes back to where it was, kept there or remembered, and nothing of it went to the other.
    expect((await lanesOf(further)).map((lane) => lanes.indexOf(lane))).toEqual(
      lanes.map((lane) => lanes.indexOf(lane)),
    );
    expect(new Set(await lanesOf(few.slice(0, 20))).size).toBe(1);
  });

  test('leave room for others once they are forgotten', async () => {
    const store = await openTestStore(token(), { hosts: 2 });
    const encrypt = (key: BackingKeyReference) =>
      store.keyStore.encrypt({ ...key, aad, plaintext: plaintextOf('text') });
    for (const key of keysOf(maxUnwrappedKeys)) {
      await encrypt(key);
      await store.keyStore.forgetWrappedKey(key);
    }
    const sent = vi.spyOn(HostLane.prototype, 'send');
    onTestFinished(() => sent.mockRestore());
    for (const key of keysOf(48)) await encrypt(key);
    expect(new Set(sent.mock.contexts).size).toBe(1);
  });

  test('pass through one host when all are full, and are divided among them once they come back', async () => {
    const lanesOf = await lanesOfLittleCalls();
    const residents = keysOf(maxUnwrappedKeys - 32);
    await lanesOf(residents);
    // By their ids it is once the one's turn and once the other's.
    await lanesOf(keysOf(2.5 * maxUnwrappedKeys));
    let passing: readonly BackingKeyReference[] = [];
    // On a busy machine calls seem to take longer, and such are divided; those with a key that is there soon tell otherwise.
    await vi.waitFor(
      async () => {
        await lanesOf(residents.slice(0, 100));
        passing = keysOf(40);
        expect(await lanesOf(passing)).toBe(1);
      },
      { timeout: 170_000 },
    );
    expect(await lanesOf(passing)).toBe(2);
  });

  test('come together in the first host, also those that another one has because the first had enough to do', async () => {
    const store = await openTestStore(token(), { hosts: 2, sessionsAreParallel: false, limits: { maxInLane: 4 } });
    const keys = keysOf(24);
    const encrypt = (key: BackingKeyReference) =>
      store.keyStore.encrypt({ ...key, aad, plaintext: plaintextOf('text') });
    const sent = vi.spyOn(HostLane.prototype, 'send');
    onTestFinished(() => sent.mockRestore());
    await Promise.all(keys.map(encrypt));
    expect(new Set(sent.mock.contexts).size).toBe(2);
    // A call that the machine held up is thought to take longer than it does, until the next ones tell otherwise.
    do {
      sent.mockClear();
      for (const key of keys) await encrypt(key);
    } while (new Set(sent.mock.contexts).size > 1);
    const inToken = await newKey(store.keyStore);
    await roundTrip(store.keyStore, inToken);
    expect(new Set(sent.mock.contexts.slice(-1))).toEqual(new Set(sent.mock.contexts.slice(0, 1)));
  });

  test('come together in the first host again while they are few, whatever was divided before', async () => {
    const lanesOf = await lanesOfLittleCalls();
    await lanesOf(keysOf(2.5 * maxUnwrappedKeys));
    const few = keysOf(60);
    // At first they are divided by their ids, as all that come back.
    await lanesOf([...few, ...few, ...few]);
    expect(await lanesOf(few)).toBe(2);
    await vi.waitFor(
      async () => {
        for (let times = 0; times < 20; times++) await lanesOf(few);
        expect(await lanesOf(few)).toBe(1);
      },
      { timeout: 170_000 },
    );
  });
});
