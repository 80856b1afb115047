/** How much each RSA key encrypts with each algorithm: the sizes that AWS documents for Encrypt. */

import { createPublicKey, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type AuthorizedKey, authorizeKey } from '../../src/keys/authorized-key.ts';
import type { KmsKey } from '../../src/keys/kms-key.ts';
import { assertFits } from '../../src/keys/use/asymmetric-encryption.ts';
import type { KeySpec } from '../../src/kms/key-specs.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';

/** A key that has a KeySpec and a public key and nothing else; whether its modulus has two factors, nobody asks here. */
function keyOf(keySpec: KeySpec): AuthorizedKey {
  const modulus = randomBytes(Number(keySpec.slice(4)) / 8);
  modulus[0] = 0xc0;
  modulus[modulus.length - 1] = 0x0f;
  const jwk = { kty: 'RSA', n: modulus.toString('base64url'), e: 'AQAB' };
  const publicKey = createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'der', type: 'spki' });
  // Safe: the function under test reads these members alone.
  const key = { record: { keySpec }, currentBackingKey: { record: { publicKey } } } as unknown as KmsKey;
  return authorizeKey(key);
}

describe.each([
  ['RSA_2048', 'RSAES_OAEP_SHA_1', 214],
  ['RSA_2048', 'RSAES_OAEP_SHA_256', 190],
  ['RSA_3072', 'RSAES_OAEP_SHA_1', 342],
  ['RSA_3072', 'RSAES_OAEP_SHA_256', 318],
  ['RSA_4096', 'RSAES_OAEP_SHA_1', 470],
  ['RSA_4096', 'RSAES_OAEP_SHA_256', 446],
] as const)('%s with %s', (keySpec, algorithm, maxBytes) => {
  const key = keyOf(keySpec);
  test(`takes ${maxBytes} bytes and not one more`, () => {
    expect(() => assertFits(key, algorithm, new Plaintext(Buffer.alloc(maxBytes)))).not.toThrow();
    expect(() => assertFits(key, algorithm, new Plaintext(Buffer.alloc(maxBytes + 1)))).toThrow(
      expect.objectContaining({
        name: 'ValidationException',
        message: `Algorithm ${algorithm} and key spec ${keySpec} cannot encrypt data larger than ${maxBytes} bytes.`,
      }),
    );
  });
});
