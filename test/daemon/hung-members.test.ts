/** Members of a key store that hang one after the other, and what is left of one: no call waits for those while another one could answer it. */

import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfMembers } from './instance-of-members.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: members that hang: ${softHsm2.missing}\n`);

const callMs = 6_000;

describe.skipIf(softHsm2.missing !== null)('Members that hang', () => {
  let instance: InstanceOfMembers;
  let KeyId: string;

  beforeAll(async () => {
    instance = await InstanceOfMembers.create({
      ...{ names: ['a', 'b'], settings: { hosts: 2, deadlines: { callMs } } },
      async prepare(kms) {
        KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
      },
    });
    await instance.start();
    await untilServed();
  });
  afterAll(() => instance?.remove());

  const untilServed = () =>
    vi.waitFor(
      async () => {
        for (const name of ['a', 'b'])
          expect(await instance.statusOf(name)).toMatchObject({ state: 'connected', hosts: 2, inFlight: 0 });
      },
      { timeout: 40_000, interval: 50 },
    );
  const pidsOf = async (name: string) => (await instance.statusOf(name)).pids;
  const signal = (pids: readonly number[], name: NodeJS.Signals) => {
    for (const pid of pids) process.kill(pid, name);
  };
  const encrypt = () => instance.kms.encrypt({ KeyId, Plaintext: Buffer.from('x') });
  /** Asks until one of them has hung in a member. */
  const untilOverdue = async (name: string) => {
    while ((await instance.statusOf(name)).inFlight === 0) await Promise.all([encrypt(), encrypt(), encrypt()]);
  };

  test('have hosts replaced that had no call when the others of the member hung', async () => {
    for (let turn = 0; turn < 3; turn++) {
      const stopped = await pidsOf('a');
      signal(stopped, 'SIGSTOP');
      await untilOverdue('a');
      const beganMs = performance.now();
      const areGone = async () => expect((await pidsOf('a')).some((pid) => stopped.includes(pid))).toBe(false);
      await vi.waitFor(areGone, { timeout: 40_000, interval: 50 });
      expect(performance.now() - beganMs).toBeLessThan(callMs + 2_500);
      await untilServed();
    }
  });

  test('have a call answered by one that is back before the other one is given up', async () => {
    const [ofA, ofB] = [await pidsOf('a'), await pidsOf('b')];
    signal(ofB, 'SIGSTOP');
    await untilOverdue('b');
    signal(ofA, 'SIGSTOP');
    const answer = encrypt();
    await setTimeout(2_000); // It is overdue in `a`, and `b` has overdue calls as well.
    signal(ofB, 'SIGCONT');
    const beganMs = performance.now();
    await answer;
    expect(performance.now() - beganMs).toBeLessThan(1_500);
    signal(ofA, 'SIGCONT');
    await untilServed();
  });
});
