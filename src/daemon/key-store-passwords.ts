/**
 * The passwords of custom key stores, encrypted by AES-256-GCM in the HSM under the service key that encrypts access keys, and
 * bound to the custom key store:
 *
 *     sealed password = 12 bytes IV ‖ ciphertext ‖ 16 bytes tag
 *     AAD             = "drawbridge/key-store-password/1" 00 custom key store id
 *
 * The AAD of access keys begins otherwise (`credential-source.ts`), so neither can be had back as the other.
 */

import { timingSafeEqual } from 'node:crypto';
import type { KeyStore } from '../hsm/key-store.ts';
import type { PasswordVault } from '../keys/custom-key-store.ts';
import type { BackingKeyId } from '../kms/names.ts';
import { Pin } from '../secrets/secret-bytes.ts';
import type { SqliteStore } from '../store/sqlite-store.ts';

const ivBytes = 12;

/** @param keyStore The one that holds the service keys. */
export function passwordVault(store: Pick<SqliteStore, 'serviceKey'>, keyStore: KeyStore): PasswordVault {
  const sealingKey = (): BackingKeyId => {
    const backingKeyId = store.serviceKey('access-key-encryption');
    if (backingKeyId === undefined) throw new TypeError('the service key that encrypts secrets was not made yet');
    return backingKeyId;
  };
  const unseal: PasswordVault['unseal'] = async ({ customKeyStoreId, sealedPassword }) => {
    const iv = sealedPassword.subarray(0, ivBytes);
    const ciphertext = sealedPassword.subarray(ivBytes);
    const aad = aadOf(customKeyStoreId);
    return new Pin((await keyStore.decrypt({ backingKeyId: sealingKey(), aad, iv, ciphertext })).reveal());
  };
  return {
    unseal,
    async seal(password, customKeyStoreId) {
      const aad = aadOf(customKeyStoreId);
      const { iv, ciphertext } = await keyStore.encrypt({ backingKeyId: sealingKey(), aad, plaintext: password });
      return Buffer.concat([iv, ciphertext]);
    },
    async isSame(password, record) {
      const pin = await unseal(record);
      try {
        const [given, kept] = [password.reveal(), pin.reveal()];
        return given.length === kept.length && timingSafeEqual(given, kept);
      } finally {
        pin.wipe();
      }
    },
  };
}

function aadOf(customKeyStoreId: string): Buffer {
  return Buffer.from(`drawbridge/key-store-password/1\0${customKeyStoreId}`);
}
