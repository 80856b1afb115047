/** Automatic rotations over the years: a real daemon over real tokens, whose clocks the test sets. */

import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { send } from '../end-to-end/support/wire.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { describeEachToken } from '../support/tokens.ts';
import { account, createUpkeptInstance, type Running, region, type UpkeptInstance } from './upkept-instance.ts';

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
const Plaintext = Buffer.from('for years');

describeEachToken('A key whose automatic rotation is enabled', (token) => {
  let instance: UpkeptInstance;
  let running: Running;
  let clocks: SetClocks;
  /** Over one kind of token no key is in memory, and those whose dates come are found by them. */
  const start = () => instance.start(clocks, undefined, undefined, token().profile === 'nss' ? 0 : undefined);
  beforeAll(async () => {
    instance = await createUpkeptInstance(token());
    clocks = new SetClocks();
    const first = await start();
    await first.kms.createKey({});
    await first.stop();
    return () => instance.remove();
  });
  // Requests tell the time by this machine's clock: each test begins there.
  beforeEach(async () => {
    clocks = new SetClocks();
    running = await start();
  });
  afterEach(async () => {
    vi.useRealTimers();
    await running.stop();
  });

  const newKey = async (RotationPeriodInDays: number) => {
    const KeyId = present((await running.kms.createKey({})).KeyMetadata?.KeyId);
    await running.kms.enableKeyRotation({ KeyId, RotationPeriodInDays });
    await clocks.settled();
    return { KeyId, firstDateMs: await nextDateMs(KeyId) };
  };
  const nextDateMs = async (KeyId: string) =>
    present((await running.kms.getKeyRotationStatus({ KeyId })).NextRotationDate).getTime();
  const rotationsOf = async (KeyId: string) => present((await running.kms.listKeyRotations({ KeyId })).Rotations);
  const eventsOf = async (KeyId: string) =>
    (await instance.events('RotateKey')).filter((event) => JSON.stringify(event['resources']).includes(KeyId));
  const materialOf = async (KeyId: string) =>
    present((await running.kms.describeKey({ KeyId })).KeyMetadata?.CurrentKeyMaterialId);

  test('is rotated at each of its dates and not before, on record, and what it ever encrypted is opened', async () => {
    const { KeyId, firstDateMs } = await newKey(90);
    const blobs = [present((await running.kms.encrypt({ KeyId, Plaintext })).CiphertextBlob)];
    const materials = [await materialOf(KeyId)];
    await clocks.pass(90 * dayMs - 5 * minuteMs);
    expect(await rotationsOf(KeyId)).toEqual([]);
    for (let year = 0; year < 2; year++) {
      await clocks.pass(10 * minuteMs);
      materials.push(await materialOf(KeyId));
      expect(await nextDateMs(KeyId)).toBe(firstDateMs + (year + 1) * 90 * dayMs);
      blobs.push(present((await running.kms.encrypt({ KeyId, Plaintext })).CiphertextBlob));
      await clocks.pass(90 * dayMs - 10 * minuteMs);
    }
    expect(new Set(materials).size).toBe(3);
    const rotations = await rotationsOf(KeyId);
    expect(rotations.map(({ RotationType, KeyMaterialId }) => [RotationType, KeyMaterialId])).toEqual(
      materials.slice(1).map((material) => ['AUTOMATIC', material]),
    );
    for (const [at, CiphertextBlob] of blobs.entries()) {
      const opened = await running.kms.decrypt({ CiphertextBlob });
      expect([Buffer.from(present(opened.Plaintext)), opened.KeyMaterialId]).toEqual([Plaintext, materials[at]]);
    }
    const events = await eventsOf(KeyId);
    expect(events).toHaveLength(2);
    expect(events[0]).toMatchObject({
      userIdentity: { accountId: account, invokedBy: 'AWS Internal' },
      eventSource: 'kms.amazonaws.com',
      eventType: 'AwsServiceEvent',
      readOnly: false,
      requestParameters: null,
      resources: [{ accountId: account, type: 'AWS::KMS::Key', ARN: `arn:aws:kms:${region}:${account}:key/${KeyId}` }],
      serviceEventDetails: {
        keyId: KeyId,
        rotationType: 'AUTOMATIC',
        previousKeyMaterialId: materials[0],
        currentKeyMaterialId: materials[1],
      },
    });
  });

  test.each(['disabled', 'pending deletion'])(
    'that was %s at its date is rotated as soon as it is enabled again',
    async (how) => {
      const { kms } = running;
      const { KeyId, firstDateMs } = await newKey(90);
      await clocks.pass(80 * dayMs);
      vi.useFakeTimers({ toFake: ['Date'], now: clocks.now().wallMs });
      if (how === 'disabled') await kms.disableKey({ KeyId });
      else await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 30 });
      await clocks.settled();
      await clocks.pass(20 * dayMs);
      expect(await rotationsOf(KeyId)).toEqual([]);
      if (how !== 'disabled') await kms.cancelKeyDeletion({ KeyId });
      await clocks.settled();
      expect([await rotationsOf(KeyId), await nextDateMs(KeyId)]).toEqual([[], firstDateMs]);
      await kms.enableKey({ KeyId });
      await clocks.settled();
      expect(await rotationsOf(KeyId)).toMatchObject([{ RotationType: 'AUTOMATIC' }]);
      expect(await nextDateMs(KeyId)).toBe(firstDateMs + 90 * dayMs);
    },
  );

  test('that was disabled over several of its dates is rotated once, and goes on with the next of them', async () => {
    const { KeyId, firstDateMs } = await newKey(90);
    await running.kms.disableKey({ KeyId });
    await clocks.settled();
    await clocks.pass(300 * dayMs);
    await running.kms.enableKey({ KeyId });
    await clocks.settled();
    expect(await rotationsOf(KeyId)).toHaveLength(1);
    expect(await nextDateMs(KeyId)).toBe(firstDateMs + 270 * dayMs);
  });

  test('that was disabled and is enabled again before its date keeps it', async () => {
    const { KeyId, firstDateMs } = await newKey(90);
    await running.kms.disableKey({ KeyId });
    await clocks.pass(60 * dayMs);
    await running.kms.enableKey({ KeyId });
    await clocks.settled();
    expect([await rotationsOf(KeyId), await nextDateMs(KeyId)]).toEqual([[], firstDateMs]);
    await clocks.pass(31 * dayMs);
    expect(await rotationsOf(KeyId)).toHaveLength(1);
  });

  test('is not rotated after it was disabled, and by its new period alone after that was changed', async () => {
    const { kms } = running;
    const { KeyId } = await newKey(90);
    const stopped = await newKey(90);
    await kms.enableKeyRotation({ KeyId, RotationPeriodInDays: 200 });
    await kms.disableKeyRotation({ KeyId: stopped.KeyId });
    await clocks.settled();
    await clocks.pass(199 * dayMs);
    expect(await rotationsOf(KeyId)).toEqual([]);
    await clocks.pass(2 * dayMs);
    expect(await rotationsOf(KeyId)).toHaveLength(1);
    expect(await rotationsOf(stopped.KeyId)).toEqual([]);
  });

  test('is not rotated when the wall clock alone is set forward by years', async () => {
    const { KeyId, firstDateMs } = await newKey(365);
    await clocks.setWall(3 * 365 * dayMs);
    expect([await rotationsOf(KeyId), await nextDateMs(KeyId)]).toEqual([[], firstDateMs]);
    await clocks.setWall(-3 * 365 * dayMs);
    await clocks.pass(366 * dayMs);
    expect(await rotationsOf(KeyId)).toHaveLength(1);
  });

  test('stands among what is to come, whenever its date is, and is not confirmed before it', async () => {
    const { KeyId, firstDateMs } = await newKey(300);
    const work = `rotation ${region} ${KeyId}`;
    const ask = async (method: string, path: string, body?: object) =>
      JSON.parse((await send(running.socketPath, { method, path, ...(body && { body: JSON.stringify(body) }) })).body);
    const list = await ask('GET', '/upkeep');
    expect(list.work).toContainEqual(expect.objectContaining({ work, state: 'scheduled' }));
    const { upkeep } = await ask('GET', '/status');
    expect([upkeep.scheduled, upkeep.next]).toEqual([list.work.length + list.more, list.work[0]]);
    const { message } = await ask('POST', '/upkeep/confirm', { work });
    expect(message).toContain(new Date(firstDateMs).toISOString());
  });

  test('whose date came while the daemon was stopped is rotated after it ran for a day, once', async () => {
    const { KeyId, firstDateMs } = await newKey(90);
    await running.stop();
    clocks.jump({ wallMs: 200 * dayMs, bootMs: 200 * dayMs });
    running = await start();
    await clocks.settled();
    expect(await rotationsOf(KeyId)).toEqual([]);
    await clocks.pass(dayMs + minuteMs);
    expect(await rotationsOf(KeyId)).toHaveLength(1);
    expect(await nextDateMs(KeyId)).toBe(firstDateMs + 180 * dayMs);
    await running.stop();
    running = await start();
    await clocks.settled();
    expect(await rotationsOf(KeyId)).toHaveLength(1);
    expect(await eventsOf(KeyId)).toHaveLength(1);
  });

  test.each([
    ['is enabled after a day of running is rotated at once', true],
    ['is enabled earlier is rotated after that day', false],
  ])('whose date came while it was disabled and the daemon stopped, and that %s', async (_, isLate) => {
    const { KeyId, firstDateMs } = await newKey(90);
    const enabled = await newKey(90);
    await running.kms.disableKey({ KeyId });
    await running.stop();
    clocks.jump({ wallMs: 200 * dayMs, bootMs: 200 * dayMs });
    running = await start();
    await clocks.settled();
    if (isLate) await clocks.pass(dayMs + minuteMs);
    expect((await rotationsOf(enabled.KeyId)).length).toBe(isLate ? 1 : 0);
    expect(await rotationsOf(KeyId)).toEqual([]);
    await running.kms.enableKey({ KeyId });
    await clocks.settled();
    expect((await rotationsOf(KeyId)).length).toBe(isLate ? 1 : 0);
    if (!isLate) await clocks.pass(dayMs + minuteMs);
    expect(await rotationsOf(KeyId)).toHaveLength(1);
    expect(await nextDateMs(KeyId)).toBe(firstDateMs + 180 * dayMs);
  });
});
