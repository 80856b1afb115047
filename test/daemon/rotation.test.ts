/**
 * Rotations whose moment matters: near the date of an automatic one, while others use the key up, and by a policy that says how
 * often. Over a real token, a real SQLite file and a real audit log, in the test's process, so that dates and limits can be set.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { EncryptionLimits } from '../../src/keys/encryption-counter.ts';
import type { KmsKey } from '../../src/keys/kms-key.ts';
import type { KeyId } from '../../src/kms/names.ts';
import { replaced } from '../../src/store/records/changes.ts';
import type { KeyRecord } from '../../src/store/records/records.ts';
import { alice, allow, deny, policy } from '../authorization/policies.ts';
import { holdTurn } from '../support/held-turn.ts';
import { describeEachToken, type TestToken } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

describeEachToken('A key', (token) => {
  const started = (encryptionLimits?: EncryptionLimits) => start(token(), encryptionLimits);

  test.each([
    ['in 19 minutes', 19 * minuteMs],
    ['now', 0],
    ['since an hour, and late', -60 * minuteMs],
  ])('is not rotated on demand when its automatic rotation is due %s, and nothing is generated', async (_, inMs) => {
    const kms = await started();
    const keyId = await kms.newKey();
    await give(kms, keyId, { rotationPeriodDays: 90, nextRotationDateMs: Date.now() + inMs });
    const objects = await kms.keyStore.listKeys();
    expect(await kms.run('RotateKeyOnDemand', { KeyId: keyId })).toMatchObject({
      ok: false,
      error: { name: 'ConflictException', message: expect.stringContaining('within the next 20 minutes') },
    });
    expect(await kms.keyStore.listKeys()).toEqual(objects);
    expect(keyOf(kms, keyId).materials).toHaveLength(1);
  });

  test('is rotated on demand when its automatic rotation is due in 21 minutes, and that stays when it was', async () => {
    const kms = await started();
    const keyId = await kms.newKey();
    const schedule = { rotationPeriodDays: 90, nextRotationDateMs: Date.now() + 21 * minuteMs };
    await give(kms, keyId, schedule);
    expect(await kms.run('RotateKeyOnDemand', { KeyId: keyId })).toMatchObject({ ok: true });
    expect(keyOf(kms, keyId).record).toMatchObject(schedule);
  });

  test('whose date came near while a rotation on demand waited for its turn is not rotated, and nothing is left', async () => {
    const kms = await started();
    const keyId = await kms.newKey();
    const objects = await kms.keyStore.listKeys();
    const { record } = keyOf(kms, keyId);
    const held = await holdTurn(kms.turns, () => [
      replaced('key', record, { rotationPeriodDays: 90, nextRotationDateMs: Date.now() + minuteMs }),
    ]);
    const answer = kms.run('RotateKeyOnDemand', { KeyId: keyId });
    await held.letGo();
    expect(await answer).toMatchObject({ ok: false, error: { name: 'ConflictException' } });
    expect(await kms.keyStore.listKeys()).toEqual(objects);
  });

  test('is rotated at its date, and its next date is a period after that one', async () => {
    const kms = await started();
    const keyId = await kms.newKey();
    const blob = await answered(kms, 'Encrypt', { KeyId: keyId, Plaintext: 'eA==' });
    const dateMs = Date.now() - 3 * dayMs;
    await give(kms, keyId, { rotationPeriodDays: 90, nextRotationDateMs: dateMs });
    const nowMs = Date.now();
    const both = [kms.life.rotateOnDate(keyId, dateMs, nowMs), kms.life.rotateOnDate(keyId, dateMs, nowMs)];
    expect(await Promise.all(both)).toEqual([true, false]);
    const { record, materials } = keyOf(kms, keyId);
    expect(record).toMatchObject({ rotationPeriodDays: 90, nextRotationDateMs: dateMs + 90 * dayMs });
    expect(materials).toMatchObject([{ rotationType: null }, { rotationType: 'AUTOMATIC', rotatedAtMs: nowMs }]);
    expect(record.currentBackingKeyId).toBe(materials[1]?.backingKeyId);
    const { CiphertextBlob } = blob;
    expect(await answered(kms, 'Decrypt', { CiphertextBlob })).toMatchObject({ Plaintext: 'eA==' });
    // It counts against nothing.
    for (let count = 0; count < 2; count++) await answered(kms, 'RotateKeyOnDemand', { KeyId: keyId });
  });

  test.each(['Disabled', 'PendingDeletion'] as const)(
    'that is %s at its date is not rotated, and keeps it',
    async (state) => {
      const kms = await started();
      const keyId = await kms.newKey();
      const dateMs = Date.now() - dayMs;
      await give(kms, keyId, { rotationPeriodDays: 90, nextRotationDateMs: dateMs, state });
      const objects = await kms.keyStore.listKeys();
      expect(await kms.life.rotateOnDate(keyId, dateMs, Date.now())).toBe(false);
      expect(await kms.keyStore.listKeys()).toEqual(objects);
      expect(keyOf(kms, keyId).record.nextRotationDateMs).toBe(dateMs);
      await give(kms, keyId, { state: 'Enabled' });
      expect(await kms.life.rotateOnDate(keyId, dateMs, Date.now())).toBe(true);
    },
  );

  test('whose rotation was disabled while its material was being generated is not rotated, and nothing is left', async () => {
    const kms = await started();
    const keyId = await kms.newKey();
    const dateMs = Date.now() - dayMs;
    await give(kms, keyId, { rotationPeriodDays: 90, nextRotationDateMs: dateMs });
    const objects = await kms.keyStore.listKeys();
    const { record } = keyOf(kms, keyId);
    const held = await holdTurn(kms.turns, () => [
      replaced('key', record, { rotationPeriodDays: null, nextRotationDateMs: null }),
    ]);
    const rotating = kms.life.rotateOnDate(keyId, dateMs, Date.now());
    await held.letGo();
    expect(await rotating).toBe(false);
    expect(await kms.keyStore.listKeys()).toEqual(objects);
    expect(await kms.run('RotateKeyOnDemand', { KeyId: keyId })).toMatchObject({ ok: true });
  });

  test('whose numbers are used up again and again by 16 callers, and that is rotated on demand besides, answers all of them', async () => {
    const kms = await started({ maxEncryptionsPerBackingKey: 16, reservationBlock: 4 });
    const keyId = await kms.newKey();
    const blobs: unknown[] = [];
    const callers = Array.from({ length: 16 }, async () => {
      for (let count = 0; count < 6; count++) {
        blobs.push((await answered(kms, 'Encrypt', { KeyId: keyId, Plaintext: 'eA==' }))['CiphertextBlob']);
      }
    });
    const demanded = [1, 2, 3].map(() => answered(kms, 'RotateKeyOnDemand', { KeyId: keyId }));
    await Promise.all([...callers, ...demanded]);
    for (const CiphertextBlob of blobs) {
      expect(await answered(kms, 'Decrypt', { CiphertextBlob })).toMatchObject({ Plaintext: 'eA==' });
    }
    const { materials } = keyOf(kms, keyId);
    const kinds = materials.map(({ rotationType }) => rotationType);
    expect(kinds.filter((kind) => kind === 'ON_DEMAND')).toHaveLength(3);
    // 96 encryptions take 6 materials of 16 each, whenever those that are demanded come in between.
    expect(kinds.filter((kind) => kind === 'AUTOMATIC').length).toBeGreaterThanOrEqual(6 - 1 - 3);
    expect(materials.every(({ reservedEncryptions }) => reservedEncryptions <= 16)).toBe(true);
    // One more may have begun ahead of need.
    const states = async () => new Set((await kms.store.load()).backingKey.map(({ state }) => state));
    await expect.poll(states).toEqual(new Set(['Active']));
    expect(kms.errors).toEqual([]);
  });

  test('has automatic rotation enabled only with a period that its policy allows', async () => {
    const kms = await started();
    const keyId = await kms.newKey(
      policy(allow(alice, 'kms:*'), {
        ...deny(alice, 'kms:EnableKeyRotation'),
        Condition: { NumericLessThanEquals: { 'kms:RotationPeriodInDays': '180' } },
      }),
    );
    const enable = (days?: number) => kms.run('EnableKeyRotation', { KeyId: keyId, RotationPeriodInDays: days });
    expect(await enable(180)).toMatchObject({ ok: false, error: { name: 'AccessDeniedException' } });
    expect(keyOf(kms, keyId).record.rotationPeriodDays).toBeNull();
    expect(await enable(181)).toMatchObject({ ok: true });
    expect(await enable()).toMatchObject({ ok: true });
  });

  test('with imported material is rotated to material that waits for it, and there is none', async () => {
    const kms = await started();
    const keyId = await kms.newKey();
    await give(kms, keyId, { origin: 'EXTERNAL' });
    const { arn } = keyOf(kms, keyId);
    expect(await kms.run('RotateKeyOnDemand', { KeyId: keyId })).toMatchObject({
      ok: false,
      error: {
        name: 'KMSInvalidStateException',
        message: `No available key material pending rotation for the key: ${arn}.`,
      },
    });
    for (const operation of ['EnableKeyRotation', 'DisableKeyRotation']) {
      expect(await kms.run(operation, { KeyId: keyId })).toMatchObject({
        ok: false,
        error: {
          name: 'UnsupportedOperationException',
          message: `${arn} origin is EXTERNAL which is not valid for this operation.`,
        },
      });
    }
  });
});

async function start(token: TestToken, encryptionLimits: EncryptionLimits | undefined): Promise<TestService> {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-rotation-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const limits = encryptionLimits === undefined ? {} : { encryptionLimits };
  const kms = await startService(token, folder, { auditFolder: join(folder, 'audit'), lanes: 2, ...limits });
  onTestFinished(() => kms.close());
  return kms;
}

function keyOf(kms: TestService, keyId: KeyId): KmsKey {
  const key = kms.directory.findKey(keyId);
  if (key === undefined) throw new TypeError('the key is not there');
  return key;
}

/** Gives the key what no request can. */
async function give(kms: TestService, keyId: KeyId, members: Partial<Omit<KeyRecord, 'version'>>): Promise<void> {
  await kms.turns.take(() => ({ changes: [replaced('key', keyOf(kms, keyId).record, members)], response: undefined }));
}

async function answered(kms: TestService, operation: string, request: object): Promise<Record<string, unknown>> {
  const answer = await kms.run(operation, request);
  if (!answer.ok) throw answer.error;
  return JSON.parse(answer.body) as Record<string, unknown>;
}
