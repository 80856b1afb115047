/** How full lanes are: a far token has work in each of its lanes while replies are under way, a near one keeps little calls together. */

import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { HostLane } from '../../src/hsm/host-lane.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import type { BackingKeyId } from '../../src/kms/names.ts';
import { createShim, missingForShim } from '../support/pkcs11-shim.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { aad, newKey, openTestStore, plaintextOf } from './test-store.ts';

const missing = softHsm2.missing ?? missingForShim();
if (missing !== null) process.stdout.write(`skipped: how full lanes are: ${missing}\n`);
const plaintext = plaintextOf('x'.repeat(64));
const far = { hosts: 1, lanes: 4, sessionsAreParallel: true };
/** On a busy machine calls seem to take longer than they do; a lane shall not be full for that. */
const near = { hosts: 3, lanes: 1, sessionsAreParallel: false, limits: { maxLaneMs: 10_000 } };

const encrypt = (keyStore: KeyStore, backingKeyId: BackingKeyId) => keyStore.encrypt({ backingKeyId, aad, plaintext });
const sign = (keyStore: KeyStore, backingKeyId: BackingKeyId) =>
  keyStore.sign({ backingKeyId, algorithm: 'ECDSA_SHA_256', content: 'DIGEST', message: Buffer.alloc(32, 1) });

describe.skipIf(missing !== null)('Behind a shim that dawdles', () => {
  let token: TestToken;
  let shim: ReturnType<typeof createShim>;
  beforeAll(() => {
    token = softHsm2.create();
    shim = createShim(token.library);
  });
  afterEach(() => shim.healAll());
  afterAll(() => {
    shim?.remove();
    token?.remove();
  });

  const open = async (shape: object) => {
    const environment = { ...token.environment, ...shim.environment };
    const settings = (lanes?: number) => ({ ...token.settings(lanes), library: shim.library });
    return (await openTestStore({ ...token, environment, settings }, shape)).keyStore;
  };

  /** How many calls each lane has when so many come at once. */
  async function laneCounts(atOnce: number, call: () => Promise<unknown>): Promise<readonly number[]> {
    const sent = vi.spyOn(HostLane.prototype, 'send');
    onTestFinished(() => sent.mockRestore());
    const all = Array.from({ length: atOnce }, call);
    const lanes = [...new Set(sent.mock.contexts)].map((lane) => (lane as HostLane).callCount);
    sent.mockRestore();
    await Promise.all(all);
    return lanes;
  }

  /** The same, once it is known what they take: where the machine stands still they seem to take longer for a while. */
  async function expectLater(atOnce: number, call: () => Promise<unknown>, counts: readonly number[]): Promise<void> {
    await vi.waitFor(
      async () => {
        for (let times = 0; times < 5; times++) await Promise.all(Array.from({ length: 8 }, call));
        expect(await laneCounts(atOnce, call)).toEqual(counts);
      },
      { timeout: 170_000 },
    );
  }

  test('each lane of a far token has a call behind the one that is under way, and a signature is like any other', async () => {
    for (const name of ['C_OpenSession', 'C_Encrypt', 'C_Sign']) shim.fault(name, 'delay 3');
    const keyStore = await open(far);
    expect(keyStore.capabilities().roundTripMs).toBeGreaterThanOrEqual(3);
    const [aes, pair] = [await newKey(keyStore), await newKey(keyStore, 'ECC_NIST_P256')];
    // Of 3 ms each, of which a lane has as many as take 22: room for two of them also where the machine has others take their turn.
    for (const call of [() => encrypt(keyStore, aes), () => sign(keyStore, pair)])
      await expectLater(8, call, [2, 2, 2, 2]);
  });

  test('a signature that takes as long in a token that is near is dear: one to each lane, and none to the prompt one', async () => {
    const keyStore = await open(far);
    expect(keyStore.capabilities().roundTripMs).toBeLessThan(3);
    const pair = await newKey(keyStore, 'ECC_NIST_P256');
    shim.fault('C_Sign', 'delay 8');
    await expectLater(16, () => sign(keyStore, pair), [1, 1, 1]);
  });

  test('calls that take little keep to one host, and those that take longer are spread over all', async () => {
    const keyStore = await open(near);
    const aes = await newKey(keyStore);
    expect(await laneCounts(9, () => encrypt(keyStore, aes))).toEqual([9]);
    shim.fault('C_Encrypt', 'delay 1');
    await expectLater(9, () => encrypt(keyStore, aes), [3, 3, 3]);
  });
});
