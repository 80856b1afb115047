/**
 * Which lane gets which call: that some never generate, that prompt calls wait for no generation and for nobody's queue, and
 * that ordinary calls are spread as the vendor profile says. What lanes are sent is seen by looking over their shoulders.
 */

import { expect, type MockInstance, onTestFinished, test, vi } from 'vitest';
import { HostLane } from '../../src/hsm/host-lane.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import type { PendingCall } from '../../src/hsm/pending-call.ts';
import { loadVendorProfile } from '../../src/hsm/vendor-profile.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachShimmedToken } from '../support/pkcs11-shim.ts';
import { describeEachToken, softHsm2 } from '../support/tokens.ts';
import { aad, failureOf, newKey, openTestStore, roundTrip, until } from './test-store.ts';

const shapes = [
  { hosts: 2, lanes: 1, generationsAtOnce: 1 },
  { hosts: 1, lanes: 4, generationsAtOnce: 3 },
  { hosts: 2, lanes: 2, generationsAtOnce: 2 },
];

async function promptMac(keyStore: KeyStore, backingKeyId: BackingKeyId): Promise<Buffer> {
  const [mac] = await keyStore.macs({ backingKeyId, algorithm: 'HMAC_SHA_256', messages: [aad] });
  return mac ?? Buffer.alloc(0);
}

const pairOf = (keyStore: KeyStore, backingKeyId: BackingKeyId, keyPairSpec = 'ECC_NIST_P256') =>
  keyStore.generateDataKeyPair({ backingKeyId, aad, keyPairSpec, withPlaintext: false });

/** What each lane is sent from now on. */
class LaneWatch {
  readonly #sent: MockInstance<HostLane['send']>;

  constructor() {
    this.#sent = vi.spyOn(HostLane.prototype, 'send');
    onTestFinished(() => this.#sent.mockRestore());
  }

  /** The lanes that were the first of a host: those on which the PIN went. */
  firstLanes(): Set<HostLane> {
    return this.#lanes(({ name, fields }) => name === 'open' && (fields[1]?.length ?? 0) > 0);
  }

  lanesSent(...names: readonly string[]): Set<HostLane> {
    return this.#lanes(({ name }) => names.includes(name));
  }

  #lanes(isWanted: (call: PendingCall) => boolean): Set<HostLane> {
    const { calls, contexts } = this.#sent.mock;
    const lanes = calls.map(([call], index) => (isWanted(call) ? contexts[index] : undefined));
    return new Set(lanes.filter((lane) => lane instanceof HostLane));
  }
}

