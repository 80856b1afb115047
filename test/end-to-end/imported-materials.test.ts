/** A symmetric KMS key with several imported materials, one after the other: PENDING_ROTATION, CURRENT, NON_CURRENT, missing. */

import { randomBytes } from 'node:crypto';
import type { KMS } from '@aws-sdk/client-kms';
import { beforeAll, expect, test } from 'vitest';
import { describeDaemon, present } from './support/daemon.ts';
import {
  asNew,
  type ImportParameters,
  importParameters,
  importRequest,
  incorrectMaterial,
  lasting,
  metadataOf,
  newExternalKey,
  pendingImport,
} from './support/imports.ts';
import { refusal, refused } from './support/refusals.ts';

const Plaintext = Buffer.from('of a key that came from elsewhere');
const dayMs = 24 * 60 * 60 * 1000;
const inDays = (days: number): Date => new Date(Math.floor(Date.now() / 1000) * 1000 + days * dayMs);

async function encrypted(kms: KMS, KeyId: string): Promise<Uint8Array> {
  return present((await kms.encrypt({ KeyId, Plaintext })).CiphertextBlob);
}

async function decrypted(kms: KMS, CiphertextBlob: Uint8Array): Promise<Buffer> {
  return Buffer.from(present((await kms.decrypt({ CiphertextBlob })).Plaintext));
}

