/** Whose calls a token gets first, counted in calls: somebody floods it with RSA-4096 signatures, somebody else asks for little. */

import { afterAll, beforeAll, describe, expect, type MockInstance, onTestFinished, test, vi } from 'vitest';
import { HostLane } from '../../src/hsm/host-lane.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { payerOfUid } from '../../src/kms/payer.ts';
import { onAccountOf } from '../../src/kms/paying.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { aad, newKey, openStore, openTestStore, plaintextOf, until } from './test-store.ts';

const { missing } = softHsm2;
if (missing !== null) process.stdout.write(`skipped: whose calls a token gets first: ${missing}\n`);
const [flooder, victim] = [payerOfUid(7001), payerOfUid(7002)];
const plaintext = plaintextOf('x'.repeat(64));

describe.skipIf(missing !== null)('Beside somebody who floods a token with RSA-4096 signatures', () => {
  let token: TestToken;
  let rsa: BackingKeyId;
  let aes: BackingKeyId;

  beforeAll(async () => {
    token = softHsm2.create();
    const keyStore = await openStore(token);
    rsa = newBackingKeyId();
    const label = { label: 'drawbridge:test:1', keySpec: 'RSA_4096', keyUsage: 'SIGN_VERIFY' } as const;
    await keyStore.generateKey({ backingKeyId: rsa, ...label });
    aes = await newKey(keyStore);
    await keyStore.close();
  });
  afterAll(() => token?.remove());

  const [floodDigest, otherDigest] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const sign = (keyStore: KeyStore, message = floodDigest) =>
    keyStore.sign({
      ...{ backingKeyId: rsa, algorithm: 'RSASSA_PKCS1_V1_5_SHA_256', content: 'DIGEST' },
      message,
    });
  const encrypt = (keyStore: KeyStore) => keyStore.encrypt({ backingKeyId: aes, aad, plaintext });

  /** Signatures without end, 64 at once; resolves when the token has begun, and gives how many were made since. */
  async function flood(
    keyStore: KeyStore,
    call: (of: KeyStore) => Promise<unknown> = (of) => sign(of),
  ): Promise<() => number> {
    let [made, isOver] = [0, false];
    const endless = async () => {
      while (!isOver) {
        await call(keyStore);
        made++;
      }
    };
    const all = onAccountOf(flooder, () => Promise.all(Array.from({ length: 64 }, endless)));
    onTestFinished(async () => {
      isOver = true;
      await all;
    });
    await until(() => made >= 8);
    return () => made;
  }

  /**
   * How many signatures of the flood a host had to make before a call of somebody else, the most of several: those that were sent and not
   * answered when he asked, and those that went before his. A lane does one after the other, so it matters not how late the answers are read.
   */
  async function mostAhead(keyStore: KeyStore, call: () => Promise<unknown>): Promise<number> {
    const sent: MockInstance<HostLane['send']> = vi.spyOn(HostLane.prototype, 'send');
    onTestFinished(() => sent.mockRestore());
    const made = await flood(keyStore);
    const isOfFlood = ([{ name, fields }]: Parameters<HostLane['send']>): boolean =>
      name === 'sign' && fields.some((field) => floodDigest.equals(field));
    let most = 0;
    for (let times = 0; times < 8; times++) {
      const [madeBefore, callsBefore] = [made(), sent.mock.calls.length];
      await onAccountOf(victim, call);
      const his = sent.mock.calls.findIndex((each, at) => at >= callsBefore && !isOfFlood(each));
      expect(his).toBeGreaterThanOrEqual(callsBefore);
      most = Math.max(most, sent.mock.calls.slice(0, his).filter(isOfFlood).length - madeBefore);
    }
    return most;
  }

  /** How many of the flood were answered before a call of somebody else, the most of several. */
  async function mostBefore(made: () => number, call: () => Promise<unknown>): Promise<number> {
    let most = 0;
    for (let times = 0; times < 8; times++) {
      const before = made();
      await onAccountOf(victim, call);
      most = Math.max(most, made() - before);
    }
    return most;
  }

  test('a call of little waits for one signature at most where there is a single session', async () => {
    const { keyStore } = await openTestStore(token, { hosts: 1, lanes: 1 });
    expect(await mostAhead(keyStore, () => encrypt(keyStore))).toBeLessThanOrEqual(2);
  });

  test('so does a signature of somebody else', async () => {
    const { keyStore } = await openTestStore(token, { hosts: 1, lanes: 1 });
    expect(await mostAhead(keyStore, () => sign(keyStore, otherDigest))).toBeLessThanOrEqual(2);
  });

  test('no signature is before a call of little where there are two sessions', async () => {
    const { keyStore } = await openTestStore(token, { hosts: 2, lanes: 1, sessionsAreParallel: false });
    await until(() => keyStore.status().lanes === 2);
    const sent: MockInstance<HostLane['send']> = vi.spyOn(HostLane.prototype, 'send');
    onTestFinished(() => sent.mockRestore());
    const lanesOf = (name: string) =>
      new Set(sent.mock.calls.flatMap(([call], at) => (call.name === name ? [sent.mock.contexts[at]] : [])));
    await mostBefore(await flood(keyStore), () => encrypt(keyStore));
    expect(lanesOf('sign').size).toBe(1);
    expect([...lanesOf('encrypt')].filter((lane) => lanesOf('sign').has(lane))).toEqual([]);
  });

  test('and a signature is made in time beside somebody who floods a single session with calls of little', async () => {
    const { keyStore } = await openTestStore(token, { hosts: 1, lanes: 1 });
    const made = await flood(keyStore, encrypt);
    await onAccountOf(victim, () => sign(keyStore)); // The first one tells what it takes.
    expect(await mostBefore(made, () => sign(keyStore))).toBeLessThan(400);
  });
});
