/** Imports into tokens that fail in the middle, and into ones whose memory is not the host's. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type KeyStore, wrappingAlgorithms } from '../../src/hsm/key-store.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachShimmedToken } from '../support/pkcs11-shim.ts';
import { describeEachToken, type TestToken } from '../support/tokens.ts';
import { fingerprintOf, kinds, type MaterialKind, newWrappingKey, requestOf } from './import-kinds.ts';
import { failureOf, openStore, openTestStore, until } from './test-store.ts';

const label = 'drawbridge:test:1';

/** CKR_DEVICE_MEMORY, CKR_GENERAL_ERROR. */
const [noRoom, generalError] = [0x31, 0x05];

describeEachShimmedToken('A key store that imports while its host is killed', (token) => {
  test('an import that is cut off at any step is whole after it was repeated, and there once', async () => {
    const { keyStore } = await openTestStore(token());
    const wrappingKey = await newWrappingKey(keyStore);
    const others = (await keyStore.listKeys()).length;
    for (const kind of [kinds.p256, kinds.aes]) {
      const material = kind.make();
      const request = requestOf(kind, 'RSA_AES_KEY_WRAP_SHA_1', wrappingKey, material.bytes);
      const { fingerprint } = await keyStore.examineImport(request);
      for (const [pkcs11Function, times] of stepsOf(token(), kind)) {
        const backingKeyId = newBackingKeyId();
        const called = token().counting(pkcs11Function);
        token().fault(pkcs11Function, `at ${times} hang`);
        const before = keyStore.status().restarts;
        const importing = keyStore.importKey({ ...request, backingKeyId, label, fingerprint });
        let isOver = false;
        const over = () => {
          isOver = true;
        };
        importing.then(over, over);
        await until(() => isOver || called() >= times);
        expect([pkcs11Function, times, isOver]).toEqual([pkcs11Function, times, false]);
        const [pid] = keyStore.status().pids;
        if (pid !== undefined) process.kill(pid, 'SIGKILL');
        token().heal(pkcs11Function);
        const key = await importing;
        expect(keyStore.status().restarts).toBe(before + 1);
        await kind.check(keyStore, key, material);
        expect(await keyStore.importKey({ ...request, backingKeyId, label, fingerprint })).toEqual(key);
        expect(await keyStore.listKeys()).toHaveLength(others + 1);
        await keyStore.destroyKey({ backingKeyId });
        // Neither half is left to be in the way.
        await keyStore.generateKey({ backingKeyId, label, keySpec: kind.keySpec, keyUsage: kind.keyUsage });
        await keyStore.destroyKey({ backingKeyId });
      }
    }
    expect(await keyStore.listKeys()).toHaveLength(others);
  });

  test('a token that fails half-way leaves nothing, and the fault is not the callers', async () => {
    const { keyStore } = await openTestStore(token());
    const wrappingKey = await newWrappingKey(keyStore);
    const before = await keyStore.listKeys();
    const material = kinds.p256.make();
    const request = requestOf(kinds.p256, 'RSA_AES_KEY_WRAP_SHA_1', wrappingKey, material.bytes);
    const { fingerprint } = await keyStore.examineImport(request);
    const backingKeyId = newBackingKeyId();
    const importing = () => failureOf(keyStore.importKey({ ...request, backingKeyId, label, fingerprint }));
    const faults = [
      ['C_CreateObject', `return ${noRoom}`, 'tokenFull'],
      ['C_Sign', 'flip', 'internal'],
      ...(token().profile === 'softhsm2'
        ? ([['C_GetAttributeValue', `flip ${0x103}`, 'internal']] as const)
        : ([['C_GetAttributeValue', `flip ${0x162}`, 'internal']] as const)),
    ] as const;
    for (const [pkcs11Function, fault, failure] of faults) {
      token().fault(pkcs11Function, fault);
      expect([fault, (await importing()).failure]).toEqual([fault, failure]);
      token().heal(pkcs11Function);
      expect(await keyStore.listKeys()).toEqual(before);
    }
    expect((await importing()).failure).toBe('none');
    await keyStore.destroyKey({ backingKeyId });
  });

  test('a wrapping key that does not unwrap what was wrapped for it is destroyed again', async () => {
    const { keyStore } = await openTestStore(token());
    const before = await keyStore.listKeys();
    token().fault('C_UnwrapKey', `return ${generalError}`);
    expect((await failureOf(newWrappingKey(keyStore))).failure).not.toBe('none');
    token().heal('C_UnwrapKey');
    expect(await keyStore.listKeys()).toEqual(before);
    await keyStore.destroyKey({ backingKeyId: (await newWrappingKey(keyStore)).wrappingKeyId });
  });
});

