/** KMS keys whose material is imported: how it may be wrapped, for how long, by which token, and what each state does to it. */

import { randomBytes } from 'node:crypto';
import type { KMS } from '@aws-sdk/client-kms';
import { expect, test } from 'vitest';
import { keyArn, rootArn, unixUserArn } from './support/arns.ts';
import { auditLines } from './support/audit-trail.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import {
  importParameters,
  importRequest,
  invalidToken,
  lasting,
  metadataOf,
  newExternalKey,
  pairOf,
} from './support/imports.ts';
import { allow, policy, rootMayAll } from './support/policies.ts';
import { refusal, refused } from './support/refusals.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';
import { call, errorIn } from './support/wire.ts';

const Plaintext = Buffer.from('of a key that came from elsewhere');
const dayMs = 24 * 60 * 60 * 1000;
const inDays = (days: number): Date => new Date(Math.floor(Date.now() / 1000) * 1000 + days * dayMs);

async function encrypted(kms: KMS, KeyId: string): Promise<Uint8Array> {
  return present((await kms.encrypt({ KeyId, Plaintext })).CiphertextBlob);
}

async function decrypted(kms: KMS, CiphertextBlob: Uint8Array): Promise<Buffer> {
  return Buffer.from(present((await kms.decrypt({ CiphertextBlob })).Plaintext));
}