describeEachShimmedToken('A key store with a lane that never generates', (token, kind) => {
  /** Which lane is sent what depends on no token: behind the second one it is seen that the same is done there. */
  const asFar = <Case>(all: readonly Case[]): readonly Case[] => (kind === softHsm2 ? all : all.slice(0, 1));
  const shipped = () => loadVendorProfile(token().profile).defaults;
  const random = (keyStore: KeyStore) => keyStore.random({ lengthBytes: 16 });

  test.each(asFar(shapes))(
    'with $hosts hosts of $lanes lanes answers a prompt MAC while all others generate',
    async (shape) => {
      const { keyStore } = await openTestStore(token(), { ...shape, limits: { closeDeadlineMs: 1 } });
      expect(keyStore.generationsAtOnce).toBe(shape.generationsAtOnce);
      const symmetric = await newKey(keyStore);
      const hmac = await newKey(keyStore, 'HMAC_256');
      const generations = token().counting('C_GenerateKeyPair');
      // Every lane has met the keys; whether that is waited for is the next test's.
      await Promise.all(Array.from({ length: 64 }, () => roundTrip(keyStore, symmetric)));
      await Promise.all(Array.from({ length: 64 }, () => promptMac(keyStore, hmac)));
      token().fault('C_GenerateKeyPair', 'hang');
      let ended = 0;
      const pairs = Array.from({ length: 2 * shape.generationsAtOnce }, () =>
        failureOf(pairOf(keyStore, symmetric)).finally(() => ended++),
      );
      const creation = failureOf(newKey(keyStore, 'ECC_NIST_P256')).finally(() => ended++);
      await until(() => generations() === shape.generationsAtOnce);
      // More than there is room for in a lane.
      const macs = await Promise.all(Array.from({ length: 200 }, () => promptMac(keyStore, hmac)));
      expect(new Set(macs.map((mac) => mac.length))).toEqual(new Set([32]));
      await roundTrip(keyStore, symmetric);
      expect(ended).toBe(0);
      expect(generations()).toBe(shape.generationsAtOnce);
      await keyStore.close();
      expect((await creation).failure).toBe('unavailable');
      expect(new Set((await Promise.all(pairs)).map(({ failure }) => failure))).toEqual(new Set(['unavailable']));
    },
  );

  test('has a prompt MAC before the next generation where its lane cannot come back, whoever asks for generations', async () => {
    const { keyStore } = await openTestStore(token(), { hosts: 2, lanes: 1 });
    const symmetric = await newKey(keyStore);
    const hmac = await newKey(keyStore, 'HMAC_256');
    const [first] = keyStore.status().pids;
    token().fault('C_Login', 'crash');
    onTestFinished(() => token().heal('C_Login'));
    process.kill(first ?? 0, 'SIGKILL');
    await until(() => keyStore.status().lanes === 1);
    let generated = 0;
    const flood = Array.from({ length: 60 }, () => pairOf(keyStore, symmetric).then(() => generated++));
    await until(() => generated > 0);
    expect((await promptMac(keyStore, hmac)).length).toBe(32);
    expect(generated).toBeLessThan(30);
    await Promise.all(flood);
  });

  test('uses a key for the first time in one lane while another generates, as its profile is shipped', async () => {
    const { keyStore } = await openTestStore(token(), {
      ...shipped(),
      limits: { closeDeadlineMs: 1 },
    });
    const symmetric = await newKey(keyStore);
    const hmac = await newKey(keyStore, 'HMAC_256');
    const generations = token().counting('C_GenerateKeyPair');
    token().fault('C_GenerateKeyPair', 'hang');
    const creation = failureOf(newKey(keyStore, 'ECC_NIST_P256'));
    await until(() => generations() === 1);
    await roundTrip(keyStore, symmetric);
    await promptMac(keyStore, hmac);
    await keyStore.close();
    expect((await creation).failure).toBe('unavailable');
  });

  test.each(asFar(shapes))(
    'with $hosts hosts of $lanes lanes never generates there, host after host',
    async (shape) => {
      const watch = new LaneWatch();
      const { keyStore } = await openTestStore(token(), shape);
      const symmetric = await newKey(keyStore);
      const work = () =>
        Promise.all([
          ...Array.from({ length: 8 }, () => failureOf(pairOf(keyStore, symmetric))),
          ...Array.from({ length: 4 }, () => failureOf(newKey(keyStore, 'ECC_NIST_P256'))),
          ...Array.from({ length: 64 }, () => failureOf(random(keyStore))),
        ]);
      await work();
      for (let kill = 0; kill < 2; kill++) {
        const [pid] = keyStore.status().pids;
        if (pid === undefined) throw new Error('there is a host');
        const meanwhile = work();
        process.kill(pid, 'SIGKILL');
        await until(() => keyStore.status().restarts === kill + 1);
        await meanwhile;
        await until(() => keyStore.status().hosts === shape.hosts);
        await work();
      }
      const firstLanes = watch.firstLanes();
      const generating = watch.lanesSent('generateKey', 'generateDataKeyPair');
      expect(firstLanes.size).toBe(shape.hosts + 2);
      expect(generating.size).toBeGreaterThanOrEqual(shape.generationsAtOnce);
      // Where hosts have one lane each it is the second host that generates; the first is killed each time.
      const never = [...firstLanes].filter((_lane, index) => shape.lanes > 1 || index !== 1);
      expect(never.filter((lane) => generating.has(lane))).toEqual([]);
    },
  );

  test('has a prompt call wait for the next host rather than for a generation, when the host with its lane is lost', async () => {
    const { keyStore } = await openTestStore(token(), { hosts: 2, limits: { closeDeadlineMs: 1 } });
    const hmac = await newKey(keyStore, 'HMAC_256');
    const [first] = keyStore.status().pids;
    if (first === undefined) throw new Error('there are two hosts');
    const generations = token().counting('C_GenerateKeyPair');
    token().fault('C_GenerateKeyPair', 'hang');
    const creation = failureOf(newKey(keyStore, 'ECC_NIST_P256'));
    await until(() => generations() === 1);
    token().heal('C_GenerateKeyPair'); // The next host tries it while it connects; the one that hangs hangs on.
    process.kill(first, 'SIGKILL');
    await until(() => keyStore.status().lanes === 1);
    expect(await promptMac(keyStore, hmac)).toHaveLength(32);
    expect(keyStore.status()).toMatchObject({ restarts: 1, inFlight: 1 });
    await keyStore.close();
    expect((await creation).failure).toBe('unavailable');
  });

  test('repeats a generation whose host crashed elsewhere than there', async () => {
    const watch = new LaneWatch();
    const { keyStore } = await openTestStore(token(), { lanes: 2 });
    const symmetric = await newKey(keyStore);
    token().fault('C_GenerateKeyPair', 'once crash');
    expect((await pairOf(keyStore, symmetric)).plaintext).toBeNull();
    expect(keyStore.status().restarts).toBe(1);
    const [firstLanes, generating] = [watch.firstLanes(), watch.lanesSent('generateDataKeyPair')];
    expect(generating.size).toBe(2);
    expect([...generating].filter((lane) => firstLanes.has(lane))).toEqual([]);
  });

  test('loses no call twice to a generation that is repeated', async () => {
    const watch = new LaneWatch();
    const generated = token().counting('C_GenerateKeyPair');
    const { keyStore } = await openTestStore(token(), { lanes: 2 });
    const whileConnecting = generated();
    const symmetric = await newKey(keyStore);
    const hmac = await newKey(keyStore, 'HMAC_256');
    const endHost = () => {
      for (const pid of keyStore.status().pids) process.kill(pid, 'SIGKILL');
    };
    const sentTo = (lanes: number) => until(() => watch.lanesSent('generateDataKeyPair').size === lanes);
    // Slow enough that the other lane has the last of these each time that the generation may be sent.
    token().fault('C_GenerateRandom', 'delay 700');
    token().fault('C_GenerateKeyPair', 'hang');
    const bystanders = [promptMac(keyStore, hmac), random(keyStore), random(keyStore)].map(failureOf);
    const generation = failureOf(pairOf(keyStore, symmetric));
    await sentTo(1);
    // The next host generates pairs while it connects, and only then this one.
    const logins = token().counting('C_Login');
    token().fault('C_Login', 'hold');
    endHost();
    await until(() => logins() === 1);
    token().fault('C_GenerateKeyPair', `at ${generated() + whileConnecting + 1} hang`);
    token().heal('C_Login');
    await sentTo(2);
    token().heal('C_GenerateKeyPair');
    endHost();
    expect(await generation).toEqual({
      failure: 'unavailable',
      message: 'cannot make a data key pair: the HSM host ended during the call, twice',
    });
    const ends = await Promise.all(bystanders);
    expect(new Set(ends.map(({ message }) => message))).toEqual(new Set(['the call succeeded']));
  });

  test('lets prompt calls go before the calls of others that wait, and refuses them for themselves alone', async () => {
    const limits = { maxInLane: 4, maxInFlight: 40 };
    const { keyStore } = await openTestStore(token(), { lanes: 2, sessionsAreParallel: false, limits });
    const hmac = await newKey(keyStore, 'HMAC_256');
    await promptMac(keyStore, hmac);
    token().fault('C_GenerateRandom', 'delay 20');
    const order: string[] = [];
    const others = Array.from({ length: 40 }, () => random(keyStore).then(() => order.push('random')));
    const own = Array.from({ length: 8 }, () => promptMac(keyStore, hmac).then(() => order.push('mac')));
    expect((await failureOf(keyStore.mac({ backingKeyId: hmac, algorithm: 'HMAC_SHA_256', data: aad }))).message).toBe(
      'cannot make a MAC: 40 calls are in flight already',
    );
    const further = Array.from({ length: 32 }, () => promptMac(keyStore, hmac));
    expect((await failureOf(promptMac(keyStore, hmac))).message).toBe(
      'cannot make MACs: 40 calls are in flight already',
    );
    await Promise.all([...others, ...own, ...further]);
    // What was in the lane already goes before, and what joined it while one after the other was answered.
    expect(order.lastIndexOf('mac')).toBeLessThan(40);
    expect(order.slice(-24)).toEqual(Array.from({ length: 24 }, () => 'random'));
  });

  test.each(
    asFar([
      { hosts: 1, lanes: 2, sessionsAreParallel: false, atOnce: 64, used: 1 },
      { hosts: 1, lanes: 2, sessionsAreParallel: true, atOnce: 64, used: 2 },
      { hosts: 2, lanes: 1, sessionsAreParallel: false, atOnce: 16, used: 1 },
      { hosts: 2, lanes: 1, sessionsAreParallel: false, atOnce: 64, used: 2 },
      { hosts: 2, lanes: 1, sessionsAreParallel: true, atOnce: 16, used: 2 },
      { hosts: 3, lanes: 1, sessionsAreParallel: false, atOnce: 48, used: 3 },
    ]),
  )('sends ordinary calls to as many lanes as it should: %o', async ({ atOnce, used, ...shape }) => {
    const watch = new LaneWatch();
    const { keyStore } = await openTestStore(token(), { ...shape, limits: { maxInLane: 16 } });
    await Promise.all(Array.from({ length: atOnce }, () => random(keyStore)));
    const lanes = watch.lanesSent('random');
    expect(lanes.size).toBe(used);
    const [first] = watch.firstLanes();
    expect(first !== undefined && lanes.has(first)).toBe(true);
  });

  test('does everything in its only lane where it was given one', async () => {
    const { keyStore } = await openTestStore(token());
    expect(keyStore.generationsAtOnce).toBe(1);
    const hmac = await newKey(keyStore, 'HMAC_256');
    token().fault('C_GenerateKeyPair', 'once delay 200');
    const order: string[] = [];
    const pair = { label: 'drawbridge:test:1', keySpec: 'ECC_NIST_P256', keyUsage: 'SIGN_VERIFY' } as const;
    const creation = keyStore
      .generateKey({ backingKeyId: newBackingKeyId(), ...pair })
      .then(() => order.push('generated'));
    await promptMac(keyStore, hmac).then(() => order.push('mac'));
    await creation;
    expect(order).toEqual(['generated', 'mac']);
  });
});

describeEachToken('A key store with a lane that never generates', (token) => {
  test('computes prompt MACs, of a key that it meets for the first time, while a pair of RSA-4096 is generated', async () => {
    const { hosts, lanes } = loadVendorProfile(token().profile).defaults;
    const { keyStore } = await openTestStore(token(), { hosts, lanes });
    const symmetric = await newKey(keyStore);
    const hmac = await newKey(keyStore, 'HMAC_256');
    const order: string[] = [];
    const generation = pairOf(keyStore, symmetric, 'RSA_4096').then(() => order.push('pair'));
    for (let i = 0; i < 3; i++) await promptMac(keyStore, hmac);
    order.push('macs');
    await generation;
    expect(order).toEqual(['macs', 'pair']);
  });
});
