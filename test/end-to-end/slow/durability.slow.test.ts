/**
 * `kill -9` under load: whatever was acknowledged before is there afterwards.
 *
 * 16 callers create keys and aliases, put policies and encrypt, and note only what they got an answer for. Then the
 * daemon or its HSM host is killed at a moment that nobody chose, and everything noted is asked for again. `DRAWBRIDGE_KILLS=20`
 * kills it as often.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterEach, describe, expect, test } from 'vitest';
import { childrenOf } from '../../support/children.ts';
import { type Instance, startInstance } from '../../support/instance.ts';
import { softHsm2 } from '../../support/tokens.ts';
import { rootArn } from '../support/arns.ts';
import { auditLines, brokenLink } from '../support/audit-trail.ts';
import { kmsOver } from '../support/connect.ts';
import { newKey, present } from '../support/daemon.ts';
import { allow } from '../support/policies.ts';

const callers = 16;
const rounds = Number(process.env['DRAWBRIDGE_KILLS'] ?? 2);
const testTimeoutMs = 240_000;

/** What callers were told is done. */
class Acknowledged {
  readonly keys = new Map<string, string>();
  readonly aliases = new Map<string, string>();
  readonly policies = new Map<string, string>();
  readonly ciphertexts: { readonly blob: Uint8Array; readonly text: string }[] = [];
  readonly requestIds: string[] = [];

  get count(): number {
    return this.requestIds.length;
  }
}

if (softHsm2.missing !== null) process.stdout.write(`skipped: kill -9 under load: ${softHsm2.missing}\n`);
describe.skipIf(softHsm2.missing !== null)('kill -9 under load', () => {
  test(
    'of the daemon loses nothing that it acknowledged',
    async () => {
      const dir = newFolder();
      let instance = await startInstance({ dir });
      const done = new Acknowledged();
      try {
        for (let round = 0; round < rounds; round += 1) {
          const load = startLoad(instance.socket, done, `d${round}`);
          await load.atLeast(40 + Math.floor(Math.random() * 200));
          await instance.kill9();
          await load.ended();
          instance = await startInstance({ dir });
          await assertAllThere(instance, done);
        }
      } finally {
        await instance.stop();
      }
    },
    testTimeoutMs,
  );

  test(
    'of the HSM host loses nothing, and the daemon goes on without an operator',
    async () => {
      const instance = await startInstance();
      const done = new Acknowledged();
      try {
        for (let round = 0; round < rounds; round += 1) {
          const load = startLoad(instance.socket, done, `h${round}`);
          await load.atLeast(40 + Math.floor(Math.random() * 200));
          const [host] = childrenOf(instance.pid);
          process.kill(present(host), 'SIGKILL');
          await load.atLeast(100);
          load.stop();
          await load.ended();
          await assertAllThere(instance, done);
        }
      } finally {
        await instance.stop();
      }
    },
    testTimeoutMs,
  );

  test(
    'of the daemon ends its HSM hosts',
    async () => {
      const dir = newFolder();
      const instance = await startInstance({ dir });
      const hosts = childrenOf(instance.pid);
      expect(hosts.length).toBeGreaterThan(0);
      await instance.kill9();
      await expect.poll(() => hosts.filter(isAlive)).toEqual([]);
      const again = await startInstance({ dir: instance.dir });
      await again.stop();
    },
    testTimeoutMs,
  );
});