/** At the how manieth call of which function the host is killed: before the token object, before it was tried, before the public half. */
function stepsOf({ profile }: TestToken, { keyUsage }: MaterialKind) {
  if (keyUsage !== 'SIGN_VERIFY') return [['C_UnwrapKey', 3]] as const;
  // Before these, NSS creates the AES key and the session object, SoftHSM2 unwraps the AES key and the session object.
  const tokenObject = profile === 'nss' ? (['C_CreateObject', 3] as const) : (['C_UnwrapKey', 3] as const);
  return [tokenObject, ['C_Sign', 2], ['C_CreateObject', profile === 'nss' ? 4 : 2]] as const;
}

/** The same tokens, with a profile that says that they are devices: the host sees no key material then. */
describeEachToken('A key store whose token is said to be a device', (token) => {
  let keyStore: KeyStore;
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-device-'));
    const profile = join(folder, 'device.yaml');
    const own = new URL(`../../native-config/vendors/${token().profile}.yaml`, import.meta.url);
    writeFileSync(profile, readFileSync(own, 'utf8').replace('software: true', 'software: false'));
    const device: TestToken = { ...token(), profile, settings: (lanes) => ({ ...token().settings(lanes), profile }) };
    keyStore = await openStore(device);
  });
  afterAll(async () => {
    await keyStore.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('imports what the token unwraps by itself, and refuses the rest by name', async () => {
    const reasonOf = (name: string) => {
      const row = keyStore.capabilities().imports.find(({ subject }) => subject === name);
      return row?.works === true ? 'works' : row?.reason;
    };
    if (token().profile === 'softhsm2') {
      // It neither has OAEP with SHA-256 nor tells how long a secret is that it has unwrapped.
      expect(reasonOf('RSAES_OAEP_SHA_256')).toBe(
        'the token does CKM_RSA_PKCS_OAEP with another hash alone, and the host may not see what it hides',
      );
      expect(reasonOf('RSAES_OAEP_SHA_1')).toBe('the token does not tell the size of what it has unwrapped');
      expect(await failureOf(newWrappingKey(keyStore))).toEqual({
        failure: 'unsupported',
        message: 'cannot make a wrapping key: the token does not tell the size of what it has unwrapped',
      });
      return;
    }
    for (const algorithm of wrappingAlgorithms) expect(reasonOf(algorithm)).toBe('works');
    expect(reasonOf('RSA_2048')).toBe('the token unwraps no CKK_RSA with the attributes that are asked for');
    const wrappingKey = await newWrappingKey(keyStore);
    const { wrappingKeyId } = wrappingKey;
    expect((await keyStore.describeKey({ backingKeyId: wrappingKeyId })).usages).toEqual(['CKA_UNWRAP']);
    for (const kind of [kinds.aes, kinds.hmac256])
      for (const algorithm of wrappingAlgorithms) {
        const material = kind.make();
        const request = requestOf(kind, algorithm, wrappingKey, material.bytes);
        const { fingerprint } = await keyStore.examineImport(request);
        expect(fingerprint).toEqual(fingerprintOf(kind.keySpec, material));
        const backingKeyId = newBackingKeyId();
        const key = await keyStore.importKey({ ...request, backingKeyId, label, fingerprint });
        await kind.check(keyStore, key, material);
        for (const length of [16, 24, 31, 33, 40])
          expect(
            (await failureOf(keyStore.examineImport(requestOf(kind, algorithm, wrappingKey, Buffer.alloc(length, 3)))))
              .failure,
          ).toMatch(/^(materialInvalid|ciphertextInvalid)$/);
        const damaged = Buffer.from(request.wrapped);
        damaged.writeUInt8(damaged.readUInt8(damaged.length - 1) ^ 1, damaged.length - 1);
        expect((await failureOf(keyStore.examineImport({ ...request, wrapped: damaged }))).failure).toBe(
          'ciphertextInvalid',
        );
        await keyStore.destroyKey({ backingKeyId });
      }
    const pair = requestOf(kinds.p256, 'RSA_AES_KEY_WRAP_SHA_256', wrappingKey, kinds.p256.make().bytes);
    expect((await failureOf(keyStore.examineImport(pair))).failure).toBe('unsupported');
    expect(keyStore.status().restarts).toBe(0);
  });
});