describeDaemon('A symmetric key with several imported materials', (daemon) => {
  let key: { readonly id: string; readonly arn: string };
  let parameters: ImportParameters;
  const [first, second, third] = [randomBytes(32), randomBytes(32), randomBytes(32)];
  const ids: Record<'first' | 'second', string> = { first: '', second: '' };
  const bring = (material: Buffer, choice: object = lasting) =>
    daemon().kms.importKeyMaterial(importRequest(key.id, parameters, material, choice));
  const rotations = async () =>
    (await daemon().kms.listKeyRotations({ KeyId: key.id, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' })).Rotations;
  const current = async () => (await metadataOf(daemon().kms, key.id)).CurrentKeyMaterialId;
  beforeAll(async () => {
    key = await newExternalKey(daemon().kms);
    parameters = await importParameters(daemon().kms, key.id);
  });

  test('takes the first, and waits with the second until it is rotated', async () => {
    const { kms } = daemon();
    ids.first = present((await bring(first, { ...lasting, KeyMaterialDescription: 'of 2026' })).KeyMaterialId);
    const old = await encrypted(kms, key.id);
    expect(await refusal(kms.rotateKeyOnDemand({ KeyId: key.id }))).toEqual(
      refused('KMSInvalidStateException', `No available key material pending rotation for the key: ${key.arn}.`),
    );
    // Without saying that it is new, another one is taken for a mistake.
    expect(await refusal(bring(second))).toEqual(incorrectMaterial);
    expect(await refusal(bring(first, asNew))).toEqual(incorrectMaterial);
    ids.second = present((await bring(second, asNew)).KeyMaterialId);
    expect(await current()).toBe(ids.first);
    expect(await rotations()).toEqual([
      {
        KeyId: key.id,
        KeyMaterialId: ids.first,
        KeyMaterialDescription: 'of 2026',
        KeyMaterialState: 'CURRENT',
        ImportState: 'IMPORTED',
        ...lasting,
      },
      {
        KeyId: key.id,
        KeyMaterialId: ids.second,
        KeyMaterialState: 'PENDING_ROTATION',
        ImportState: 'IMPORTED',
        ...lasting,
      },
    ]);
    const { name, message } = await refusal(bring(third, asNew));
    expect([name, message.replace(/[0-9a-f]{64}/, '…')]).toEqual([
      'KMSInvalidStateException',
      `New key material (id: …) cannot be imported into KMS key ${key.arn}, because another key material (id: ${ids.second}) is pending rotation.`,
    ]);

    await kms.rotateKeyOnDemand({ KeyId: key.id });
    expect(await metadataOf(kms, key.id)).toMatchObject({
      CurrentKeyMaterialId: ids.second,
      KeyState: 'Enabled',
      ...lasting,
    });
    expect((await kms.encrypt({ KeyId: key.id, Plaintext })).CiphertextBlob).toBeDefined();
    const made = present((await kms.generateDataKey({ KeyId: key.id, KeySpec: 'AES_128' })).KeyMaterialId);
    expect(made).toBe(ids.second);
    expect(await decrypted(kms, old)).toEqual(Plaintext);
    expect((await kms.decrypt({ CiphertextBlob: old })).KeyMaterialId).toBe(ids.first);
    const moved = await kms.reEncrypt({ CiphertextBlob: old, DestinationKeyId: key.id });
    expect([moved.SourceKeyMaterialId, moved.DestinationKeyMaterialId]).toEqual([ids.first, ids.second]);
    expect(await rotations()).toMatchObject([
      { KeyMaterialId: ids.first, KeyMaterialState: 'NON_CURRENT' },
      { KeyMaterialId: ids.second, KeyMaterialState: 'CURRENT', RotationType: 'ON_DEMAND' },
    ]);
  });

  test('needs all of them, whichever is missing', async () => {
    const { kms } = daemon();
    const blob = await encrypted(kms, key.id);
    for (const [id, material] of [
      [ids.first, first],
      [ids.second, second],
    ] as const) {
      expect((await kms.deleteImportedKeyMaterial({ KeyId: key.id, KeyMaterialId: id })).KeyMaterialId).toBe(id);
      expect(await metadataOf(kms, key.id)).toMatchObject({
        KeyState: 'PendingImport',
        CurrentKeyMaterialId: ids.second,
      });
      expect(await refusal(kms.decrypt({ CiphertextBlob: blob }))).toEqual(pendingImport(key.arn));
      expect((await rotations())?.map(({ KeyMaterialId, ImportState }) => [KeyMaterialId, ImportState])).toEqual([
        [ids.first, id === ids.first ? 'PENDING_IMPORT' : 'IMPORTED'],
        [ids.second, id === ids.second ? 'PENDING_IMPORT' : 'IMPORTED'],
      ]);
      // Says which one it means, and is held to it.
      const other = id === ids.first ? ids.second : ids.first;
      expect(await refusal(bring(material, { ...lasting, KeyMaterialId: other }))).toEqual(incorrectMaterial);
      await bring(material, { ...lasting, KeyMaterialId: id });
      expect(await decrypted(kms, blob)).toEqual(Plaintext);
    }
    await kms.deleteImportedKeyMaterial({ KeyId: key.id });
    await kms.deleteImportedKeyMaterial({ KeyId: key.id, KeyMaterialId: ids.first });
    await bring(first);
    expect((await metadataOf(kms, key.id)).KeyState).toBe('PendingImport');
    await bring(second);
    expect((await metadataOf(kms, key.id)).KeyState).toBe('Enabled');
    // The description is what was last said.
    expect((await rotations())?.[0]?.KeyMaterialDescription).toBe('of 2026');
    await bring(first, { ...lasting, KeyMaterialDescription: 'the former one' });
    expect((await rotations())?.[0]?.KeyMaterialDescription).toBe('the former one');
  });

  test('forgets what it was not rotated to when that is deleted, and goes on', async () => {
    const { kms } = daemon();
    const waiting = present((await bring(third, asNew)).KeyMaterialId);
    expect((await kms.deleteImportedKeyMaterial({ KeyId: key.id, KeyMaterialId: waiting })).KeyMaterialId).toBe(
      waiting,
    );
    expect((await metadataOf(kms, key.id)).KeyState).toBe('Enabled');
    expect((await rotations())?.map(({ KeyMaterialId }) => KeyMaterialId)).toEqual([ids.first, ids.second]);
    expect((await refusal(kms.rotateKeyOnDemand({ KeyId: key.id }))).name).toBe('KMSInvalidStateException');
    expect(await refusal(bring(third))).toEqual(incorrectMaterial);
    expect((await refusal(kms.deleteImportedKeyMaterial({ KeyId: key.id, KeyMaterialId: waiting }))).name).toBe(
      'NotFoundException',
    );
    // Another one in its place.
    const other = present((await bring(randomBytes(32), asNew)).KeyMaterialId);
    await kms.rotateKeyOnDemand({ KeyId: key.id });
    expect(await current()).toBe(other);
  });

  test('says first which of its materials expires first', async () => {
    const { kms } = daemon();
    const [soon, late] = [inDays(5), inDays(50)];
    await bring(second, { ValidTo: late });
    expect((await metadataOf(kms, key.id)).ValidTo).toEqual(late);
    await bring(first, { ValidTo: soon });
    expect(await metadataOf(kms, key.id)).toMatchObject({ ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo: soon });
    expect((await rotations())?.map(({ ValidTo }) => ValidTo)).toEqual([soon, late, undefined]);
  });

  test.each([
    [{ KeyMaterialId: 'x'.repeat(64) }, 'pattern'],
    [{ KeyMaterialId: '0'.repeat(63) }, 'length'],
    [{ KeyMaterialDescription: 'd'.repeat(257) }, 'length'],
    [{ KeyMaterialDescription: 'no; semicolon' }, 'pattern'],
  ] as const)('takes no %j', async (member, words) => {
    const { name, message } = await refusal(bring(first, { ...lasting, ...member }));
    expect([name, message.includes(words)]).toEqual(['ValidationException', true]);
  });

  test('takes no id of material that is said to be new', async () => {
    const choice = { ...asNew, KeyMaterialId: ids.first };
    expect((await refusal(bring(randomBytes(32), choice))).name).toBe('ValidationException');
  });
});
