/**
 * What a key store does when the vendor's library misbehaves. The library is the real one; the shim in front of it crashes,
 * hangs, dawdles or fails at the moment that a test chooses.
 */

import { once } from 'node:events';
import { expect, test } from 'vitest';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachShimmedToken } from '../support/pkcs11-shim.ts';
import { childrenOf, isAlive, isRunning, startClientProcess } from './processes.ts';
import { aad, failureOf, newKey, openTestStore, plaintextOf, roundTrip, until } from './test-store.ts';

// Source: PKCS#11 2.40, pkcs11t.h.
const functionFailed = 0x06;
const deviceRemoved = 0x32;
const sessionHandleInvalid = 0xb3;
const tokenNotPresent = 0xe0;

describeEachShimmedToken('A key store whose library misbehaves', (token) => {
  const random = (keyStore: KeyStore) => keyStore.random({ lengthBytes: 16 });

  test('repeats a call whose host crashed under it, once, on the next host', async () => {
    const { keyStore, log } = await openTestStore(token());
    const backingKeyId = await newKey(keyStore);
    const [firstPid] = keyStore.status().pids;
    token().fault('C_Encrypt', 'once crash');
    await roundTrip(keyStore, backingKeyId);
    expect(keyStore.status()).toMatchObject({
      state: 'connected',
      restarts: 1,
      lastFailure: 'it was ended by SIGSEGV',
    });
    expect(keyStore.status().pids).not.toContain(firstPid);
    expect(log).toContainEqual({
      level: 'warn',
      message: 'an HSM host is being replaced',
      fields: { keyStore: 'default', reason: 'it was ended by SIGSEGV' },
    });
  });

  test('fails a call that crashes every host, and no call beside it', async () => {
    const { keyStore } = await openTestStore(token());
    const backingKeyId = await newKey(keyStore, 'ECC_NIST_P256');
    const hmacKey = await newKey(keyStore, 'HMAC_256');
    // The first use of such a key copies it into the session, over both tokens; of the hosts only the first tries to copy one.
    const { protection } = keyStore.capabilities();
    expect(protection).not.toEqual([]);
    token().fault('C_CopyObject', 'crash');
    const bystanders = () => Array.from({ length: 30 }, () => failureOf(random(keyStore)));
    const before = bystanders();
    const sign = () =>
      keyStore.sign({ backingKeyId, algorithm: 'ECDSA_SHA_256', content: 'DIGEST', message: Buffer.alloc(32, 1) });
    const poison = failureOf(sign());
    const after = [
      ...bystanders(),
      ...Array.from({ length: 30 }, () => failureOf(keyStore.describeKey({ backingKeyId: hmacKey }))),
    ];
    expect(await poison).toEqual({
      failure: 'unavailable',
      message: 'cannot sign: the HSM host ended during the call, twice',
    });
    const ends = await Promise.all([...before, ...after]);
    expect(new Set(ends.map(({ failure }) => failure))).toEqual(new Set(['none']));
    token().heal('C_CopyObject');
    expect(await failureOf(sign())).toMatchObject({ failure: 'none' });
    expect(keyStore.status().restarts).toBe(2);
    expect(keyStore.capabilities().protection).toEqual(protection);
  });

  test('probes what the token does when a host connects as the only one, and not for those that join it', async () => {
    const made = token().counting('C_GenerateKeyPair');
    const { keyStore: alone } = await openTestStore(token());
    const probes = made();
    expect(probes).toBeGreaterThan(0);
    const { keyStore: three } = await openTestStore(token(), { hosts: 3 });
    expect(made()).toBe(2 * probes);
    const [found, taken] = [alone.capabilities(), three.capabilities()];
    expect({ ...taken, roundTripMs: found.roundTripMs }).toEqual(found);
    const [pid = 0] = alone.status().pids;
    process.kill(pid, 'SIGKILL');
    await until(() => alone.status().restarts === 1 && alone.status().hosts === 1);
    expect(made()).toBe(3 * probes);
  });

  test('does not repeat the generation of a key whose host crashed', async () => {
    const { keyStore } = await openTestStore(token());
    const generations = token().counting('C_GenerateKey');
    token().fault('C_GenerateKey', 'once crash');
    const backingKeyId = newBackingKeyId();
    const request = { backingKeyId, label: 'drawbridge:test:1' } as const;
    const generation = keyStore.generateKey({ ...request, keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' });
    const probed = generations();
    expect(await failureOf(generation)).toEqual({
      failure: 'unavailable',
      message: 'cannot make a key: the HSM host ended during the call, and the call must not be repeated',
    });
    expect(probed).toBe(0);
    expect(await keyStore.listKeys()).not.toContainEqual(expect.objectContaining({ backingKeyId }));
  });

  test('fails a call that hangs with `timeout`, kills its host, and answers the others', async () => {
    const { keyStore } = await openTestStore(token(), { limits: { callDeadlineMs: 3_000 } });
    const backingKeyId = await newKey(keyStore);
    const [hungPid = 0] = keyStore.status().pids;
    token().fault('C_Encrypt', 'once hang');
    const hung = failureOf(keyStore.encrypt({ backingKeyId, aad, plaintext: plaintextOf('x') }));
    // These come while the host hangs already, so their own time is not up when that is noticed.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const behind = Array.from({ length: 20 }, () => random(keyStore));
    expect(await hung).toEqual({
      failure: 'timeout',
      message: 'cannot encrypt: no reply within 3000 ms; the HSM host was replaced',
    });
    const ends = await Promise.all(behind.map(failureOf));
    // Either the next host was there within their own deadline, or they were told that it was not, and never as if they had hung.
    for (const { failure } of ends) expect(['none', 'unavailable', 'busy']).toContain(failure);
    await until(() => keyStore.status().state === 'connected');
    await roundTrip(keyStore, backingKeyId);
    expect(keyStore.status().lastFailure).toBe('it was silent for 3000 ms');
    await until(() => !isAlive(hungPid));
  });

  test('is not held up by a lane that hangs when it has another host', async () => {
    const { keyStore } = await openTestStore(token(), {
      hosts: 2,
      sessionsAreParallel: true,
      // So that no other call seems to hang where the machine stands still.
      limits: { callDeadlineMs: 4_000 },
    });
    const backingKeyId = await newKey(keyStore);
    token().fault('C_Encrypt', 'once hang');
    const hung = failureOf(keyStore.encrypt({ backingKeyId, aad, plaintext: plaintextOf('x') }));
    for (let i = 0; i < 100; i++) await random(keyStore);
    expect((await hung).failure).toBe('timeout');
    await until(() => keyStore.status().hosts === 2);
    for (let i = 0; i < 10; i++) await roundTrip(keyStore, backingKeyId);
  });

  test('waits for a slow token as long as it makes progress', async () => {
    const { keyStore } = await openTestStore(token(), { limits: { callDeadlineMs: 2_500 } });
    token().fault('C_GenerateRandom', 'delay 150');
    // The 20 together take longer than the deadline, each far less, also where the machine stands still under it.
    const ends = await Promise.all(Array.from({ length: 20 }, () => failureOf(random(keyStore))));
    token().heal('C_GenerateRandom');
    expect(new Set(ends.map(({ failure }) => failure))).toEqual(new Set(['none']));
    expect(keyStore.status().restarts).toBe(0);
  });

  test('waits longer for a lane that generates a key, and not for ever', async () => {
    const limits = { callDeadlineMs: 500, generationDeadlineMs: 4_000 };
    const { keyStore } = await openTestStore(token(), { limits });
    const generate = () => newKey(keyStore);
    token().fault('C_GenerateKey', 'once delay 1200');
    expect(await failureOf(generate())).toMatchObject({ failure: 'none' });
    expect(keyStore.status().restarts).toBe(0);
    token().fault('C_GenerateKey', 'once hang');
    expect(await failureOf(generate())).toEqual({
      failure: 'timeout',
      message: 'cannot make a key: no reply within 4000 ms; the HSM host was replaced',
    });
  });

  test('lets nobody wait for more than one of the keys that somebody asked for, and generates them all', async () => {
    // All together take longer than the deadline of other calls, and so does what has to be destroyed behind them.
    const { keyStore } = await openTestStore(token(), { limits: { callDeadlineMs: 2_500 } });
    const backingKeyId = await newKey(keyStore);
    const unneeded = await newKey(keyStore);
    token().fault('C_GenerateKeyPair', 'delay 400');
    const generated = token().counting('C_GenerateKeyPair');
    const request = { backingKeyId, aad, keyPairSpec: 'ECC_NIST_P256', withPlaintext: false };
    const pairs = Array.from({ length: 4 }, () => [
      failureOf(keyStore.generateDataKeyPair(request)),
      failureOf(newKey(keyStore, 'ECC_NIST_P256')),
    ]).flat();
    for (let round = 0; round < 3; round++) {
      const before = generated();
      await random(keyStore);
      expect(generated() - before).toBeLessThanOrEqual(2);
    }
    const destroyed = failureOf(keyStore.destroyKey({ backingKeyId: unneeded }));
    const ends = await Promise.all([...pairs, destroyed]);
    expect(new Set(ends.map(({ failure }) => failure))).toEqual(new Set(['none']));
    expect(keyStore.status().restarts).toBe(0);
  });

  test('keeps one of several lanes free of the generation of key pairs', async () => {
    const { keyStore } = await openTestStore(token(), { hosts: 2 });
    const backingKeyId = await newKey(keyStore);
    token().fault('C_GenerateKeyPair', 'hold');
    const request = { backingKeyId, aad, keyPairSpec: 'ECC_NIST_P256', withPlaintext: false };
    let ended = 0;
    const calls = [keyStore.generateDataKeyPair(request), newKey(keyStore, 'ECC_NIST_P256')].map((call) =>
      call.finally(() => ended++),
    );
    for (let i = 0; i < 20; i++) await random(keyStore);
    expect(ended).toBe(0);
    token().heal('C_GenerateKeyPair');
    await Promise.all(calls);
  });

  test('refuses as busy what waited for a lane until its deadline, not having sent it', async () => {
    const { keyStore } = await openTestStore(token(), { limits: { callDeadlineMs: 2_500, maxInLane: 4 } });
    token().fault('C_GenerateRandom', 'delay 150');
    const calls = token().counting('C_GenerateRandom');
    const ends = await Promise.all(Array.from({ length: 40 }, () => failureOf(random(keyStore))));
    token().heal('C_GenerateRandom');
    const busy = ends.filter(({ failure }) => failure === 'busy');
    expect(busy.length).toBeGreaterThan(0);
    expect(new Set(busy.map(({ message }) => message))).toEqual(
      new Set(['cannot generate random bytes: its turn did not come within 2500 ms']),
    );
    expect(calls()).toBe(40 - busy.length);
    expect(keyStore.status().restarts).toBe(0);
  });

  test('loses a session without its callers noticing', async () => {
    const { keyStore } = await openTestStore(token());
    const backingKeyId = await newKey(keyStore);
    for (const name of ['C_EncryptInit', 'C_Encrypt', 'C_DecryptInit', 'C_Decrypt']) {
      token().fault(name, `once return ${sessionHandleInvalid}`);
      await roundTrip(keyStore, backingKeyId);
    }
    expect(keyStore.status().restarts).toBe(0);
  });

  test.each([
    { name: 'CKR_DEVICE_REMOVED', value: deviceRemoved },
    { name: 'CKR_TOKEN_NOT_PRESENT', value: tokenNotPresent },
  ])('connects anew after $name, and the call is answered', async ({ name, value }) => {
    const { keyStore } = await openTestStore(token());
    const backingKeyId = await newKey(keyStore);
    token().fault('C_EncryptInit', `once return ${value}`);
    await roundTrip(keyStore, backingKeyId);
    expect(keyStore.status().restarts).toBe(1);
    expect(keyStore.status().lastFailure).toContain('it lost its token: ');
    expect(keyStore.status().lastFailure).toContain(name);
  });

  test('comes back by itself when a token that was gone is there again', async () => {
    const { keyStore } = await openTestStore(token(), { limits: { reconnectWaitMs: 300 } });
    const backingKeyId = await newKey(keyStore);
    token().fault('C_OpenSession', `return ${tokenNotPresent}`);
    token().fault('C_EncryptInit', `once return ${tokenNotPresent}`);
    const failures = await Promise.all([failureOf(roundTrip(keyStore, backingKeyId)), failureOf(random(keyStore))]);
    for (const { failure, message } of failures)
      if (failure !== 'none') expect(message).toMatch(/: there is no connection to the token$/);
    expect(failures[0].failure).toBe('unavailable');
    await until(() => keyStore.status().restarts >= 4);
    expect(keyStore.status().state).toBe('reconnecting');
    expect(await failureOf(random(keyStore))).toEqual({
      failure: 'unavailable',
      message: 'cannot generate random bytes: there is no connection to the token',
    });
    token().heal('C_OpenSession');
    await until(() => keyStore.status().state === 'connected');
    await roundTrip(keyStore, backingKeyId);
  });

  test('tries a busy device again, and gives up as busy', async () => {
    const { keyStore } = await openTestStore(token(), { limits: { firstBusyPauseMs: 5, maxBusyAttempts: 4 } });
    token().fault('C_GenerateRandom', `once return ${functionFailed}`);
    expect((await random(keyStore)).lengthBytes).toBe(16);
    token().fault('C_GenerateRandom', `return ${functionFailed}`);
    const attempts = token().counting('C_GenerateRandom');
    const busy = { failure: 'busy', message: 'cannot generate random bytes: C_GenerateRandom: CKR_FUNCTION_FAILED' };
    expect(await failureOf(random(keyStore))).toEqual(busy);
    expect(attempts()).toBe(4);
    token().heal('C_GenerateRandom');
    expect((await random(keyStore)).lengthBytes).toBe(16);
    expect(keyStore.status().restarts).toBe(0);
  });

  test('tries a wrong PIN exactly once, whatever the number of hosts', async () => {
    const logins = token().counting('C_Login');
    const opening = openTestStore(token(), { hosts: 3, pin: () => 'a wrong PIN' });
    const { failure, message } = await failureOf(opening);
    expect(failure).toBe('unavailable');
    expect(message).toMatch(
      /: PIN refused \(.*CKR_PIN_INCORRECT\); it is not tried again until an operator reconnects/,
    );
    expect(message).not.toContain('a wrong PIN');
    expect(logins()).toBe(1);
  });

  test('does not log in again after a refused PIN until an operator reconnects it', async () => {
    let pin = token().pin;
    const { keyStore, log } = await openTestStore(token(), { hosts: 2, pin: () => pin });
    const backingKeyId = await newKey(keyStore);
    const logins = token().counting('C_Login');
    pin = 'changed';
    for (const hosts of [1, 0]) {
      const [pid] = keyStore.status().pids;
      if (pid === undefined) throw new Error('there is a host');
      process.kill(pid, 'SIGKILL');
      await until(() => keyStore.status().state === 'pinRefused' && keyStore.status().hosts === hosts);
      // Also of the one that served on, and was killed afterwards.
      expect(keyStore.status().lastFailure).toContain('PIN refused');
    }
    const refused = await failureOf(roundTrip(keyStore, backingKeyId));
    expect(refused.failure).toBe('unavailable');
    expect(refused.message).toContain('PIN refused');
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(logins()).toBe(1);
    expect(log.filter(({ level }) => level === 'error').map(({ message }) => message)).toEqual(['the PIN was refused']);

    expect((await failureOf(keyStore.reconnect())).message).toContain('PIN refused');
    expect(logins()).toBe(2);
    expect(keyStore.status()).toMatchObject({ state: 'pinRefused', hosts: 0, pids: [] });

    pin = token().pin;
    await keyStore.reconnect();
    expect(keyStore.status()).toMatchObject({ state: 'connected', hosts: 2 });
    expect(logins()).toBe(4);
    await roundTrip(keyStore, backingKeyId);
  });

  test('gives up a host that does not open its token in time, and says so', async () => {
    token().fault('C_Login', 'hang');
    const opening = openTestStore(token(), { limits: { openDeadlineMs: 1_500 } });
    expect(await failureOf(opening)).toEqual({
      failure: 'unavailable',
      message: `key store \`default\`: cannot open token \`${token().label}\`: it did not open the token within 1500 ms`,
    });
    token().heal('C_Login');
  });

  test('is closed without killing a host that logs in, which could empty the token’s own file', async () => {
    const { keyStore } = await openTestStore(token(), { hosts: 2 });
    const [, second] = keyStore.status().pids;
    if (second === undefined) throw new Error('there are two hosts');
    const logins = token().counting('C_Login');
    token().fault('C_Login', 'hold');
    process.kill(second, 'SIGKILL');
    await until(() => logins() === 1);
    const connecting = keyStore.status().pids.filter((pid) => pid !== second);
    const closing = keyStore.close();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(connecting.filter(isAlive)).not.toEqual([]);
    token().heal('C_Login');
    await closing;
    expect(connecting.filter(isAlive)).toEqual([]);
  });

  test('has a host that logs in while its process is killed end by itself, and only then', async () => {
    token().fault('C_Login', 'hold');
    const logins = token().counting('C_Login');
    const client = startClientProcess(token());
    await until(() => logins() === 1);
    const [host] = childrenOf(client.pid ?? 0);
    if (host === undefined) throw new Error('it has a host');
    client.kill('SIGKILL');
    await once(client, 'exit');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(isRunning(host)).toBe(true);
    token().heal('C_Login');
    await until(() => !isRunning(host));
  });

  test('tells a host that connects while a key is destroyed to forget it', async () => {
    const { keyStore } = await openTestStore(token(), { hosts: 2, lanes: 2 });
    const backingKeyId = await newKey(keyStore);
    const encrypted = await keyStore.encrypt({ backingKeyId, aad, plaintext: plaintextOf('x') });
    // The second host finds the key, and stands still before it serves.
    const [, second] = keyStore.status().pids;
    if (second === undefined) throw new Error('there are two hosts');
    const connected = token().counting('C_GetInfo');
    token().fault('C_GetInfo', 'hold');
    process.kill(second, 'SIGKILL');
    await until(() => connected() === 1);
    await keyStore.destroyKey({ backingKeyId });
    token().heal('C_GetInfo');
    await until(() => keyStore.status().hosts === 2);
    const ends = await Promise.all(
      Array.from({ length: 64 }, () => failureOf(keyStore.decrypt({ backingKeyId, aad, ...encrypted }))),
    );
    expect(new Set(ends.map(({ failure }) => failure))).toEqual(new Set(['keyUnavailable']));
  });

  test('closes within its bound although its host hangs', async () => {
    const { keyStore } = await openTestStore(token(), { limits: { closeDeadlineMs: 300 } });
    const { pids } = keyStore.status();
    token().fault('C_GenerateRandom', 'once hang');
    const hung = failureOf(random(keyStore));
    await keyStore.close();
    expect(await hung).toEqual({
      failure: 'unavailable',
      message: 'cannot generate random bytes: the key store was closed',
    });
    expect(pids.filter(isAlive)).toEqual([]);
  });
});