sayIfNotRoot('Import tokens of others');
describeDaemon('A key for imported material', (daemon) => {
  test.each([
    ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', 'RSAES_PKCS1_V1_5', 'RSA_2048'],
    ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', 'SM2PKE', 'SM2'],
    ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', 'SM2PKE', 'RSA_2048'],
    ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT', 'RSAES_OAEP_SHA_256', 'SM2'],
  ] as const)(
    'of %s for %s takes none wrapped by %s under %s',
    async (spec, usage, WrappingAlgorithm, WrappingKeySpec) => {
      const { kms } = daemon();
      const { id: KeyId } = await newExternalKey(kms, spec, usage);
      const { name } = await refusal(kms.getParametersForImport({ KeyId, WrappingAlgorithm, WrappingKeySpec }));
      expect(name).toBe('UnsupportedOperationException');
    },
  );

  test.each([
    ['RSA_2048', 'SIGN_VERIFY', 'RSAES_OAEP_SHA_256', 'RSA_4096'],
    ['RSA_2048', 'ENCRYPT_DECRYPT', 'RSAES_OAEP_SHA_1', 'RSA_4096'],
    ['ECC_NIST_P521', 'SIGN_VERIFY', 'RSAES_OAEP_SHA_256', 'RSA_2048'],
    ['ECC_NIST_P521', 'KEY_AGREEMENT', 'RSAES_OAEP_SHA_1', 'RSA_2048'],
  ] as const)(
    'of %s for %s says that %s under %s does not go with it',
    async (spec, usage, WrappingAlgorithm, WrappingKeySpec) => {
      const { kms } = daemon();
      const { id: KeyId } = await newExternalKey(kms, spec, usage);
      expect(await refusal(kms.getParametersForImport({ KeyId, WrappingAlgorithm, WrappingKeySpec }))).toEqual(
        refused(
          'ValidationException',
          `Wrapping algorithm ${WrappingAlgorithm} and wrapping key spec ${WrappingKeySpec} cannot be used to import a ${spec} key.`,
        ),
      );
    },
  );

  test('of P-521 takes it under a longer wrapping key', async () => {
    const { kms } = daemon();
    const { id: KeyId } = await newExternalKey(kms, 'ECC_NIST_P521', 'SIGN_VERIFY');
    const parameters = await importParameters(kms, KeyId, 'RSAES_OAEP_SHA_256', 'RSA_3072');
    await kms.importKeyMaterial(importRequest(KeyId, parameters, pairOf('ECC_NIST_P521').privateKey));
    expect((await metadataOf(kms, KeyId)).KeyState).toBe('Enabled');
  });

  test('is another key than one whose material is made here, which takes none', async () => {
    const { kms } = daemon();
    const { id: KeyId, arn } = await newKey(kms);
    const wrongOrigin = refused(
      'UnsupportedOperationException',
      `${arn} origin is AWS_KMS which is not valid for this operation.`,
    );
    const wrapping = { WrappingAlgorithm: 'RSAES_OAEP_SHA_256', WrappingKeySpec: 'RSA_2048' } as const;
    expect(await refusal(kms.getParametersForImport({ KeyId, ...wrapping }))).toEqual(wrongOrigin);
    const [ImportToken, EncryptedKeyMaterial] = [Buffer.of(1), Buffer.of(1)];
    expect(await refusal(kms.importKeyMaterial({ KeyId, ImportToken, EncryptedKeyMaterial }))).toEqual(wrongOrigin);
    expect(await refusal(kms.deleteImportedKeyMaterial({ KeyId }))).toEqual(wrongOrigin);
  });

  test('takes a token for no other key, and none that was made up', async () => {
    const { kms } = daemon();
    const [key, other] = [await newExternalKey(kms), await newExternalKey(kms)];
    const [parameters, ofOther] = [await importParameters(kms, key.id), await importParameters(kms, other.id)];
    const request = importRequest(key.id, parameters, randomBytes(32));
    const token = Buffer.from(parameters.ImportToken);
    const forged = Buffer.from(token);
    forged[40] = (forged[40] ?? 0) ^ 1;
    for (const ImportToken of [
      ofOther.ImportToken,
      forged,
      token.subarray(1),
      randomBytes(token.length),
      Buffer.of(1),
      Buffer.alloc(6144),
    ]) {
      expect(await refusal(kms.importKeyMaterial({ ...request, ImportToken }))).toEqual(invalidToken);
    }
    expect((await refusal(kms.importKeyMaterial({ ...request, ImportToken: Buffer.alloc(0) }))).name).toBe(
      'ValidationException',
    );
    await kms.importKeyMaterial(request);
    expect((await metadataOf(kms, key.id)).KeyState).toBe('Enabled');
    expect((await metadataOf(kms, other.id)).KeyState).toBe('PendingImport');
  });

  test.skipIf(!runsAsRoot)('takes the token that somebody else asked for, from whoever may import', async () => {
    const { kms, socket } = daemon();
    const { id: KeyId } = await newExternalKey(kms);
    await kms.putKeyPolicy({
      KeyId,
      Policy: policy(rootMayAll, allow(unixUserArn('nobody'), 'kms:ImportKeyMaterial')),
    });
    const parameters = await importParameters(kms, KeyId);
    const { ImportToken, EncryptedKeyMaterial, ...others } = importRequest(KeyId, parameters, randomBytes(32));
    const asNobody = await UnixClient.start(socket, unixUsers.nobody);
    const reply = await asNobody.send('ImportKeyMaterial', { ...others, ImportToken, EncryptedKeyMaterial });
    await asNobody.stop();
    expect(reply).toMatchObject({ ok: true });
    expect((await metadataOf(kms, KeyId)).KeyState).toBe('Enabled');
  });

  test('says when its material expires, and importing it again changes that and nothing else', async () => {
    const { kms } = daemon();
    const { id: KeyId } = await newExternalKey(kms);
    const parameters = await importParameters(kms, KeyId);
    const material = randomBytes(32);
    const bring = (choice: object) => kms.importKeyMaterial(importRequest(KeyId, parameters, material, choice));
    const [first, second] = [inDays(2), inDays(364)];
    await bring({ ValidTo: first });
    const blob = await encrypted(kms, KeyId);
    expect(await metadataOf(kms, KeyId)).toMatchObject({ ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo: first });
    await bring({ ValidTo: second, ExpirationModel: 'KEY_MATERIAL_EXPIRES' });
    expect(await metadataOf(kms, KeyId)).toMatchObject({ ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo: second });
    await bring(lasting);
    const metadata = await metadataOf(kms, KeyId);
    expect([metadata.ExpirationModel, metadata.ValidTo]).toEqual(['KEY_MATERIAL_DOES_NOT_EXPIRE', undefined]);
    expect(await decrypted(kms, blob)).toEqual(Plaintext);
  });

  test.each([
    ['a date without expiry', { ...lasting, ValidTo: inDays(1) }, 'must not be set'],
    ['no date', {}, 'must be set'],
    ['a date that has passed', { ValidTo: new Date(Date.now() - 1000) }, 'in the future'],
    ['the year 1970', { ValidTo: new Date(0) }, 'in the future'],
    ['more than 365 days', { ValidTo: inDays(366) }, '365 days'],
  ] as const)('takes no material with %s', async (_, choice, words) => {
    const { kms } = daemon();
    const { id: KeyId } = await newExternalKey(kms);
    const request = importRequest(KeyId, await importParameters(kms, KeyId), randomBytes(32), choice);
    const { name, message } = await refusal(kms.importKeyMaterial(request));
    expect([name, message.includes(words)]).toEqual(['ValidationException', true]);
    expect((await metadataOf(kms, KeyId)).KeyState).toBe('PendingImport');
  });

  test('takes no date that is none', async () => {
    const { socket, kms } = daemon();
    const { id: KeyId } = await newExternalKey(kms);
    const [ImportToken, EncryptedKeyMaterial] = ['AA==', 'AA=='];
    for (const ValidTo of [1e300, -1e300, 'tomorrow', true, {}]) {
      const answer = await call(socket, 'ImportKeyMaterial', { KeyId, ImportToken, EncryptedKeyMaterial, ValidTo });
      expect(errorIn(answer).name).toBe('SerializationException');
    }
  });

  test('that was disabled stays so when its material is brought again, and is enabled when it was away', async () => {
    const { kms } = daemon();
    const { id: KeyId } = await newExternalKey(kms);
    const parameters = await importParameters(kms, KeyId);
    const material = randomBytes(32);
    const bring = () => kms.importKeyMaterial(importRequest(KeyId, parameters, material));
    const state = async () => (await metadataOf(kms, KeyId)).KeyState;
    expect((await refusal(kms.disableKey({ KeyId }))).name).toBe('KMSInvalidStateException');
    expect((await refusal(kms.enableKey({ KeyId }))).name).toBe('KMSInvalidStateException');
    await bring();
    await kms.disableKey({ KeyId });
    await bring();
    expect(await state()).toBe('Disabled');
    await kms.deleteImportedKeyMaterial({ KeyId });
    expect(await state()).toBe('PendingImport');
    await bring();
    expect(await state()).toBe('Enabled');
  });

  test('that is pending deletion lets its material be deleted, takes none, and waits for it when it is kept', async () => {
    const { kms } = daemon();
    const { id: KeyId, arn } = await newExternalKey(kms);
    const parameters = await importParameters(kms, KeyId);
    const material = randomBytes(32);
    const request = importRequest(KeyId, parameters, material);
    await kms.importKeyMaterial(request);
    await kms.scheduleKeyDeletion({ KeyId });
    expect(await metadataOf(kms, KeyId)).toMatchObject({ KeyState: 'PendingDeletion', ...lasting });
    const refusedNow = refused('KMSInvalidStateException', `${arn} is pending deletion.`);
    expect(await refusal(kms.importKeyMaterial(request))).toEqual(refusedNow);
    expect(await refusal(importParameters(kms, KeyId))).toEqual(refusedNow);
    await kms.deleteImportedKeyMaterial({ KeyId });
    const { KeyState, ExpirationModel } = await metadataOf(kms, KeyId);
    expect([KeyState, ExpirationModel]).toEqual(['PendingDeletion', undefined]);
    await kms.cancelKeyDeletion({ KeyId });
    expect((await metadataOf(kms, KeyId)).KeyState).toBe('PendingImport');
    await kms.importKeyMaterial(importRequest(KeyId, parameters, material));
    expect((await metadataOf(kms, KeyId)).KeyState).toBe('Enabled');
  });

  test('without material can be deleted, and kept without becoming usable', async () => {
    const { kms } = daemon();
    const { id: KeyId } = await newExternalKey(kms);
    await kms.scheduleKeyDeletion({ KeyId });
    await kms.cancelKeyDeletion({ KeyId });
    expect((await metadataOf(kms, KeyId)).KeyState).toBe('PendingImport');
    const { $metadata: _, ...deleted } = await kms.deleteImportedKeyMaterial({ KeyId });
    expect(deleted).toEqual({ KeyId: keyArn(KeyId) });
  });

  test('that is no symmetric one has no several materials to tell apart', async () => {
    const { kms } = daemon();
    const { id: KeyId } = await newExternalKey(kms, 'HMAC_256', 'GENERATE_VERIFY_MAC');
    const parameters = await importParameters(kms, KeyId);
    for (const member of [
      { ImportType: 'NEW_KEY_MATERIAL' },
      { KeyMaterialDescription: 'mine' },
      { KeyMaterialId: '0'.repeat(64) },
    ] as const) {
      const request = importRequest(KeyId, parameters, randomBytes(32), { ...lasting, ...member });
      expect((await refusal(kms.importKeyMaterial(request))).name).toBe('UnsupportedOperationException');
    }
  });

  test('puts on record what was asked, and nothing of the material', async () => {
    const { kms, instance } = daemon();
    const { id: KeyId, arn } = await newExternalKey(kms);
    const parameters = await importParameters(kms, KeyId);
    const ValidTo = inDays(3);
    const { KeyMaterialId } = await kms.importKeyMaterial(
      importRequest(KeyId, parameters, randomBytes(32), { ValidTo }),
    );
    await kms.deleteImportedKeyMaterial({ KeyId });
    const lines = auditLines(instance.dir).filter(({ resources }) => resources.some(({ ARN }) => ARN === arn));
    const ofEvent = (name: string) => present(lines.find(({ eventName }) => eventName === name));
    expect(ofEvent('GetParametersForImport').requestParameters).toEqual({
      keyId: KeyId,
      wrappingAlgorithm: 'RSAES_OAEP_SHA_256',
      wrappingKeySpec: 'RSA_2048',
    });
    expect(ofEvent('ImportKeyMaterial').requestParameters).toEqual({ keyId: KeyId, validTo: ValidTo.toISOString() });
    expect(ofEvent('ImportKeyMaterial').responseElements).toEqual({ keyId: arn, keyMaterialId: KeyMaterialId });
    expect(ofEvent('DeleteImportedKeyMaterial').responseElements).toEqual({ keyId: arn, keyMaterialId: KeyMaterialId });
    const token = Buffer.from(parameters.ImportToken).toString('base64');
    expect(JSON.stringify(lines)).not.toContain(token);
  });

  test('asks its policy for the wrapping and for the expiry', async () => {
    const { kms } = daemon();
    const { id: KeyId } = await newExternalKey(kms);
    const parameters = await importParameters(kms, KeyId, 'RSAES_OAEP_SHA_1');
    const when = (action: string, condition: object) => ({ ...allow(rootArn, `kms:${action}`), Condition: condition });
    await kms.putKeyPolicy({
      KeyId,
      BypassPolicyLockoutSafetyCheck: true,
      Policy: policy(
        { ...rootMayAll, Action: ['kms:DescribeKey', 'kms:PutKeyPolicy'] },
        when('GetParametersForImport', {
          StringEquals: { 'kms:WrappingAlgorithm': 'RSAES_OAEP_SHA_256', 'kms:WrappingKeySpec': 'RSA_3072' },
        }),
        when('ImportKeyMaterial', {
          StringEquals: { 'kms:ExpirationModel': 'KEY_MATERIAL_EXPIRES' },
          DateLessThan: { 'kms:ValidTo': new Date(Date.now() + 10 * dayMs).toISOString() },
        }),
      ),
    });
    const denied = async (request: Promise<unknown>) => (await refusal(request)).name;
    expect(await denied(importParameters(kms, KeyId))).toBe('AccessDeniedException');
    expect(await denied(importParameters(kms, KeyId, 'RSAES_OAEP_SHA_1', 'RSA_3072'))).toBe('AccessDeniedException');
    await importParameters(kms, KeyId, 'RSAES_OAEP_SHA_256', 'RSA_3072');
    const material = randomBytes(32);
    const bring = (choice: object) => kms.importKeyMaterial(importRequest(KeyId, parameters, material, choice));
    expect(await denied(bring(lasting))).toBe('AccessDeniedException');
    const expiring = { ExpirationModel: 'KEY_MATERIAL_EXPIRES' } as const;
    expect(await denied(bring({ ...expiring, ValidTo: inDays(11) }))).toBe('AccessDeniedException');
    expect(await denied(bring({ ValidTo: inDays(9) }))).toBe('AccessDeniedException');
    await bring({ ...expiring, ValidTo: inDays(9) });
    expect((await metadataOf(kms, KeyId)).KeyState).toBe('Enabled');
  });
});