/** Ended and removed after each test, so that one that failed leaves nothing behind. */
const loads: { stop(): void }[] = [];
const folders: string[] = [];
afterEach(() => {
  for (const load of loads.splice(0)) load.stop();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** For an instance that is started more than once. */
function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-durability-'));
  folders.push(folder);
  return join(folder, 'instance');
}

function startLoad(socketPath: string, done: Acknowledged, tag: string) {
  let stopping = false;
  const clients: KMS[] = [];
  const working = Array.from({ length: callers }, async (_, caller) => {
    const kms = kmsOver(socketPath, 1);
    clients.push(kms);
    for (let step = 0; !stopping; step += 1) {
      try {
        await oneStep(kms, done, `${tag}-${caller}-${step}`);
      } catch {
        // Not acknowledged: the daemon or its host is gone, and what became of the request is open.
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  });
  const load = {
    async atLeast(more: number): Promise<void> {
      const goal = done.count + more;
      while (done.count < goal) await new Promise((resolve) => setTimeout(resolve, 5));
    },
    stop(): void {
      stopping = true;
    },
    async ended(): Promise<void> {
      stopping = true;
      await Promise.all(working);
      for (const kms of clients) kms.destroy();
    },
  };
  loads.push(load);
  return load;
}

async function oneStep(kms: KMS, done: Acknowledged, name: string): Promise<void> {
  const key = present([...done.keys.keys()].at(-1) ?? (await createdKey(kms, done, name)));
  const kind = Math.random();
  if (kind < 0.05) {
    await createdKey(kms, done, name);
  } else if (kind < 0.15) {
    const AliasName = `alias/${name}`;
    const { $metadata } = await kms.createAlias({ AliasName, TargetKeyId: key });
    done.aliases.set(AliasName, key);
    done.requestIds.push(present($metadata.requestId));
  } else if (kind < 0.2) {
    // A key of its own, so that no two callers put policies on one key.
    const own = await createdKey(kms, done, `${name}-policy`);
    const Policy = JSON.stringify({ Version: '2012-10-17', Id: name, Statement: [allow(rootArn, 'kms:*')] });
    const { $metadata } = await kms.putKeyPolicy({ KeyId: own, Policy });
    done.policies.set(own, Policy);
    done.requestIds.push(present($metadata.requestId));
  } else {
    const { CiphertextBlob, $metadata } = await kms.encrypt({ KeyId: key, Plaintext: Buffer.from(name) });
    done.ciphertexts.push({ blob: present(CiphertextBlob), text: name });
    done.requestIds.push(present($metadata.requestId));
  }
}

async function createdKey(kms: KMS, done: Acknowledged, Description: string): Promise<string> {
  const { KeyMetadata, $metadata } = await kms.createKey({ Description });
  const id = present(KeyMetadata?.KeyId);
  done.keys.set(id, Description);
  done.requestIds.push(present($metadata.requestId));
  return id;
}

async function assertAllThere(instance: Instance, done: Acknowledged): Promise<void> {
  const kms = kmsOver(instance.socket);
  try {
    for (const [KeyId, Description] of done.keys) {
      expect((await kms.describeKey({ KeyId })).KeyMetadata).toMatchObject({ KeyId, Description, KeyState: 'Enabled' });
    }
    for (const [alias, KeyId] of done.aliases) {
      expect((await kms.describeKey({ KeyId: alias })).KeyMetadata?.KeyId).toBe(KeyId);
    }
    for (const [KeyId, document] of done.policies) {
      expect(JSON.parse(present((await kms.getKeyPolicy({ KeyId })).Policy))).toEqual(JSON.parse(document));
    }
    for (const { blob, text } of done.ciphertexts) {
      const { Plaintext } = await kms.decrypt({ CiphertextBlob: blob });
      expect(Buffer.from(present(Plaintext)).toString()).toBe(text);
    }
    const { Keys, Truncated } = await kms.listKeys({ Limit: 1000 });
    expect(Truncated).toBe(false);
    for (const listed of present(Keys)) {
      // Also a key whose maker never heard of it must be whole or not there.
      await kms.encrypt({ KeyId: present(listed.KeyId), Plaintext: Buffer.from('whole') });
    }
    await newKey(kms);
  } finally {
    kms.destroy();
  }
  const recorded = new Set(auditLines(instance.dir).map((event) => event.requestID));
  expect(done.requestIds.filter((id) => !recorded.has(id))).toEqual([]);
  expect(brokenLink(instance.dir)).toBeUndefined();
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false; // The process is gone, and its folder with it.
  }
}
