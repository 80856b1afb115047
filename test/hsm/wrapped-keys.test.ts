/**
 * Keys that live outside of the token: made and wrapped by it, over both tokens, and held to what OpenSSL does with the same material or
 * the same public key.
 */

import * as crypto from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { type BackingKeyReference, WrappedKey, type WrappedKeyOutline } from '../../src/hsm/wrapped-key.ts';
import type { KeySpec, KeyUsage } from '../../src/kms/key-specs.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachShimmedToken } from '../support/pkcs11-shim.ts';
import { describeEachToken } from '../support/tokens.ts';
import {
  damaged,
  type MaterialKind,
  materialKinds,
  newWrappingKey,
  pairMaterial,
  requestOf,
  type WrappingKey,
} from './import-kinds.ts';
import { missing } from './key-kinds.ts';
import { aad, failureOf, newKey, openStore, openTestStore, plaintextOf, roundTrip, until } from './test-store.ts';

const domainLabel = 'drawbridge:domain:test:1';
const longRsa = new Map<KeySpec, string>([
  ['RSA_3072', 'rsa_oaep_3072_sha256_mgf1sha256'],
  ['RSA_4096', 'rsa_oaep_4096_sha256_mgf1sha256'],
]);
/** Long RSA keys take OpenSSL, or the token, seconds each to make: those of the vectors are there. */
function vectorMaterial(name: string) {
  const path = new URL(`../vectors/wycheproof/${name}_test.json.gz`, import.meta.url);
  const { testGroups } = JSON.parse(gunzipSync(readFileSync(path)).toString());
  const key = Buffer.from(testGroups[0].privateKeyPkcs8, 'hex');
  return pairMaterial(crypto.createPrivateKey({ key, format: 'der', type: 'pkcs8' }));
}
const wrappedKinds = materialKinds.map((kind): MaterialKind => {
  const name = longRsa.get(kind.keySpec);
  return name === undefined ? kind : { ...kind, make: () => vectorMaterial(name) };
});
const generatedKinds = wrappedKinds.filter(({ keySpec }) => !longRsa.has(keySpec));
const isEdwards = ({ keySpec }: { readonly keySpec: KeySpec }) => keySpec === 'ECC_NIST_EDWARDS25519';

