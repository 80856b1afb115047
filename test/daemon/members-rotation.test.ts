/** Keys whose rotation is automatic in a key store of two members: at their dates both members may be there, one of them, or none. */

import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { auditLines } from '../end-to-end/support/audit-trail.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { send } from '../end-to-end/support/wire.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { softHsm2 } from '../support/tokens.ts';
import { InstanceOfMembers } from './instance-of-members.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: rotations in several members: ${softHsm2.missing}\n`);

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
const RotationPeriodInDays = 90;
const Plaintext = Buffer.from('for years');
const names = ['a', 'b'];

describe.skipIf(softHsm2.missing !== null)('A key store of two members, at the date of a rotation', () => {
  let instance: InstanceOfMembers;
  let kms: KMS;
  let KeyId: string;
  const clocks = new SetClocks();
  beforeAll(async () => {
    // With the first key the domain key is made that is then in both.
    instance = await InstanceOfMembers.create({ names, prepare: async (one) => void (await one.createKey({})) });
    instance.clocks = clocks;
    await instance.start();
    kms = instance.kms;
    await vi.waitFor(async () => expect(await instance.states()).toEqual({ a: 'connected', b: 'connected' }), patience);
    KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
    await kms.enableKeyRotation({ KeyId, RotationPeriodInDays });
    // A little behind its date, from now on.
    await clocks.pass(10 * minuteMs);
  });
  afterAll(() => instance?.remove());

  const patience = { timeout: 170_000, interval: 50 };
  const unplug = async (name: string) => {
    instance.member(name).pull();
    for (const pid of (await instance.statusOf(name)).pids) process.kill(pid, 'SIGKILL');
    await vi.waitFor(async () => expect((await instance.states())[name]).not.toBe('connected'), patience);
  };
  const plug = async (name: string) => {
    instance.member(name).plug();
    await vi.waitFor(
      async () => expect(await instance.reconnect(`default/members/${name}`)).toMatchObject({ status: 200 }),
      patience,
    );
  };
  const encrypted = async () => present((await kms.encrypt({ KeyId, Plaintext })).CiphertextBlob);
  const currentOf = async () => present((await kms.describeKey({ KeyId })).KeyMetadata?.CurrentKeyMaterialId);
  /** What was encrypted with each material of the key. */
  const blobs = new Map<string, Uint8Array>();
  const encryptWithCurrent = async () => void blobs.set(await currentOf(), await encrypted());
  /** All of it is opened, each by its own material, and what is new is encrypted with the last. */
  const expectServed = async () => {
    for (const [material, CiphertextBlob] of [...blobs, [await currentOf(), await encrypted()] as const]) {
      const opened = await kms.decrypt({ CiphertextBlob });
      expect([Buffer.from(present(opened.Plaintext)), opened.KeyMaterialId]).toEqual([Plaintext, material]);
    }
  };
  const told = async (path: string, body: object) =>
    JSON.parse((await send(instance.socket, { path, body: JSON.stringify(body) })).body);
  const expectRotations = async (count: number) => {
    const { Rotations = [] } = await kms.listKeyRotations({ KeyId });
    expect(Rotations.map(({ RotationType }) => RotationType)).toEqual(Array(count).fill('AUTOMATIC'));
    expect(auditLines(instance.folder).filter(({ eventName }) => eventName === 'RotateKey')).toHaveLength(count);
  };
  const untilItsDate = () => clocks.pass(RotationPeriodInDays * dayMs);

  test.each(names)('rotates it once while %s is away, and uses all materials in either of them alone', async (away) => {
    const other = present(names.find((name) => name !== away));
    const rotations = blobs.size;
    await encryptWithCurrent();
    await unplug(away);
    await untilItsDate();
    await expectRotations(rotations + 1);
    await expectServed();
    await plug(away);
    // This one has nothing of the rotation but what is on record.
    await unplug(other);
    await expectServed();
    await plug(other);
    expect(await told('/census', { after: null })).toMatchObject({ problems: [] });
  });

  test('does not rotate it while both are away, and does when one is back, with nothing left half made', async () => {
    await encryptWithCurrent();
    for (const name of names) await unplug(name);
    await untilItsDate();
    await expectRotations(names.length);
    expect(await refusal(encrypted())).toMatchObject({ name: 'KMSInternalException' });
    await plug('b');
    await clocks.pass(60 * minuteMs);
    await expectRotations(names.length + 1);
    await expectServed();
    await plug('a');
    expect(await told('/census/orphans', {})).toMatchObject({ orphans: [], unreachable: [] });
  });
});
