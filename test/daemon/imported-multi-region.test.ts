/**
 * Multi-Region keys whose material is imported, as AWS's guide and the SDK's doc comments have them: each Region's material is its own
 * and the same, and the primary key alone takes new material.
 */

import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { CreateKeyRequest, KeyMetadata } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import {
  asNew,
  importMaterial,
  importParameters,
  importRequest,
  incorrectMaterial,
  invalidToken,
  lasting,
  metadataOf,
  pairOf,
  pendingImport,
} from '../end-to-end/support/imports.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { softHsm2 } from '../support/tokens.ts';
import { arnIn, here, type RegionName, TwoRegions, there } from './two-regions.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: imported multi-Region keys: ${softHsm2.missing}\n`);

const asExisting = { ...lasting, ImportType: 'EXISTING_KEY_MATERIAL' } as const;
const dayMs = 24 * 60 * 60 * 1000;

describe.skipIf(softHsm2.missing !== null)('a multi-Region key with imported material', () => {
  let regions: TwoRegions;
  beforeAll(async () => {
    regions = new TwoRegions();
    await regions.create();
  });
  afterAll(() => regions.remove());

  const described = (region: RegionName, KeyId: string): Promise<KeyMetadata> => metadataOf(regions.in(region), KeyId);
  const statesOf = async (KeyId: string) =>
    [await described(here, KeyId), await described(there, KeyId)].map(({ KeyState }) => KeyState);
  const rotationsIn = async (region: RegionName, KeyId: string) => {
    const { Rotations = [] } = await regions
      .in(region)
      .listKeyRotations({ KeyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' });
    return Rotations.map(({ KeyMaterialState, ImportState }) => `${KeyMaterialState} ${ImportState}`);
  };
  const put = (region: RegionName, KeyId: string, material: Buffer, choice = asExisting as object) =>
    importMaterial(regions.in(region), KeyId, material, choice);

  async function newPrimary(request: CreateKeyRequest = {}): Promise<string> {
    const made = await regions.in(here).createKey({ Origin: 'EXTERNAL', MultiRegion: true, ...request });
    return present(made.KeyMetadata?.KeyId);
  }

  /** With its material in the primary key, and a replica that waits for it. */
  async function newPair(material: Buffer, request: CreateKeyRequest = {}): Promise<string> {
    const KeyId = await newPrimary(request);
    await put(here, KeyId, material, lasting);
    await regions.in(here).replicateKey({ KeyId, ReplicaRegion: there });
    return KeyId;
  }

  async function newCompletePair(material: Buffer): Promise<string> {
    const KeyId = await newPair(material);
    await put(there, KeyId, material);
    return KeyId;
  }

  test('is made without material, and is replicated when it has some', async () => {
    const KeyId = await newPrimary();
    expect(KeyId).toMatch(/^mrk-/);
    const { KeyState, MultiRegionConfiguration } = await described(here, KeyId);
    expect([KeyState, MultiRegionConfiguration?.MultiRegionKeyType]).toEqual(['PendingImport', 'PRIMARY']);
    const replicate = () => regions.in(here).replicateKey({ KeyId, ReplicaRegion: there });
    expect(await refusal(replicate())).toEqual(pendingImport(arnIn(here, KeyId)));
    await put(here, KeyId, randomBytes(32), lasting);
    const { ReplicaKeyMetadata } = await replicate();
    expect(ReplicaKeyMetadata).toMatchObject({ KeyState: 'Creating', Origin: 'EXTERNAL', Enabled: false });
    expect(await statesOf(KeyId)).toEqual(['Enabled', 'PendingImport']);
    expect(regions.rows('SELECT residency FROM backing_key WHERE key_id = ?', KeyId)).toMatchObject([
      { residency: 'wrapped' },
      { residency: 'wrapped' },
    ]);
  });

  test('takes in its replica the material of the primary key and no other, and is then one key in both Regions', async () => {
    const material = randomBytes(32);
    const KeyId = await newPair(material);
    const Plaintext = Buffer.from('one key');
    const { CiphertextBlob } = await regions.in(here).encrypt({ KeyId, Plaintext });
    expect(await refusal(regions.in(there).decrypt({ CiphertextBlob }))).toEqual(pendingImport(arnIn(there, KeyId)));
    for (const choice of [lasting, asExisting])
      expect(await refusal(put(there, KeyId, randomBytes(32), choice))).toEqual(incorrectMaterial);
    expect((await refusal(put(there, KeyId, material, asNew))).name).toBe('UnsupportedOperationException');
    // A token is that of one Region.
    const parameters = await importParameters(regions.in(here), KeyId);
    const request = importRequest(KeyId, parameters, material);
    expect(await refusal(regions.in(there).importKeyMaterial(request))).toEqual(invalidToken);
    // Without an import type, as programs do that are older than it.
    await put(there, KeyId, material, lasting);
    const [primary, replica] = [await described(here, KeyId), await described(there, KeyId)];
    expect(replica).toMatchObject({ KeyState: 'Enabled', CurrentKeyMaterialId: primary.CurrentKeyMaterialId });
    const decrypted = await regions.in(there).decrypt({ CiphertextBlob });
    expect(Buffer.from(present(decrypted.Plaintext))).toEqual(Plaintext);
    const back = await regions.in(there).encrypt({ KeyId, Plaintext });
    expect((await regions.in(here).decrypt({ CiphertextBlob: back.CiphertextBlob })).KeyId).toBe(arnIn(here, KeyId));
  });

  test('of HMAC and of ECDSA is the same key in both Regions', async () => {
    const Message = Buffer.from('m');
    const secret = randomBytes(32);
    const mac = await newPair(secret, { KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' });
    expect(await refusal(put(there, mac, randomBytes(32), lasting))).toEqual(incorrectMaterial);
    await put(there, mac, secret, lasting);
    const MacAlgorithm = 'HMAC_SHA_256';
    const { Mac } = await regions.in(here).generateMac({ KeyId: mac, MacAlgorithm, Message });
    expect((await regions.in(there).verifyMac({ KeyId: mac, MacAlgorithm, Message, Mac })).MacValid).toBe(true);
    const { privateKey } = pairOf('ECC_NIST_P256');
    const pair = await newPair(privateKey, { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' });
    await put(there, pair, privateKey, lasting);
    const SigningAlgorithm = 'ECDSA_SHA_256';
    const { Signature } = await regions.in(there).sign({ KeyId: pair, SigningAlgorithm, Message });
    const verified = await regions.in(here).verify({ KeyId: pair, SigningAlgorithm, Message, Signature });
    expect(verified.SignatureValid).toBe(true);
  });

  test('has its material deleted, and lets it expire, in one Region at a time, over a restart too', async () => {
    const material = randomBytes(32);
    const KeyId = await newCompletePair(material);
    const { CiphertextBlob } = await regions.in(here).encrypt({ KeyId, Plaintext: Buffer.from('x') });
    await regions.in(here).deleteImportedKeyMaterial({ KeyId });
    expect(await statesOf(KeyId)).toEqual(['PendingImport', 'Enabled']);
    await regions.in(there).decrypt({ CiphertextBlob });
    await regions.stop();
    await regions.start();
    expect(await statesOf(KeyId)).toEqual(['PendingImport', 'Enabled']);
    expect(await refusal(put(here, KeyId, randomBytes(32)))).toEqual(incorrectMaterial);
    await put(here, KeyId, material);
    const ValidTo = new Date(regions.clocks.now().wallMs + 10 * dayMs);
    await put(there, KeyId, material, { ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo });
    expect((await described(here, KeyId)).ExpirationModel).toBe('KEY_MATERIAL_DOES_NOT_EXPIRE');
    expect(await described(there, KeyId)).toMatchObject({ ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo });
    await regions.passDays(11);
    expect(await statesOf(KeyId)).toEqual(['Enabled', 'PendingImport']);
    const blobs = () => regions.rows("SELECT regions FROM backing_key WHERE key_id = ? AND wrapped_key <> ''", KeyId);
    await expect.poll(blobs).toEqual([{ regions: here }]);
    await regions.in(here).decrypt({ CiphertextBlob });
    await put(there, KeyId, material);
    await regions.in(there).decrypt({ CiphertextBlob });
  });

  test('is rotated to new material once that is in every Region, the primary key first', async () => {
    const KeyId = await newCompletePair(randomBytes(32));
    const rotate = () => regions.in(here).rotateKeyOnDemand({ KeyId });
    const next = randomBytes(32);
    expect((await refusal(put(there, KeyId, next))).name).toBe('IncorrectKeyMaterialException');
    const before = await regions.in(there).encrypt({ KeyId, Plaintext: Buffer.from('before') });
    await put(here, KeyId, next, asNew);
    const awaited = 'PENDING_MULTI_REGION_IMPORT_AND_ROTATION';
    expect(await rotationsIn(here, KeyId)).toEqual(['CURRENT IMPORTED', `${awaited} IMPORTED`]);
    expect(await rotationsIn(there, KeyId)).toEqual(['CURRENT IMPORTED', `${awaited} PENDING_IMPORT`]);
    expect((await refusal(rotate())).name).toBe('KMSInvalidStateException');
    expect(await statesOf(KeyId)).toEqual(['Enabled', 'Enabled']);
    await put(there, KeyId, next);
    for (const region of [here, there] as const)
      expect(await rotationsIn(region, KeyId)).toEqual(['CURRENT IMPORTED', 'PENDING_ROTATION IMPORTED']);
    expect((await refusal(regions.in(there).rotateKeyOnDemand({ KeyId }))).name).toBe('UnsupportedOperationException');
    await rotate();
    for (const region of [here, there] as const)
      expect(await rotationsIn(region, KeyId)).toEqual(['NON_CURRENT IMPORTED', 'CURRENT IMPORTED']);
    const after = await regions.in(here).encrypt({ KeyId, Plaintext: Buffer.from('after') });
    for (const { CiphertextBlob } of [before, after])
      for (const region of [here, there] as const) await regions.in(region).decrypt({ CiphertextBlob });
    // A replica that is made now has to be given both.
    await regions.in(there).scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await regions.passDays(8);
    await expect.poll(async () => (await refusal(described(there, KeyId))).name).toBe('NotFoundException');
    await regions.in(here).replicateKey({ KeyId, ReplicaRegion: there });
    await put(there, KeyId, next);
    expect((await described(there, KeyId)).KeyState).toBe('PendingImport');
    expect(await rotationsIn(there, KeyId)).toEqual(['NON_CURRENT PENDING_IMPORT', 'CURRENT IMPORTED']);
  });

  test('loses what it was not rotated to in all Regions when the primary key does, and in a replica alone otherwise', async () => {
    const KeyId = await newCompletePair(randomBytes(32));
    const next = randomBytes(32);
    await put(here, KeyId, next, asNew);
    const { KeyMaterialId } = await put(there, KeyId, next);
    await regions.in(there).deleteImportedKeyMaterial({ KeyId, KeyMaterialId });
    expect(await rotationsIn(there, KeyId)).toHaveLength(2);
    expect((await rotationsIn(here, KeyId))[1]).toBe('PENDING_MULTI_REGION_IMPORT_AND_ROTATION IMPORTED');
    await put(there, KeyId, next);
    await regions.in(here).deleteImportedKeyMaterial({ KeyId, KeyMaterialId });
    for (const region of [here, there] as const) expect(await rotationsIn(region, KeyId)).toEqual(['CURRENT IMPORTED']);
    expect(regions.rows('SELECT state FROM backing_key WHERE key_id = ?', KeyId)).toHaveLength(2);
    expect(await statesOf(KeyId)).toEqual(['Enabled', 'Enabled']);
    // Then it takes other material, also where the primary key has moved meanwhile.
    await put(here, KeyId, randomBytes(32), asNew);
    await regions.in(here).updatePrimaryRegion({ KeyId, PrimaryRegion: there });
    const pending = await regions.in(there).listKeyRotations({ KeyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' });
    await regions.in(there).deleteImportedKeyMaterial({ KeyId, KeyMaterialId: pending.Rotations?.[1]?.KeyMaterialId });
    for (const region of [here, there] as const) expect(await rotationsIn(region, KeyId)).toEqual(['CURRENT IMPORTED']);
    const other = randomBytes(32);
    expect((await refusal(put(here, KeyId, other, asNew))).name).toBe('UnsupportedOperationException');
    await put(there, KeyId, other, asNew);
    await put(here, KeyId, other);
    await regions.in(there).rotateKeyOnDemand({ KeyId });
    expect(await statesOf(KeyId)).toEqual(['Enabled', 'Enabled']);
  });

  test('has no replica wait for what it was not rotated to and is losing while it is replicated', async () => {
    for (let times = 0; times < 8; times++) {
      const material = randomBytes(32);
      const KeyId = await newPrimary();
      await put(here, KeyId, material, lasting);
      const { KeyMaterialId } = await put(here, KeyId, randomBytes(32), asNew);
      const removed = regions.in(here).deleteImportedKeyMaterial({ KeyId, KeyMaterialId });
      await setTimeout(times);
      await Promise.all([removed, regions.in(here).replicateKey({ KeyId, ReplicaRegion: there })]);
      await put(there, KeyId, material);
      for (const region of [here, there] as const)
        expect(await rotationsIn(region, KeyId), `after ${times} ms`).toEqual(['CURRENT IMPORTED']);
      const next = randomBytes(32);
      await put(here, KeyId, next, asNew);
      await put(there, KeyId, next);
      await regions.in(here).rotateKeyOnDemand({ KeyId });
    }
  });

  test('loses what it was not rotated to in a replica that becomes the primary key just then, and takes it again', async () => {
    for (let times = 0; times < 8; times++) {
      const KeyId = await newCompletePair(randomBytes(32));
      const next = randomBytes(32);
      await put(here, KeyId, next, asNew);
      const { KeyMaterialId } = await put(there, KeyId, next);
      const removed = regions.in(there).deleteImportedKeyMaterial({ KeyId, KeyMaterialId });
      await setTimeout(times);
      await Promise.all([removed, regions.in(here).updatePrimaryRegion({ KeyId, PrimaryRegion: there })]);
      const lengths = [await rotationsIn(here, KeyId), await rotationsIn(there, KeyId)].map(({ length }) => length);
      expect(lengths[0], `after ${times} ms`).toBe(lengths[1]);
      // It was the primary key already: then all have lost it.
      if (lengths[0] === 1) continue;
      await put(there, KeyId, next);
      await regions.in(there).rotateKeyOnDemand({ KeyId });
      for (const region of [here, there] as const)
        expect(await rotationsIn(region, KeyId)).toEqual(['NON_CURRENT IMPORTED', 'CURRENT IMPORTED']);
    }
  });

  test('is deleted in its replica with the material that is there, and then waits for its own deletion', async () => {
    const material = randomBytes(32);
    const KeyId = await newCompletePair(material);
    const { CiphertextBlob } = await regions.in(there).encrypt({ KeyId, Plaintext: Buffer.from('kept') });
    await regions.in(here).scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    expect((await described(here, KeyId)).KeyState).toBe('PendingReplicaDeletion');
    await regions.in(there).scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await regions.passDays(8);
    await expect.poll(async () => (await described(here, KeyId)).KeyState).toBe('PendingDeletion');
    expect(regions.rows('SELECT regions FROM backing_key WHERE key_id = ?', KeyId)).toEqual([{ regions: here }]);
    await regions.in(here).cancelKeyDeletion({ KeyId });
    await regions.in(here).enableKey({ KeyId });
    await regions.in(here).decrypt({ CiphertextBlob });
  });

  test('counts its encryptions in one number, whichever Region encrypts', async () => {
    const KeyId = await newCompletePair(randomBytes(32));
    const counts = () =>
      regions
        .rows('SELECT reserved_encryptions AS count FROM backing_key WHERE key_id = ?', KeyId)
        .map(({ count }) => count);
    for (const [index, region] of ([here, there] as const).entries()) {
      await regions.in(region).encrypt({ KeyId, Plaintext: Buffer.from('x') });
      expect(counts()).toEqual([(index + 1) * 2 ** 16, (index + 1) * 2 ** 16]);
    }
  });
});
