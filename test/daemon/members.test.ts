/** A key store of several members through its socket: what a stranger does to one, and to two at once, under load. */

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfMembers } from './instance-of-members.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });
if (softHsm2.missing !== null) process.stdout.write(`skipped: a key store of several members: ${softHsm2.missing}\n`);

describe.skipIf(softHsm2.missing !== null)('A key store of three members', () => {
  let instance: InstanceOfMembers;
  let keyId: string;

  beforeAll(async () => {
    instance = await InstanceOfMembers.create({
      names: ['a', 'b', 'c'],
      settings: { deadlines: { callMs: 1_500 } },
      async prepare(kms) {
        keyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
      },
    });
    await instance.start();
  });
  afterAll(() => instance?.remove());

  const untilAll = (state: string) =>
    vi.waitFor(async () => expect(await instance.states()).toEqual({ a: state, b: state, c: state }), {
      timeout: 20_000,
      interval: 50,
    });

  test('serves from all of them', async () => {
    await untilAll('connected');
    const { kms } = instance;
    const { CiphertextBlob } = await kms.encrypt({ KeyId: keyId, Plaintext: Buffer.from('x') });
    const { Plaintext } = await kms.decrypt({ CiphertextBlob });
    expect(Buffer.from(present(Plaintext)).toString()).toBe('x');
    for (const { pids } of present((await instance.status()).members)) process.kill(present(pids[0]), 'SIGKILL');
    await kms.decrypt({ CiphertextBlob });
  });
});