describeEachToken('A key store, its wrapped keys', (token) => {
  let keyStore: KeyStore;
  let domainKeyId: BackingKeyId;
  let otherDomainKeyId: BackingKeyId;
  let wrappingKey: WrappingKey;
  beforeAll(async () => {
    keyStore = await openStore(token(), { hosts: 2 });
    [domainKeyId, otherDomainKeyId] = [newBackingKeyId(), newBackingKeyId()];
    await keyStore.generateDomainKey({ backingKeyId: domainKeyId, label: domainLabel });
    await keyStore.generateDomainKey({ backingKeyId: otherDomainKeyId, label: 'drawbridge:domain:test:2' });
    wrappingKey = await newWrappingKey(keyStore);
  });
  afterAll(() => keyStore.close());

  /** What is in the token, in whatever order it tells it. */
  const objects = async () => (await keyStore.listKeys()).map(({ backingKeyId }) => backingKeyId).sort();
  const whyMissing = (keySpec: KeySpec) =>
    missing[token().profile]?.[keySpec] ??
    (isEdwards({ keySpec }) ? 'CKM_AES_KEY_WRAP_PAD does not wrap Ed25519 keys (CKR_KEY_NOT_WRAPPABLE)' : undefined);
  const newWrapped = async (keySpec: KeySpec, keyUsage: KeyUsage): Promise<WrappedKeyOutline> => ({
    domainKeyId,
    keySpec,
    keyUsage,
    ...(await keyStore.generateWrappedKey({ domainKeyId, keySpec, keyUsage })),
  });
  const referenceOf = (outline: WrappedKeyOutline, backingKeyId = newBackingKeyId()): BackingKeyReference => ({
    backingKeyId,
    wrapped: new WrappedKey(outline),
  });
  const encryptWith = (key: BackingKeyReference) => keyStore.encrypt({ ...key, aad, plaintext: plaintextOf('text') });
  const signWith = (key: BackingKeyReference, algorithm = 'ECDSA_SHA_256') =>
    keyStore.sign({ ...key, algorithm, content: 'DIGEST', message: crypto.createHash('sha256').update(aad).digest() });

  test('are generated in the token, do what they are for, and leave nothing in it', async () => {
    const before = await objects();
    for (const { keySpec, keyUsage, usages } of generatedKinds) {
      const reason = whyMissing(keySpec);
      if (reason !== undefined) {
        const failure = await failureOf(newWrapped(keySpec, keyUsage));
        expect(failure).toEqual({ failure: 'unsupported', message: expect.stringContaining(reason) });
        continue;
      }
      const outline = await newWrapped(keySpec, keyUsage);
      const key = referenceOf(outline);
      expect(await keyStore.describeKey(key), keySpec).toMatchObject({
        token: false,
        private: true,
        sensitive: true,
        extractable: false,
      });
      if (keyUsage === 'SIGN_VERIFY') {
        const algorithm = keySpec.startsWith('RSA') ? 'RSASSA_PKCS1_V1_5_SHA_256' : 'ECDSA_SHA_256';
        if (algorithm === 'ECDSA_SHA_256' && !/P256|K1/.test(keySpec)) continue;
        const publicKey = crypto.createPublicKey({
          key: outline.publicKey ?? Buffer.alloc(0),
          format: 'der',
          type: 'spki',
        });
        expect(crypto.verify('sha256', aad, publicKey, await signWith(key, algorithm)), keySpec).toBe(true);
      }
      if (token().profile === 'softhsm2') expect((await keyStore.describeKey(key)).usages, keySpec).toEqual(usages);
    }
    const symmetric = referenceOf(await newWrapped('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT'));
    const encrypted = await encryptWith(symmetric);
    // Through all lanes of both hosts.
    const decrypted = await Promise.all(
      Array.from({ length: 8 }, () => keyStore.decrypt({ ...symmetric, aad, ...encrypted })),
    );
    for (const plaintext of decrypted) expect(plaintext.reveal().toString()).toBe('text');
    expect(await objects()).toEqual(before);
  });

  test.each(wrappedKinds)('hold what was imported: $keySpec for $keyUsage', async (kind) => {
    const reason = whyMissing(kind.keySpec);
    const material = kind.make();
    const request = requestOf(kind, 'RSA_AES_KEY_WRAP_SHA_256', wrappingKey, material.bytes);
    const examined = isEdwards(kind) || reason === undefined ? await examine(kind, request) : null;
    const wanted = { ...request, domainKeyId, fingerprint: examined?.fingerprint ?? Buffer.alloc(32) };
    if (reason !== undefined || examined === null) {
      expect((await failureOf(keyStore.importWrappedKey(wanted))).failure).toBe('unsupported');
      return;
    }
    const before = await objects();
    const made = await keyStore.importWrappedKey(wanted);
    expect(made.publicKey).toEqual(examined.publicKey);
    expect(await objects()).toEqual(before);
    const { keySpec, keyUsage } = kind;
    await kind.check(keyStore, referenceOf({ domainKeyId, keySpec, keyUsage, ...made }), material);
    const other = await failureOf(keyStore.importWrappedKey({ ...wanted, fingerprint: Buffer.alloc(32) }));
    expect(other.failure).toBe('materialInvalid');
  });

  const unextractable = {
    failure: 'unsupported',
    message: 'cannot wrap a key: the token does not wrap the key: its CKA_EXTRACTABLE is false (CKR_KEY_UNEXTRACTABLE)',
  };

  test.each(wrappedKinds)(
    'become token objects, and out of these again what the token wraps: $keySpec for $keyUsage',
    async (kind) => {
      const { keySpec, keyUsage } = kind;
      if (whyMissing(keySpec) !== undefined) return;
      const material = kind.make();
      const request = requestOf(kind, 'RSA_AES_KEY_WRAP_SHA_256', wrappingKey, material.bytes);
      const { fingerprint } = await keyStore.examineImport(request);
      const made = await keyStore.importWrappedKey({ ...request, domainKeyId, fingerprint });
      const outline = { domainKeyId, keySpec, keyUsage, ...made };
      const before = await objects();
      const backingKeyId = newBackingKeyId();
      const keep = () =>
        keyStore.keepWrappedKey({ backingKeyId, wrapped: new WrappedKey(outline), label: 'drawbridge:test:1' });
      await keep();
      // What is done stays done.
      await keep();
      expect(await keyStore.describeKey({ backingKeyId })).toMatchObject({
        ...{ token: true, private: true, sensitive: true, extractable: false, label: 'drawbridge:test:1' },
        usages: kind.usages,
      });
      await keyStore.forgetWrappedKey({ backingKeyId });
      await kind.check(keyStore, { backingKeyId }, material);
      expect(await objects()).toEqual([...before, backingKeyId].sort());

      const { publicKey } = made;
      const sources: BackingKeyReference[] = [{ backingKeyId }, referenceOf(outline)];
      for (const source of sources) {
        const wrapping = keyStore.wrapKey({ ...source, domainKeyId: otherDomainKeyId, keySpec, keyUsage, publicKey });
        if (token().profile === 'softhsm2') {
          expect(await failureOf(wrapping)).toEqual(unextractable);
          continue;
        }
        const again = await wrapping;
        const another = referenceOf({ ...outline, ...again, domainKeyId: otherDomainKeyId });
        await kind.check(keyStore, another, material);
      }
      await keyStore.destroyKey({ backingKeyId });
      expect(await objects()).toEqual(before);
    },
  );

  test('take no place in the token that another key has', async () => {
    const backingKeyId = await newKey(keyStore);
    const wrapped = new WrappedKey(await newWrapped('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT'));
    const label = 'drawbridge:test:1';
    const { failure } = await failureOf(keyStore.keepWrappedKey({ backingKeyId, wrapped, label }));
    expect(failure).not.toBe('none');
    await keyStore.forgetWrappedKey({ backingKeyId });
    await roundTrip(keyStore, backingKeyId);
    const domainLabelled = keyStore.keepWrappedKey({ backingKeyId: newBackingKeyId(), wrapped, label: domainLabel });
    expect(await failureOf(domainLabelled)).toMatchObject({ failure: 'internal' });
    await keyStore.destroyKey({ backingKeyId });
  });

  const examine = async (kind: MaterialKind, request: Parameters<KeyStore['examineImport']>[0]) =>
    missing[token().profile]?.[kind.keySpec] === undefined ? await keyStore.examineImport(request) : null;

  test('are refused as anything else than their record says, and the host lives on', async () => {
    const p256 = await newWrapped('ECC_NIST_P256', 'SIGN_VERIFY');
    const p384 = await newWrapped('ECC_NIST_P384', 'SIGN_VERIFY');
    const aes = await newWrapped('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT');
    const { pids } = keyStore.status();
    const unavailable = { failure: 'keyUnavailable', message: expect.any(String) };
    // A pair under the record of another: its curve, or what it does, is not what is said.
    expect(await failureOf(signWith(referenceOf({ ...p256, blob: p384.blob })))).toEqual(unavailable);
    expect(await failureOf(signWith(referenceOf({ ...p256, blob: aes.blob })))).toEqual(unavailable);
    expect(await failureOf(encryptWith(referenceOf({ ...aes, blob: p256.blob })))).not.toMatchObject({
      failure: 'none',
    });
    // For another use than it was made for.
    expect(
      await failureOf(keyStore.deriveSharedSecret({ ...referenceOf(p256), publicKey: p256.publicKey ?? aad })),
    ).toEqual(unavailable);
    const asMacKey = referenceOf({ ...aes, keySpec: 'HMAC_256', keyUsage: 'GENERATE_VERIFY_MAC' });
    expect(await failureOf(encryptWith(asMacKey))).toEqual(unavailable);
    // Damaged, cut, of another format.
    for (const blob of [
      damaged(aes.blob, aes.blob.length - 1),
      damaged(aes.blob, 0, 2),
      aes.blob.subarray(0, -8),
      aes.blob.subarray(0, -1),
      aes.blob.subarray(0, 1),
    ]) {
      expect(await failureOf(encryptWith(referenceOf({ ...aes, blob })))).toEqual(unavailable);
    }
    // Under another domain key, under one that is not there, and under what is none.
    const otherId = newBackingKeyId();
    await keyStore.generateDomainKey({ backingKeyId: otherId, label: 'drawbridge:domain:test:3' });
    const noDomainKey = await newKey(keyStore);
    for (const id of [otherId, newBackingKeyId(), noDomainKey, wrappingKey.wrappingKeyId])
      expect(await failureOf(encryptWith(referenceOf({ ...aes, domainKeyId: id })))).toEqual(unavailable);
    expect((await encryptWith(referenceOf(aes))).iv).toHaveLength(12);
    expect(keyStore.status().pids).toEqual(pids);
    await keyStore.destroyKey({ backingKeyId: otherId });
  });

  test('end for whoever holds them when they are ended, and after that no lane has them', async () => {
    const outline = await newWrapped('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT');
    const key = referenceOf(outline);
    const underWay = Array.from({ length: 64 }, () => encryptWith(key));
    key.wrapped?.end();
    expect(await failureOf(encryptWith(key))).toMatchObject({ failure: 'keyUnavailable' });
    await keyStore.forgetWrappedKey(key);
    expect(await Promise.all(underWay)).toHaveLength(64);
    // What a lane had kept would still be used, whatever the blob says that comes along.
    const blob = damaged(outline.blob, outline.blob.length - 1);
    const again = Array.from({ length: 8 }, () =>
      failureOf(encryptWith(referenceOf({ ...outline, blob }, key.backingKeyId))),
    );
    for (const failure of await Promise.all(again)) expect(failure).toMatchObject({ failure: 'keyUnavailable' });
  });

  test('are unwrapped anew by a host that replaces another', async () => {
    const key = referenceOf(await newWrapped('HMAC_256', 'GENERATE_VERIFY_MAC'));
    const macWith = () => keyStore.mac({ ...key, algorithm: 'HMAC_SHA_256', data: aad });
    const mac = await macWith();
    const [first] = keyStore.status().pids;
    process.kill(first ?? 0, 'SIGKILL');
    await until(() => keyStore.status().hosts === 2 && !keyStore.status().pids.includes(first ?? 0));
    const macs = await Promise.all(Array.from({ length: 8 }, macWith));
    for (const each of macs) expect(each).toEqual(mac);
  });

  test('are wrapped by domain keys that are for nothing else', async () => {
    const failures = await Promise.all([
      failureOf(roundTrip(keyStore, domainKeyId)),
      failureOf(
        keyStore.decrypt({ backingKeyId: domainKeyId, aad, iv: Buffer.alloc(12), ciphertext: Buffer.alloc(32) }),
      ),
      failureOf(keyStore.mac({ backingKeyId: domainKeyId, algorithm: 'HMAC_SHA_256', data: aad })),
      failureOf(signWith({ backingKeyId: domainKeyId })),
    ]);
    for (const failure of failures) expect(failure).toMatchObject({ failure: 'keyUnavailable' });
    const labels = ['drawbridge:test:1', 'drawbridge:service:metadata-integrity'];
    for (const label of labels)
      expect(await failureOf(keyStore.generateDomainKey({ backingKeyId: newBackingKeyId(), label }))).toMatchObject({
        failure: 'internal',
      });
    const ours = { backingKeyId: newBackingKeyId(), label: domainLabel };
    const asKey = keyStore.generateKey({ ...ours, keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' });
    expect(await failureOf(asKey)).toMatchObject({ failure: 'internal' });
  });

  test('are protected as far as the token goes, which is tried', () => {
    const { protection: trials } = keyStore.capabilities();
    const held = Object.fromEntries(trials.map(({ attempt, isHeld }) => [attempt, isHeld]));
    const isHeldByAll = token().profile === 'softhsm2';
    expect(held).toEqual({
      'read the value of a key that is sensitive': true,
      'make a key extractable that is not': true,
      'make an extractable copy of a key that is not': isHeldByAll,
      'wrap a key that is not extractable': isHeldByAll,
      'wrap the domain key under a key that nobody trusted': isHeldByAll,
      'unwrap a key of the domain as an extractable one': isHeldByAll,
      'open a key of the domain by decrypting it with the domain key': true,
      'make a copy of the domain key that decrypts': isHeldByAll,
    });
    for (const { isPromised, isHeld } of trials) expect(isHeld || !isPromised).toBe(true);
  });
});

/** CKA_TOKEN and CKA_EXTRACTABLE, which have to be false of a key that is used. */
const mustBeFalse = [0x001, 0x162] as const;
/** Those; CKA_KEY_TYPE, CKA_VALUE_LEN, CKA_PRIVATE, CKA_SENSITIVE; CKA_ENCRYPT, DECRYPT, WRAP, UNWRAP, SIGN and VERIFY. */
const lookedAt = [...mustBeFalse, 0x100, 0x161, 0x002, 0x103, 0x104, 0x105, 0x106, 0x107, 0x108, 0x10a] as const;

describeEachShimmedToken('A key store whose library does not write what it is asked for', (token) => {
  test('uses no wrapped key of which it is not told that it is what it is meant to be, and all others', async () => {
    const { keyStore } = await openTestStore(token());
    const domainKeyId = newBackingKeyId();
    await keyStore.generateDomainKey({ backingKeyId: domainKeyId, label: domainLabel });
    const kind = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    const outline = { domainKeyId, ...kind, ...(await keyStore.generateWrappedKey({ domainKeyId, ...kind })) };
    // Each time another key for the host, which unwraps it and looks at what came of it.
    const encrypted = () => {
      const key = { backingKeyId: newBackingKeyId(), wrapped: new WrappedKey(outline) };
      return failureOf(keyStore.encrypt({ ...key, aad, plaintext: plaintextOf('text') }));
    };
    for (const attribute of mustBeFalse) {
      token().fault('C_GetAttributeValue', `leave ${attribute}`);
      expect([attribute, (await encrypted()).failure]).toEqual([attribute, 'keyUnavailable']);
      token().heal('C_GetAttributeValue');
      expect((await encrypted()).failure).toBe('none');
    }
    // Of a key that is otherwise like the one before.
    for (const attribute of lookedAt) {
      token().fault('C_GetAttributeValue', `flip ${attribute}`);
      expect([attribute, (await encrypted()).failure]).toEqual([attribute, 'keyUnavailable']);
      token().heal('C_GetAttributeValue');
      expect((await encrypted()).failure).toBe('none');
    }
    expect(keyStore.status().restarts).toBe(0);
    await keyStore.destroyKey({ backingKeyId: domainKeyId });
  });
});
