/** Pairs whose halves do not belong together, as a library that tells or does something wrong makes them. */

import { expect, test } from 'vitest';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { describeEachShimmedToken } from '../support/pkcs11-shim.ts';
import { missing } from './key-kinds.ts';
import { aad, failureOf, newKey, openTestStore } from './test-store.ts';

// The numbers are PKCS#11's of the attributes: 2.40, pkcs11t.h.
/** What the token tells wrong of a private key, and of which kind. */
const corruptions = [
  ['ECC_NIST_P256', 'CKA_VALUE', 0x11],
  ['ECC_NIST_EDWARDS25519', 'CKA_VALUE', 0x11],
  ['RSA_2048', 'CKA_PRIVATE_EXPONENT', 0x123],
  ['RSA_2048', 'CKA_COEFFICIENT', 0x128],
] as const;

/** What the token does or tells wrong of a new pair, and what gives it away. */
const mismatches = [
  ['RSA_2048', 'SIGN_VERIFY', 'C_GetAttributeValue', `flip ${0x120}`, 'CKM_RSA_PKCS: OpenSSL refuses the signature'],
  ['RSA_2048', 'ENCRYPT_DECRYPT', 'C_Decrypt', 'flip', "RSAES_OAEP_SHA_1: another plaintext than OpenSSL's"],
  ['ECC_NIST_P256', 'SIGN_VERIFY', 'C_Sign', 'flip', 'CKM_ECDSA: OpenSSL refuses the signature'],
  [
    'ECC_NIST_P384',
    'KEY_AGREEMENT',
    'C_GetAttributeValue',
    `flip ${0x11}`,
    "CKM_ECDH1_DERIVE: another secret than OpenSSL's",
  ],
  [
    'ECC_NIST_EDWARDS25519',
    'SIGN_VERIFY',
    'C_GetAttributeValue',
    `flip ${0x181}`,
    'CKM_EDDSA: OpenSSL refuses the signature',
  ],
] as const;

describeEachShimmedToken('A key store whose library makes pairs that are none', (token) => {
  test('gives away no key pair whose halves do not belong together', async () => {
    const { keyStore } = await openTestStore(token());
    const backingKeyId = await newKey(keyStore);
    const generate = (keyPairSpec: string) =>
      failureOf(keyStore.generateDataKeyPair({ backingKeyId, aad, keyPairSpec, withPlaintext: false }));
    const held = corruptions.filter(([keyPairSpec]) => missing[token().profile]?.[keyPairSpec] === undefined);
    for (const [keyPairSpec, attribute, type] of held) {
      token().fault('C_GetAttributeValue', `flip ${type}`);
      expect([attribute, await generate(keyPairSpec)]).toEqual([
        attribute,
        {
          failure: 'internal',
          message: 'cannot make a data key pair: the halves of the new data key pair do not belong together',
        },
      ]);
      token().heal('C_GetAttributeValue');
      expect(await generate(keyPairSpec)).toMatchObject({ failure: 'none' });
    }
    expect(keyStore.status().restarts).toBe(0);
  });

  test('makes no backing key whose halves do not belong together, and leaves nothing of it in the token', async () => {
    const { keyStore } = await openTestStore(token());
    const before = await keyStore.listKeys();
    const held = mismatches.filter(([keySpec]) => missing[token().profile]?.[keySpec] === undefined);
    for (const [keySpec, keyUsage, pkcs11Function, fault, why] of held) {
      const backingKeyId = newBackingKeyId();
      const generate = () =>
        failureOf(keyStore.generateKey({ backingKeyId, label: 'drawbridge:test:1', keySpec, keyUsage }));
      token().fault(pkcs11Function, fault);
      expect([keySpec, await generate()]).toEqual([
        keySpec,
        {
          failure: 'internal',
          message: `cannot make a key: the new pair does not belong together and was destroyed again: ${why}`,
        },
      ]);
      token().heal(pkcs11Function);
      expect(await keyStore.listKeys()).toEqual(before);
      // Were a half of it left, its id would be taken.
      expect(await generate()).toMatchObject({ failure: 'none' });
      await keyStore.destroyKey({ backingKeyId });
    }
    expect(keyStore.status().restarts).toBe(0);
  });
});
