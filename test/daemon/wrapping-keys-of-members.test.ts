/** A pair for an import that is lost with the HSM in which it is being made: nobody has it, and the other HSM makes another one. */

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfMembers } from './instance-of-members.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: wrapping keys of members: ${softHsm2.missing}\n`);

describe.skipIf(softHsm2.missing !== null)('A key store of two members', () => {
  let instance: InstanceOfMembers;
  beforeAll(async () => {
    instance = await InstanceOfMembers.create({ names: ['a', 'b'] });
    await instance.start();
  });
  afterAll(() => instance?.remove());

  const members = async () => present((await instance.status()).members);
  const patience = { timeout: 170_000, interval: 10 };
  const areConnected = () =>
    vi.waitFor(async () => expect(await instance.states()).toEqual({ a: 'connected', b: 'connected' }), patience);

  test('answers GetParametersForImport though the member that makes the pair is killed', async () => {
    const KeyId = present((await instance.kms.createKey({ Origin: 'EXTERNAL' })).KeyMetadata?.KeyId);
    for (let kill = 0; kill < 3; kill++) {
      await areConnected();
      // It takes a second or so.
      const asked = { KeyId, WrappingKeySpec: 'RSA_4096', WrappingAlgorithm: 'RSAES_OAEP_SHA_256' } as const;
      const parameters = instance.kms.getParametersForImport(asked);
      const making = await vi.waitFor(async () => {
        return present((await members()).find(({ inFlight }) => inFlight > 0));
      }, patience);
      for (const pid of making.pids) process.kill(pid, 'SIGKILL');
      expect((await parameters).PublicKey).toBeDefined();
    }
  });
});
