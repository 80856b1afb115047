/** Rotation of keys that are closed and opened again: interrupted ones, and those of keys whose numbers are used up. */

import { expect, test } from 'vitest';
import type { DoneRotation } from '../../src/keys/life/key-life.ts';
import { onDemandRotations } from '../../src/keys/life/rotation.ts';
import { parseCiphertext } from '../../src/keys/use/ciphertext.ts';
import { added, replaced } from '../../src/store/records/changes.ts';
import { holdTurn } from '../support/held-turn.ts';
import {
  create,
  currentId,
  decryptOne,
  describeReopenedKeys,
  encryptOne,
  found,
  intentOf,
  type Started,
  symmetric,
} from './reopened-keys.ts';

describeReopenedKeys('Rotated keys that are closed and opened again', ({ start, close }) => {
  test.each(['before the HSM made the material', 'after the HSM made the material'])(
    'a rotation that was cut off %s is not there, and the key is as it was',
    async (moment) => {
      const started = await start();
      const { store, turns, keyStore } = started;
      const key = await create(started);
      const { ciphertextBlob } = await encryptOne(started, key);
      const intent = { ...intentOf(store.nodeId, key.record.keyId), ordinal: 2 };
      const { backingKeyId } = intent;
      await turns.take(() => ({ changes: [added('backingKey', intent)], response: undefined }));
      if (moment.startsWith('after'))
        await keyStore.generateKey({ backingKeyId, label: 'drawbridge:cut-off:2', ...symmetric });
      await close();

      const again = await start();
      const known = found(again.directory, key);
      expect([currentId(known), known.materials.length]).toEqual([currentId(key), 1]);
      expect((await again.store.load()).backingKey.map((record) => record.backingKeyId)).not.toContain(backingKeyId);
      expect((await again.keyStore.listKeys()).map((object) => object.backingKeyId)).not.toContain(backingKeyId);
      expect(await decryptOne(known, ciphertextBlob)).toBe('attack at dawn');
      await again.life.rotate(key.record.keyId, currentId(known));
      expect(found(again.directory, key).materials).toHaveLength(2);
    },
  );

  test('a rotation that failed and could not be undone is undone at the next start, though another one came after it', async () => {
    const started = await start();
    const { store, turns, keyStore, life } = started;
    const key = await create(started);
    const intent = { ...intentOf(store.nodeId, key.record.keyId), ordinal: 2 };
    const { backingKeyId } = intent;
    await turns.take(() => ({ changes: [added('backingKey', intent)], response: undefined }));
    await keyStore.generateKey({ backingKeyId, label: 'drawbridge:failed:2', ...symmetric });
    await life.rotate(key.record.keyId, currentId(key));
    const rotated = currentId(found(started.directory, key));
    await close();

    const again = await start();
    expect(again.lines.filter(({ level }) => level !== 'info')).toEqual([]);
    const objects = (await again.keyStore.listKeys()).map((object) => object.backingKeyId);
    expect(objects).not.toContain(backingKeyId);
    expect(objects).toContain(rotated);
    expect(currentId(found(again.directory, key))).toBe(rotated);
  });

  test('an intent that somebody put back over older material of a rotated key destroys nothing', async () => {
    const before = await start();
    const key = await create(before);
    const { ciphertextBlob } = await encryptOne(before, key);
    await before.life.rotate(key.record.keyId, currentId(key));
    const [old] = found(before.directory, key).materials;
    if (old === undefined) throw new TypeError('the key has no material');
    const intent = { state: 'Creating', owner: before.store.nodeId } as const;
    await before.turns.take(() => ({ changes: [replaced('backingKey', old, intent)], response: undefined }));
    await close();

    const again = await start();
    expect((await again.keyStore.listKeys()).map((object) => object.backingKeyId)).toContain(old.backingKeyId);
    const record = (await again.store.load()).backingKey.find((each) => each.backingKeyId === old.backingKeyId);
    if (record === undefined) throw new TypeError('the record is gone');
    const active = { state: 'Active', owner: '' } as const;
    await again.turns.take(() => ({ changes: [replaced('backingKey', record, active)], response: undefined }));
    await close();
    const { directory } = await start();
    expect(await decryptOne(found(directory, key), ciphertextBlob)).toBe('attack at dawn');
  });

  test('a key that is disabled while it is rotated gets no new material, and none is left', async () => {
    const opened = await start({ maxEncryptionsPerBackingKey: 2, reservationBlock: 2 });
    const key = await create(opened);
    await encryptOne(opened, key);
    const objects = await opened.keyStore.listKeys();
    const disabling = replaced('key', found(opened.directory, key).record, { state: 'Disabled' });
    const held = await holdTurn(opened.turns, () => [disabling]);
    // It takes the last number, for which no turn is needed, and with it a rotation begins, behind the turn that is held.
    await encryptOne(opened, key);
    const waiting = encryptOne(opened, key);
    await Promise.all([held.letGo(), expect(waiting).rejects.toMatchObject({ name: 'DisabledException' })]);
    expect(await opened.keyStore.listKeys()).toEqual(objects);
    expect(found(opened.directory, key).materials).toHaveLength(1);
  });

  test('a key at its limit rotates itself under 60 callers at once, and everything still decrypts', async () => {
    const limits = { maxEncryptionsPerBackingKey: 16, reservationBlock: 4 };
    const started = await start(limits);
    const { directory, store } = started;
    const key = await create(started);
    const blobs = await Promise.all(
      Array.from({ length: 60 }, async () => (await encryptOne(started, found(directory, key))).ciphertextBlob),
    );

    const perBackingKey = new Map<string, number>();
    for (const blob of blobs) {
      const id = parseCiphertext(blob)?.backingKeyId ?? 'none';
      perBackingKey.set(id, (perBackingKey.get(id) ?? 0) + 1);
      expect(await decryptOne(found(directory, key), blob)).toBe('attack at dawn');
    }
    expect([...perBackingKey.values()].every((count) => count <= 16)).toBe(true);
    expect(perBackingKey.size).toBeGreaterThanOrEqual(4);
    const records = (await store.load()).backingKey.filter((record) => record.keyId === key.record.keyId);
    expect(records.every((record) => record.reservedEncryptions <= 16)).toBe(true);

    await close();
    const again = await start(limits);
    for (const blob of blobs) expect(await decryptOne(found(again.directory, key), blob)).toBe('attack at dawn');
  });

  test('a key gets new material before its last number is used, on record as an automatic rotation that moves no date', async () => {
    const started = await start({ maxEncryptionsPerBackingKey: 8, reservationBlock: 8 });
    const { directory, turns } = started;
    const key = await create(started);
    const schedule = { rotationPeriodDays: 365, nextRotationDateMs: Date.now() + 1_000_000_000 };
    await turns.take(() => ({ changes: [replaced('key', key.record, schedule)], response: undefined }));
    const onRecord: DoneRotation[] = [];
    started.life.recordRotations(async (rotation) => void onRecord.push(rotation));
    const from = Date.now();
    for (let count = 0; count < 6; count++) await encryptOne(started, key);
    // Two numbers are left, and whoever still holds the key as it was needs neither.
    await expect.poll(() => found(directory, key).materials.length).toBe(2);
    const { record, materials } = found(directory, key);
    expect(record).toMatchObject(schedule);
    expect(materials.map(({ rotationType }) => rotationType)).toEqual([null, 'AUTOMATIC']);
    const rotatedAtMs = materials[1]?.rotatedAtMs ?? 0;
    expect(rotatedAtMs >= from && rotatedAtMs <= Date.now()).toBe(true);
    expect(onDemandRotations({ materials })).toBe(0);
    const [previous, current] = materials;
    const { keyId } = key.record;
    await expect.poll(() => onRecord).toMatchObject([{ keyId, rotationType: 'AUTOMATIC', rotatedAtMs }]);
    expect(onRecord[0]?.previous.backingKeyId).toBe(previous?.backingKeyId);
    expect(onRecord[0]?.current).toEqual(current);
  });

  test('a key with imported material is not rotated: it warns early, refuses what is too much, and decrypts on', async () => {
    const limits = { maxEncryptionsPerBackingKey: 16, reservationBlock: 1 };
    const started = await start(limits);
    const { directory, turns, lines, keyStore } = started;
    const key = await create(started);
    await turns.take(() => ({ changes: [replaced('key', key.record, { origin: 'EXTERNAL' })], response: undefined }));
    const objects = await keyStore.listKeys();
    const warningsIn = (said: Started['lines']) =>
      said.flatMap(({ level, fields }) =>
        level === 'warn' && JSON.stringify(fields).includes(key.record.keyId) ? [fields] : [],
      );
    const warnings = () => warningsIn(lines);
    const blobs: Buffer[] = [];
    const encryptAgain = async () => void blobs.push((await encryptOne(started, found(directory, key))).ciphertextBlob);
    for (let count = 0; count < 8; count++) await encryptAgain();
    expect(warnings()).toEqual([]);
    while (blobs.length < 16) await encryptAgain();
    const refusal = {
      name: 'KMSInvalidStateException',
      message: `${key.arn} has encrypted as often as its key material allows. Import new key material and rotate the key on demand.`,
    };
    for (let count = 0; count < 3; count++) await expect(encryptAgain()).rejects.toMatchObject(refusal);
    for (const blob of blobs) expect(await decryptOne(found(directory, key), blob)).toBe('attack at dawn');
    expect(await keyStore.listKeys()).toEqual(objects);
    // Of 16: three quarters, nine tenths, 95 of 100 and all of it.
    const about = { keyId: key.record.keyId, backingKeyId: currentId(key), most: 16 };
    expect(warnings()).toEqual([12, 15, 16].map((encryptions) => ({ ...about, encryptions })));
    await close();

    const again = await start(limits);
    await expect(encryptOne(again, found(again.directory, key))).rejects.toMatchObject(refusal);
    expect(warningsIn(again.lines)).toEqual([{ ...about, encryptions: 16 }]);
  });
});
