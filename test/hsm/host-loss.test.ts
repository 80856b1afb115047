import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachToken, softHsm2 } from '../support/tokens.ts';
import { isAlive, isRunning, startClientProcess } from './processes.ts';
import { aad, failureOf, newKey, openTestStore, plaintextOf, roundTrip, until } from './test-store.ts';

const shapes = [
  { hosts: 1, lanes: 1 },
  { hosts: 1, lanes: 4 },
  { hosts: 2, lanes: 2 },
];

describeEachToken('A key store whose hosts are killed', (token, kind) => {
  /** What the API process does about a lost host depends on no token: behind the second one it is seen that the same is done there. */
  const asFar = <Case>(all: readonly Case[]): readonly Case[] => (kind === softHsm2 ? all : all.slice(-1));

  test.each(asFar(shapes))(
    'with $hosts hosts of $lanes lanes answers every repeatable call, and rightly',
    async (shape) => {
      const { keyStore } = await openTestStore(token(), shape);
      const backingKeyId = await newKey(keyStore);
      const kills = 3;
      const rounds = Array.from({ length: 48 }, () => 0);
      const failures: unknown[] = [];
      let isOver = false;
      const callers = rounds.map(async (_, caller) => {
        for (let round = 1; !isOver; round++) {
          await roundTrip(keyStore, backingKeyId, `caller ${caller}, round ${round}`);
          rounds[caller] = round;
        }
      });
      const all = Promise.all(callers).catch((error: unknown) => failures.push(error));
      for (let kill = 0; kill < kills && failures.length === 0; kill++) {
        const [pid] = keyStore.status().pids;
        if (pid === undefined) throw new Error('there is a host');
        process.kill(pid, 'SIGKILL');
        await until(() => failures.length > 0 || keyStore.status().restarts > kill);
        // A call is repeated once, so the next kill waits until every caller has finished a round that was begun before it.
        const before = [...rounds];
        const everybodyMovedOn = () => rounds.every((round, caller) => round > (before[caller] ?? 0));
        await until(() => failures.length > 0 || (everybodyMovedOn() && keyStore.status().hosts === shape.hosts));
      }
      isOver = true;
      await all;
      expect(failures).toEqual([]);
      expect(keyStore.status()).toMatchObject({ restarts: kills, lastFailure: 'it was ended by SIGKILL', inFlight: 0 });
    },
  );

  test('answers calls that come without any host, once there is one', async () => {
    const { keyStore } = await openTestStore(token(), { hosts: 2 });
    const backingKeyId = await newKey(keyStore);
    for (const pid of keyStore.status().pids) process.kill(pid, 'SIGKILL');
    await until(() => keyStore.status().hosts < 2);
    await Promise.all(Array.from({ length: 50 }, (_, i) => roundTrip(keyStore, backingKeyId, `text ${i}`)));
  });

  test('either has a key that was being generated or says that it may not have it', async () => {
    const { keyStore } = await openTestStore(token());
    const made = new Map<BackingKeyId, string>();
    const [pid] = keyStore.status().pids;
    if (pid === undefined) throw new Error('there is a host');
    const generations = Array.from({ length: 40 }, async (_, i) => {
      const backingKeyId = newBackingKeyId();
      const request = { backingKeyId, label: 'drawbridge:test:1', keySpec: 'SYMMETRIC_DEFAULT' } as const;
      const { failure } = await failureOf(keyStore.generateKey({ ...request, keyUsage: 'ENCRYPT_DECRYPT' }));
      if (i === 3) process.kill(pid, 'SIGKILL');
      made.set(backingKeyId, failure);
    });
    await Promise.all(generations);
    expect([...new Set(made.values())].every((end) => ['none', 'unavailable'].includes(end))).toBe(true);
    for (const [backingKeyId, end] of made) if (end === 'none') await roundTrip(keyStore, backingKeyId);
    const listed = (await keyStore.listKeys()).map((key) => key.backingKeyId);
    for (const [backingKeyId, end] of made) if (end === 'none') expect(listed).toContain(backingKeyId);
    // What nobody was told of can be cleaned up.
    for (const backingKeyId of made.keys()) await keyStore.destroyKey({ backingKeyId });
    expect((await keyStore.listKeys()).filter((key) => made.has(key.backingKeyId))).toEqual([]);
  });

  test('replaces a host that was stopped, and its calls end', async () => {
    const { keyStore } = await openTestStore(token(), { limits: { callDeadlineMs: 2_500 } });
    const [pid] = keyStore.status().pids;
    if (pid === undefined) throw new Error('there is a host');
    process.kill(pid, 'SIGSTOP');
    expect(await failureOf(keyStore.random({ lengthBytes: 8 }))).toEqual({
      failure: 'timeout',
      message: 'cannot generate random bytes: no reply within 2500 ms; the HSM host was replaced',
    });
    await until(() => keyStore.status().state === 'connected');
    expect((await keyStore.random({ lengthBytes: 8 })).lengthBytes).toBe(8);
    await until(() => !isAlive(pid));
  });

  test('takes no more memory the longer it works', async () => {
    const { keyStore } = await openTestStore(token());
    const backingKeyId = await newKey(keyStore);
    await manyCalls(keyStore, backingKeyId, 5_000);
    const [pid] = keyStore.status().pids;
    const warm = { own: liveBytes(), host: residentBytes(pid) };
    await manyCalls(keyStore, backingKeyId, 10_000);
    // 10,000 calls with 4 KiB each way: a tenth of a call's bytes, kept, is 8 MB.
    expect(liveBytes() - warm.own).toBeLessThan(4 * 1024 * 1024);
    expect(residentBytes(pid) - warm.host).toBeLessThan(6 * 1024 * 1024);
  });

  test.each(asFar(['SIGTERM', 'SIGKILL'] as const))(
    'leaves no host behind when its process ends by %s',
    async (signal) => {
      const { client, pids } = await startClient();
      client.kill(signal);
      await once(client, 'exit');
      await until(() => !pids.some(isRunning));
    },
  );

  test('leaves no host behind when its process exits without closing it', async () => {
    const { client, pids } = await startClient();
    client.send('exit');
    await once(client, 'exit');
    await until(() => !pids.some(isRunning));
  });

  test('leaves no host behind that hangs when its process is killed', async () => {
    const { client, pids } = await startClient();
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    client.kill('SIGKILL');
    await once(client, 'exit');
    await until(() => !pids.some(isRunning));
  });

  /** A process that has opened the token with two hosts. */
  async function startClient(): Promise<{ client: ChildProcess; pids: readonly number[] }> {
    const client = startClientProcess(token());
    const [pids] = (await once(client, 'message')) as [readonly number[]];
    expect(pids).toHaveLength(2);
    return { client, pids };
  }
});

async function manyCalls(keyStore: KeyStore, backingKeyId: BackingKeyId, count: number): Promise<void> {
  const plaintext = plaintextOf(Buffer.alloc(4096, 7));
  let left = count;
  const caller = async () => {
    for (; left > 0; left--) (await keyStore.encrypt({ backingKeyId, aad, plaintext })).ciphertext.fill(0);
  };
  await Promise.all(Array.from({ length: 64 }, caller));
}

/**
 * What this process holds on to: not its resident memory, of which the allocator keeps what busy moments took. Collects
 * garbage twice, since buffers are given back after the objects that they belong to.
 */
function liveBytes(): number {
  setFlagsFromString('--expose-gc');
  const collectGarbage: unknown = runInNewContext('gc');
  if (typeof collectGarbage !== 'function') throw new Error('V8 gives no access to its garbage collector');
  collectGarbage();
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function residentBytes(pid: number | undefined): number {
  const [, kibibytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kibibytes) * 1024;
}
