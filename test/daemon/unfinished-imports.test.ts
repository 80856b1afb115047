/**
 * Imports and deletions of key material that did not end: what a crash at each of their steps leaves on record and in the token,
 * and a token that is away in the middle. Whatever was left, the next start or upkeep brings it to one of its two ends.
 */

import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type KeyStore, KeyStoreError } from '../../src/hsm/key-store.ts';
import { replaced } from '../../src/store/records/changes.ts';
import type { BackingKeyRecord, KeyRecord } from '../../src/store/records/records.ts';
import { present } from '../end-to-end/support/daemon.ts';
import {
  type ImportParameters,
  importParameters,
  importRequest,
  newExternalKey,
} from '../end-to-end/support/imports.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { describeEachToken } from '../support/tokens.ts';
import { createUpkeptInstance, type Running, type UpkeptInstance } from './upkept-instance.ts';

const minuteMs = 60 * 1000;
const dayMs = 24 * 60 * minuteMs;
const Plaintext = Buffer.from('brought twice');

/** How often the next calls fail, by their names. */
type Failures = Map<'examineImport' | 'importKey' | 'destroyKey', number>;

/** A key store that fails as one does that is away. */
function failing(keyStore: KeyStore, failures: Failures): KeyStore {
  return new Proxy(keyStore, {
    get(target, name) {
      // Safe: the members of a key store that are asked for here are its own, bound to it below.
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      return (...parameters: readonly unknown[]) => {
        const left = failures.get(name as 'importKey') ?? 0;
        if (left === 0) return Reflect.apply(member, target, parameters);
        failures.set(name as 'importKey', left - 1);
        const lost = new KeyStoreError('unavailable', `${String(name)}: the token is away`);
        // Of an import it is the answer that is lost: the object is there.
        if (name !== 'importKey') return Promise.reject(lost);
        return Reflect.apply(member, target, parameters).then(() => Promise.reject(lost));
      };
    },
  });
}

