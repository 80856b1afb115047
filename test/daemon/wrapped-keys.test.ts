/** KMS keys whose material lives outside of the token: a real daemon over real tokens, whose clocks the test sets. */

import { execFile, execFileSync } from 'node:child_process';
import * as crypto from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { KeySpec, KeyUsageType, MacAlgorithmSpec, SigningAlgorithmSpec } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { importMaterial, newExternalKey } from '../end-to-end/support/imports.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { send } from '../end-to-end/support/wire.ts';
import { program } from '../support/program.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { describeEachToken } from '../support/tokens.ts';
import { createUpkeptInstance, type Running, type UpkeptInstance } from './upkept-instance.ts';

const dayMs = 24 * 60 * 60 * 1000;
const Plaintext = Buffer.from('a plaintext');
const EncryptionContext = { purpose: 'test' };

describeEachToken('A wrapped KMS key', (token) => {
  let instance: UpkeptInstance;
  let running: Running;
  let clocks: SetClocks;
  beforeAll(async () => {
    instance = await createUpkeptInstance(token(), 'wrapped');
    clocks = new SetClocks();
    running = await instance.start(clocks);
  });
  afterAll(async () => {
    await running.stop();
    await instance.remove();
  });

  const newKey = async (KeySpec: KeySpec = 'SYMMETRIC_DEFAULT', KeyUsage: KeyUsageType = 'ENCRYPT_DECRYPT') =>
    present((await running.kms.createKey({ KeySpec, KeyUsage })).KeyMetadata?.KeyId);
  const encrypted = async (KeyId: string) =>
    present((await running.kms.encrypt({ KeyId, Plaintext, EncryptionContext })).CiphertextBlob);
  const decrypted = async (KeyId: string, CiphertextBlob: Uint8Array) =>
    Buffer.from(present((await running.kms.decrypt({ KeyId, CiphertextBlob, EncryptionContext })).Plaintext));
  /** By a process of its own: one that the daemon is in would lose its locks on the file. */
  const filesWith = (text: string): readonly string[] => {
    const folder = join(instance.folder, 'data');
    const files = readdirSync(folder).filter((name) => name.startsWith('metadata.db'));
    return files.filter((name) => {
      try {
        execFileSync('grep', ['--quiet', '--binary', '--fixed-strings', text, join(folder, name)]);
        return true;
      } catch {
        return false;
      }
    });
  };
  const restarted = async <Result>(meanwhile: () => Promise<Result> | Result): Promise<Result> => {
    await running.stop();
    const result = await meanwhile();
    running = await instance.start(clocks);
    return result;
  };
  const domainLabel = 'drawbridge:domain:default:1';

  test('does what every other key does, and the token has the domain key alone', async () => {
    const { kms } = running;
    const [KeyId, other] = [await newKey(), await newKey()];
    const CiphertextBlob = await encrypted(KeyId);
    expect(await decrypted(KeyId, CiphertextBlob)).toEqual(Plaintext);
    const again = await kms.reEncrypt({
      CiphertextBlob,
      SourceEncryptionContext: EncryptionContext,
      DestinationKeyId: other,
      DestinationEncryptionContext: EncryptionContext,
    });
    expect(await decrypted(other, present(again.CiphertextBlob))).toEqual(Plaintext);
    const dataKey = await kms.generateDataKey({ KeyId, KeySpec: 'AES_256', EncryptionContext });
    expect(await decrypted(KeyId, present(dataKey.CiphertextBlob))).toEqual(Buffer.from(present(dataKey.Plaintext)));
    const sealed = await kms.generateDataKeyWithoutPlaintext({ KeyId, NumberOfBytes: 24, EncryptionContext });
    expect(await decrypted(KeyId, present(sealed.CiphertextBlob))).toHaveLength(24);
    const pair = await kms.generateDataKeyPair({ KeyId, KeyPairSpec: 'ECC_NIST_P256', EncryptionContext });
    const privateKey = await decrypted(KeyId, present(pair.PrivateKeyCiphertextBlob));
    expect(privateKey).toEqual(Buffer.from(present(pair.PrivateKeyPlaintext)));

    const macs: readonly [KeySpec, MacAlgorithmSpec][] = [
      ['HMAC_224', 'HMAC_SHA_224'],
      ['HMAC_512', 'HMAC_SHA_512'],
    ];
    for (const [spec, MacAlgorithm] of macs) {
      const macKey = await newKey(spec, 'GENERATE_VERIFY_MAC');
      const { Mac } = await kms.generateMac({ KeyId: macKey, MacAlgorithm, Message: Plaintext });
      const verified = await kms.verifyMac({ KeyId: macKey, MacAlgorithm, Message: Plaintext, Mac: present(Mac) });
      expect(verified.MacValid).toBe(true);
    }
    const signers: readonly [KeySpec, SigningAlgorithmSpec][] = [
      ['ECC_NIST_P384', 'ECDSA_SHA_384'],
      ['RSA_2048', 'RSASSA_PSS_SHA_256'],
    ];
    for (const [spec, SigningAlgorithm] of signers) {
      const signer = await newKey(spec, 'SIGN_VERIFY');
      const signed = { KeyId: signer, SigningAlgorithm, Message: Plaintext };
      const { Signature } = await kms.sign(signed);
      expect((await kms.verify({ ...signed, Signature: present(Signature) })).SignatureValid).toBe(true);
    }
    const rsa = await newKey('RSA_2048', 'ENCRYPT_DECRYPT');
    const EncryptionAlgorithm = 'RSAES_OAEP_SHA_256';
    const hidden = await kms.encrypt({ KeyId: rsa, EncryptionAlgorithm, Plaintext });
    const open = await kms.decrypt({ KeyId: rsa, EncryptionAlgorithm, CiphertextBlob: present(hidden.CiphertextBlob) });
    expect(Buffer.from(present(open.Plaintext))).toEqual(Plaintext);
    const agreeing = await newKey('ECC_NIST_P256', 'KEY_AGREEMENT');
    const peer = crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const { SharedSecret } = await kms.deriveSharedSecret({
      KeyId: agreeing,
      KeyAgreementAlgorithm: 'ECDH',
      PublicKey: peer.publicKey.export({ type: 'spki', format: 'der' }),
    });
    const own = crypto.createPublicKey({
      key: Buffer.from(present((await kms.getPublicKey({ KeyId: agreeing })).PublicKey)),
      ...{ format: 'der', type: 'spki' },
    });
    const secret = crypto.diffieHellman({ privateKey: peer.privateKey, publicKey: own });
    expect(Buffer.from(present(SharedSecret))).toEqual(secret);

    expect(await instance.objects()).toEqual([domainLabel]);
    const status = await send(running.socketPath, { method: 'GET', path: `/status/keys/${KeyId}` });
    const [backingKey] = JSON.parse(status.body).backingKeys;
    expect(backingKey).toMatchObject({
      ...{ residency: 'wrapped', wrappedBytes: 41 },
      hsm: { token: false, sensitive: true, extractable: false, usages: ['CKA_ENCRYPT', 'CKA_DECRYPT'] },
    });
    expect(status.body).not.toContain('wrappedKey"');
  });

  test('is refused by name where the token cannot wrap it', async () => {
    const edwards = running.kms.createKey({ KeySpec: 'ECC_NIST_EDWARDS25519', KeyUsage: 'SIGN_VERIFY' });
    expect(await refusal(edwards)).toMatchObject({
      name: 'UnsupportedOperationException',
      message: expect.stringMatching(/CKM_AES_KEY_WRAP_PAD does not wrap Ed25519|CKM_EC_EDWARDS_KEY_PAIR_GEN/),
    });
    expect(await instance.objects()).toEqual([domainLabel]);
  });

  test('is rotated to wrapped material, and opens what it encrypted before, after a start as well', async () => {
    const KeyId = await newKey();
    const before = await encrypted(KeyId);
    await running.kms.rotateKeyOnDemand({ KeyId });
    const after = await encrypted(KeyId);
    const records = await restarted(() => instance.records());
    const materials = records.backingKey.filter(({ keyId }) => keyId === KeyId);
    expect(materials.map(({ residency, wrappedKey }) => [residency, wrappedKey?.length])).toEqual([
      ['wrapped', 41],
      ['wrapped', 41],
    ]);
    for (const blob of [before, after]) expect(await decrypted(KeyId, blob)).toEqual(Plaintext);
    expect(await instance.objects()).toEqual([domainLabel]);
    const missing = instance.log.filter(({ message }) => /not in the HSM|belongs to no record/.test(message));
    expect(missing).toEqual([]);
  });

  test('takes imported material, loses it to the last byte of the file, and takes it again', async () => {
    const { kms } = running;
    const { id: KeyId } = await newExternalKey(kms);
    const material = crypto.randomBytes(32);
    await importMaterial(kms, KeyId, material);
    const CiphertextBlob = await encrypted(KeyId);
    const blobOf = () =>
      restarted(async () => {
        const { backingKey } = await instance.records();
        return present(backingKey.find(({ keyId }) => keyId === KeyId)?.wrappedKey).toString('base64');
      });
    const blob = await blobOf();
    expect(filesWith(blob).length).toBeGreaterThan(0);
    await running.kms.deleteImportedKeyMaterial({ KeyId });
    expect(filesWith(blob.slice(0, 30))).toEqual([]);
    expect(filesWith(blob.slice(-30))).toEqual([]);
    expect((await running.kms.describeKey({ KeyId })).KeyMetadata?.KeyState).toBe('PendingImport');
    expect(await refusal(running.kms.decrypt({ KeyId, CiphertextBlob, EncryptionContext }))).toMatchObject({
      name: 'KMSInvalidStateException',
    });
    await importMaterial(running.kms, KeyId, material);
    expect(await decrypted(KeyId, CiphertextBlob)).toEqual(Plaintext);
    expect((await instance.objects()).filter((label) => !label.startsWith('drawbridge:wrapping:'))).toEqual([
      domainLabel,
    ]);
  });

  test('loses imported material that another key has as well, and the last of them loses it from the file', async () => {
    const material = crypto.randomBytes(32);
    const [{ id: one }, { id: other }] = [await newExternalKey(running.kms), await newExternalKey(running.kms)];
    for (const id of [one, other]) await importMaterial(running.kms, id, material);
    const blobs = await restarted(async () => {
      const { backingKey } = await instance.records();
      return [one, other].map((id) => present(backingKey.find(({ keyId }) => keyId === id)?.wrappedKey));
    });
    expect(blobs[0]).toEqual(blobs[1]);
    const text = present(blobs[0]).toString('base64');
    const CiphertextBlob = await encrypted(other);
    await running.kms.deleteImportedKeyMaterial({ KeyId: one });
    expect((await running.kms.describeKey({ KeyId: one })).KeyMetadata?.KeyState).toBe('PendingImport');
    expect(await decrypted(other, CiphertextBlob)).toEqual(Plaintext);
    await running.kms.deleteImportedKeyMaterial({ KeyId: other });
    expect(filesWith(text.slice(0, 30))).toEqual([]);
  });

  test('is gone from the files when it is deleted, and status and record say what an old copy of them still has', async () => {
    const [KeyId, staying] = [await newKey('ECC_NIST_P256', 'SIGN_VERIFY'), await newKey()];
    // Rows that are moved about in the file, so that copies could be left behind.
    for (let index = 0; index < 12; index++) await newKey('HMAC_256', 'GENERATE_VERIFY_MAC');
    const blob = await restarted(async () => {
      const { backingKey } = await instance.records();
      return present(backingKey.find(({ keyId }) => keyId === KeyId)?.wrappedKey).toString('base64');
    });
    expect(filesWith(blob)).toEqual(['metadata.db']);
    await running.kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await clocks.pass(7 * dayMs - 60_000);
    await clocks.pass(120_000);
    expect(await refusal(running.kms.describeKey({ KeyId }))).toMatchObject({ name: 'NotFoundException' });
    for (const part of [blob.slice(0, 30), blob.slice(60, 90), blob.slice(-30)]) expect(filesWith(part)).toEqual([]);
    expect(await decrypted(staying, await encrypted(staying))).toEqual(Plaintext);
    const [event] = (await instance.events('DeleteKey')).slice(-1);
    const { domainKey } = await restarted(() => instance.records());
    const [{ backingKeyId: domainKeyId } = { backingKeyId: '' }] = domainKey;
    const { backingKeys } = (event as { additionalEventData: { backingKeys: string } }).additionalEventData;
    expect(JSON.parse(backingKeys)).toMatchObject([{ residency: 'wrapped', domainKeyId }]);
    const status = JSON.parse((await send(running.socketPath, { method: 'GET', path: '/status' })).body);
    expect(status).toMatchObject({
      openDeletions: 1,
      keyStores: [{ residency: 'wrapped', domainKeys: [{ backingKeyId: domainKeyId, state: 'Active' }] }],
    });
  });

  test('stays wrapped when new keys are to live in the token, and the other way round', async () => {
    const wrappedId = await newKey();
    await running.stop();
    running = await instance.start(clocks, undefined, 'token');
    const tokenId = await newKey();
    const blobs = [await encrypted(wrappedId), await encrypted(tokenId)];
    await running.kms.rotateKeyOnDemand({ KeyId: wrappedId });
    await restarted(() => undefined);
    await running.kms.rotateKeyOnDemand({ KeyId: tokenId });
    expect(await decrypted(wrappedId, present(blobs[0]))).toEqual(Plaintext);
    expect(await decrypted(tokenId, present(blobs[1]))).toEqual(Plaintext);
    const { backingKey } = await restarted(() => instance.records());
    const residenciesOf = (id: string) =>
      backingKey.flatMap(({ keyId, residency }) => (keyId === id ? [residency] : []));
    expect(residenciesOf(wrappedId)).toEqual(['wrapped', 'wrapped']);
    expect(residenciesOf(tokenId)).toEqual(['token', 'token']);
    const ours = (await instance.objects()).filter((label) => !label.startsWith('drawbridge:wrapping:'));
    expect(ours).toEqual([`drawbridge:${tokenId}:1`, `drawbridge:${tokenId}:2`, domainLabel].sort());
  });

  test('is used on when its domain key is rotated, and is final when the former one is retired', async () => {
    const post = async (act: string) => {
      const { status, body } = await send(running.socketPath, {
        method: 'POST',
        path: `/domains/default/${act}`,
        body: '{}',
      });
      return { status, body: JSON.parse(body) };
    };
    const domains = async () => {
      const { body } = await send(running.socketPath, { method: 'GET', path: '/status' });
      const { openDeletions, keyStores } = JSON.parse(body);
      return { openDeletions, domainKeys: keyStores[0].domainKeys };
    };
    const KeyId = await newKey();
    const blob = await encrypted(KeyId);
    const [former] = (await domains()).domainKeys;
    const { status, body } = await post('rotate');
    expect(status).toBe(200);
    const later = await newKey();
    expect((await domains()).domainKeys).toMatchObject([
      { backingKeyId: former.backingKeyId },
      { backingKeyId: body.domainKeyId, state: 'Active', backingKeys: 1 },
    ]);
    const command = ['domain', 'rotate', '--retire', '--json', '--socket', running.socketPath];
    const kept = await new Promise<{ code: unknown; said: string }>((resolve) => {
      execFile(process.execPath, [program, ...command], (error, said) => resolve({ code: error?.code ?? 0, said }));
    });
    expect(kept.code).toBe(1);
    expect(JSON.parse(kept.said)).toMatchObject({ retired: [], needed: [{ domainKeyId: former.backingKeyId }] });
    expect(await decrypted(KeyId, blob)).toEqual(Plaintext);
    expect(await decrypted(later, await encrypted(later))).toEqual(Plaintext);

    // Everything that is wrapped under it goes.
    const wrappedIds = new Set(
      (await restarted(() => instance.records())).backingKey.flatMap(({ keyId, residency }) =>
        residency === 'wrapped' ? [keyId] : [],
      ),
    );
    const openBefore = (await domains()).openDeletions;
    const { Keys } = await running.kms.listKeys({ Limit: 1000 });
    for (const key of Keys ?? []) {
      const id = present(key.KeyId);
      const isLater =
        id === later || (await running.kms.describeKey({ KeyId: id })).KeyMetadata?.KeyState === 'PendingDeletion';
      if (!isLater) await running.kms.scheduleKeyDeletion({ KeyId: id, PendingWindowInDays: 7 });
    }
    // Upkeep has to have seen the dates before they come.
    await clocks.pass(7 * dayMs - 60_000);
    await clocks.pass(120_000);
    const isWrapping = async () => (await domains()).domainKeys[0].backingKeys > 0;
    // Where the token lets keys out, nothing is under it any more before they are gone.
    const areThere = async () => present((await running.kms.listKeys({ Limit: 1000 })).Keys).length > 1;
    // A date that upkeep sees too late counts a day more.
    while ((await isWrapping()) || (await areThere())) await clocks.pass(dayMs / 24);
    const deleted = (await domains()).openDeletions;
    expect(deleted).toBe(openBefore + wrappedIds.size - 1);
    // What was wrapped while it is retired is not lost with it.
    const [retired, meanwhile] = await Promise.all([post('retire'), newKey()]);
    expect(retired.body).toEqual({ retired: [former.backingKeyId], needed: [] });
    const { openDeletions, domainKeys } = await domains();
    expect(domainKeys).toMatchObject([{ backingKeyId: body.domainKeyId }]);
    // What was wrapped anew before it was deleted is in copies under the domain key that stays.
    expect(openDeletions).toBeLessThanOrEqual(token().profile === 'softhsm2' ? 0 : deleted);
    for (const id of [later, meanwhile]) expect(await decrypted(id, await encrypted(id))).toEqual(Plaintext);
    expect((await instance.objects()).filter((label) => label.startsWith('drawbridge:domain:'))).toEqual([
      'drawbridge:domain:default:2',
    ]);
    await restarted(() => undefined);
    expect(await decrypted(later, await encrypted(later))).toEqual(Plaintext);
    expect((await post('retire')).body).toEqual({ retired: [], needed: [] });
  });

  test('is refused when its blob, or what it is a key for, was moved to another key in the database', async () => {
    const [one, two, mac] = [await newKey(), await newKey(), await newKey('HMAC_256', 'GENERATE_VERIFY_MAC')];
    const blob = await encrypted(one);
    await restarted(() => {
      const database = new DatabaseSync(join(instance.folder, 'data', 'metadata.db'));
      const move =
        'UPDATE backing_key SET wrapped_key = (SELECT wrapped_key FROM backing_key WHERE key_id = ?) WHERE key_id = ?';
      database.prepare(move).run(one, two);
      database
        .prepare(
          "UPDATE backing_key SET wrapped_key_spec = 'SYMMETRIC_DEFAULT', wrapped_key_usage = 'ENCRYPT_DECRYPT' WHERE key_id = ?",
        )
        .run(mac);
      database.close();
    });
    for (const KeyId of [two, mac]) {
      expect(await refusal(running.kms.describeKey({ KeyId }))).toMatchObject({ name: 'KMSInternalException' });
    }
    expect(await decrypted(one, blob)).toEqual(Plaintext);
    const refused = instance.log.filter(({ message }) => message === 'a record does not verify and is not used');
    expect(refused.map(({ fields }) => fields['kind'])).toEqual(['backingKey', 'backingKey']);
  });
});