describeEachToken('What a crash leaves', (token) => {
  const failures: Failures = new Map();
  let instance: UpkeptInstance;
  let running: Running;
  let clocks: SetClocks;
  let keyId: string;
  let parameters: ImportParameters;
  let blob: Uint8Array;
  let material: Buffer;

  const start = async (): Promise<void> => {
    clocks = new SetClocks();
    running = await instance.start(clocks, failing(instance.keyStore, failures));
  };
  beforeAll(async () => {
    instance = await createUpkeptInstance(token());
  });
  afterAll(() => instance.remove());
  beforeEach(async () => {
    await start();
    keyId = (await newExternalKey(running.kms)).id;
    parameters = await importParameters(running.kms, keyId);
    material = randomBytes(32);
  });
  afterEach(async () => {
    failures.clear();
    await running.stop();
    const { key, wrappingKey } = await instance.records();
    // Nothing is in the token that no record names.
    const named = new Set<string>([...key, ...wrappingKey].map((record) => record.keyId));
    for (const label of await instance.objects())
      expect(named).toContain(label.split(':').find((part) => named.has(part)));
  });

  const bring = (bytes = material, choice: object = {}) =>
    running.kms.importKeyMaterial(
      importRequest(keyId, parameters, bytes, { ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE', ...choice }),
    );
  const bringAndUse = async (): Promise<void> => {
    await bring();
    blob = present((await running.kms.encrypt({ KeyId: keyId, Plaintext })).CiphertextBlob);
  };
  const metadata = async () => present((await running.kms.describeKey({ KeyId: keyId })).KeyMetadata);
  const objectsOfKey = async () =>
    (await instance.objects()).filter((label) => label.startsWith(`drawbridge:${keyId}:`));
  const decrypts = async () => {
    const { Plaintext: opened } = await running.kms.decrypt({ CiphertextBlob: blob });
    return Buffer.from(present(opened)).equals(Plaintext);
  };

  interface Left {
    /** Of the key's newest material, with this node as its owner. */
    readonly material: Partial<BackingKeyRecord>;
    readonly key?: Partial<KeyRecord>;
    /** The object is not there, or not any more. */
    readonly isGone?: true;
  }

  /** Stops, has the records say what a crash would have left, and starts again. */
  async function crash({ material: members, key: keyMembers, isGone }: Left): Promise<void> {
    await running.stop();
    await instance.records((loaded, owner) => {
      const ofKey = loaded.backingKey.filter((record) => record.keyId === keyId);
      const newest = present(ofKey.sort((one, other) => one.ordinal - other.ordinal).at(-1));
      const record = present(loaded.key.find((each) => each.keyId === keyId));
      return [
        replaced('backingKey', newest, { ...members, owner }),
        ...(keyMembers === undefined ? [] : [replaced('key', record, keyMembers)]),
      ];
    });
    if (isGone) {
      for (const { backingKeyId, label } of await instance.keyStore.listKeys()) {
        if (label.startsWith(`drawbridge:${keyId}:`)) await instance.keyStore.destroyKey({ backingKeyId });
      }
    }
    await start();
  }

  const materialsOnRecord = async () => {
    await running.stop();
    const { backingKey } = await instance.records();
    await start();
    return backingKey
      .filter((record) => record.keyId === keyId)
      .map(({ state, owner, ordinal }) => [ordinal, state, owner]);
  };

  const pendingImport = { state: 'PendingImport' } as const;
  const neverImported = { ...pendingImport, currentBackingKeyId: null };

  test.each([
    ['an intent and the object', undefined],
    ['an intent alone', true],
  ] as const)('of a first import, %s, is undone, and the import can be made', async (_, isGone) => {
    await bringAndUse();
    await crash({ material: { state: 'Creating' }, key: neverImported, ...(isGone ? { isGone } : {}) });
    expect(await objectsOfKey()).toEqual([]);
    const { KeyState, CurrentKeyMaterialId } = await metadata();
    expect([KeyState, CurrentKeyMaterialId]).toEqual(['PendingImport', undefined]);
    expect(await materialsOnRecord()).toEqual([]);
    await bring();
    expect(await decrypts()).toBe(true);
  });

  test.each([
    ['an intent and the object', undefined],
    ['an intent alone', true],
  ] as const)(
    'of an import of former material, %s, is undone, and what it encrypted can be opened',
    async (_, isGone) => {
      await bringAndUse();
      await crash({ material: { state: 'Removed' }, key: pendingImport, ...(isGone ? { isGone } : {}) });
      expect([await objectsOfKey(), (await metadata()).KeyState]).toEqual([[], 'PendingImport']);
      expect(await materialsOnRecord()).toEqual([[1, 'Removed', '']]);
      await bring();
      expect(await decrypts()).toBe(true);
    },
  );

  test.each([
    ['a duty and the object', undefined],
    ['a duty alone', true],
  ] as const)('of a deletion, %s, is finished', async (_, isGone) => {
    await bringAndUse();
    await crash({ material: { state: 'Destroying' }, key: pendingImport, ...(isGone ? { isGone } : {}) });
    expect([await objectsOfKey(), (await metadata()).KeyState]).toEqual([[], 'PendingImport']);
    expect(await materialsOnRecord()).toEqual([[1, 'Removed', '']]);
    await bring();
    expect(await decrypts()).toBe(true);
  });

  test('of the deletion of material to which the key was not rotated is forgotten with it', async () => {
    await bringAndUse();
    await bring(randomBytes(32), { ImportType: 'NEW_KEY_MATERIAL' });
    await crash({ material: { state: 'Destroying' } });
    expect([await objectsOfKey(), (await metadata()).KeyState]).toEqual([[`drawbridge:${keyId}:1`], 'Enabled']);
    expect(await materialsOnRecord()).toEqual([[1, 'Active', '']]);
    await bring(randomBytes(32), { ImportType: 'NEW_KEY_MATERIAL' });
    expect(await decrypts()).toBe(true);
  });

  test.each(['Creating', 'Destroying'] as const)('of a wrapping key, one in state %s, is destroyed', async (state) => {
    await running.stop();
    await instance.records(({ wrappingKey }, owner) =>
      wrappingKey.map((each) => replaced('wrappingKey', each, { state, owner })),
    );
    await start();
    expect((await instance.objects()).filter((label) => label.startsWith('drawbridge:wrapping:'))).toEqual([]);
    expect((await refusal(bring())).name).toBe('InvalidImportTokenException');
    parameters = await importParameters(running.kms, keyId);
    await bring();
  });

  test('and cannot be finished while the token is away is finished by upkeep', async () => {
    await bringAndUse();
    failures.set('destroyKey', 2);
    await crash({ material: { state: 'Destroying' }, key: pendingImport });
    expect(await objectsOfKey()).toHaveLength(1);
    await clocks.pass(60_000);
    await clocks.pass(60_000);
    expect(await objectsOfKey()).toEqual([]);
    expect(await materialsOnRecord()).toEqual([[1, 'Removed', '']]);
  });

  test.each([
    ['a first import', async (): Promise<void> => undefined],
    [
      'an import of former material',
      async () => {
        await bring();
        await running.kms.deleteImportedKeyMaterial({ KeyId: keyId });
      },
    ],
  ] as const)('of %s is not left in the token when the deletion of its key is due first', async (_, before) => {
    await before();
    failures.set('importKey', 1).set('destroyKey', 1_000);
    expect((await refusal(bring())).name).toBe('KMSInternalException');
    await running.kms.scheduleKeyDeletion({ KeyId: keyId, PendingWindowInDays: 7 });
    await clocks.settled();
    await clocks.pass(7 * dayMs - 10 * minuteMs);
    // Upkeep waits longer each time before it tries again to undo the import.
    for (let minutes = 0; minutes < 9; minutes++) await clocks.pass(minuteMs);
    expect(await objectsOfKey()).toHaveLength(1);
    failures.clear();
    await clocks.pass(2 * minuteMs);
    expect((await refusal(running.kms.describeKey({ KeyId: keyId }))).name).toBe('NotFoundException');
    expect(await objectsOfKey()).toEqual([]);
    expect(await materialsOnRecord()).toEqual([]);
  });

  test('when the token goes away in an import is nothing', async () => {
    for (const call of ['examineImport', 'importKey'] as const) {
      failures.set(call, 1);
      expect((await refusal(bring())).name).toBe('KMSInternalException');
      expect(await objectsOfKey()).toEqual([]);
    }
    expect(await materialsOnRecord()).toEqual([]);
    // Neither the object can be made nor the intent be undone: the next import begins with that.
    failures.set('importKey', 1).set('destroyKey', 1);
    expect((await refusal(bring())).name).toBe('KMSInternalException');
    await bring();
    expect((await metadata()).KeyState).toBe('Enabled');
    expect(await materialsOnRecord()).toEqual([[1, 'Active', '']]);
  });

  test('is not all that can be lost: material that the token has lost is there again when it is imported again', async () => {
    await bringAndUse();
    for (const { backingKeyId, label } of await instance.keyStore.listKeys()) {
      if (label.startsWith(`drawbridge:${keyId}:`)) await instance.keyStore.destroyKey({ backingKeyId });
    }
    expect((await refusal(running.kms.decrypt({ CiphertextBlob: blob }))).name).toBe('KeyUnavailableException');
    await bring();
    expect([await decrypts(), (await objectsOfKey()).length]).toEqual([true, 1]);
  });

  test('when the token goes away in a deletion is finished by the next deletion, or the next import', async () => {
    await bringAndUse();
    for (const goOn of [() => running.kms.deleteImportedKeyMaterial({ KeyId: keyId }), () => bring()]) {
      failures.set('destroyKey', 1);
      expect((await refusal(running.kms.deleteImportedKeyMaterial({ KeyId: keyId }))).name).toBe(
        'KMSInternalException',
      );
      expect((await metadata()).KeyState).toBe('PendingImport');
      expect(await objectsOfKey()).toHaveLength(1);
      await goOn();
      if ((await metadata()).KeyState === 'PendingImport') {
        expect(await objectsOfKey()).toEqual([]);
        await bring();
      }
      expect(await decrypts()).toBe(true);
    }
  });
});
