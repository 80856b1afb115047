/**
 * RSA-OAEP: its mechanisms, one row per KMS algorithm, and EME-OAEP decoding for tokens that cannot do it with the hash that is wanted:
 * RFC 8017, section 7.1.2, step 3.
 *
 * For these the token does the private operation (`CKM_RSA_X_509`); what it gives back is unpadded here, in the HSM host. Should an
 * attacker learn in which way a padding was wrong, above all whether the first byte was zero, he could decrypt any
 * ciphertext with about a thousand questions (J. Manger, CRYPTO 2001). So there is one failure, and it is found by going through all
 * bytes without branching on any: every check adds to one word, which is looked at once, at the end. JavaScript promises
 * nothing about time; what is done here is the same sequence of operations for every input of one length, until success
 * is certain.
 *
 * The label is empty, as in KMS. Key material on its way into a token comes through here only where the token's memory is this process
 * (`unwrapping.ts`).
 */

import { createHash } from 'node:crypto';
import { secretMemory } from '../../../secrets/secret-memory.ts';
import { constant, type Mechanism } from '../token/cryptoki.ts';

export interface OaepAlgorithm {
  readonly hash: 'sha1' | 'sha256';
  readonly mechanism: Mechanism;
}

const oaep = (hash: OaepAlgorithm['hash'], hashAlg: string, mgf: string): OaepAlgorithm => ({
  hash,
  mechanism: {
    mechanism: constant('CKM_RSA_PKCS_OAEP'),
    parameter: {
      type: constant('CK_PARAMS_RSA_OAEP'),
      hashAlg: constant(hashAlg),
      mgf: constant(mgf),
      source: constant('CKZ_DATA_SPECIFIED'),
    },
  },
});

export const oaepAlgorithms: ReadonlyMap<string, OaepAlgorithm> = new Map([
  ['RSAES_OAEP_SHA_1', oaep('sha1', 'CKM_SHA_1', 'CKG_MGF1_SHA1')],
  ['RSAES_OAEP_SHA_256', oaep('sha256', 'CKM_SHA256', 'CKG_MGF1_SHA256')],
]);

/** The message, in memory of its own, or `null` for whatever is wrong. `encoded` is the caller's to wipe. */
export function decodeOaep(encoded: Buffer, hash: 'sha1' | 'sha256'): Buffer | null {
  // 3a. The hash of the empty label.
  const labelHash = createHash(hash).digest();
  const hashBytes = labelHash.length;
  const dataBytes = encoded.length - hashBytes - 1;
  // The length of a modulus, which is public: no key of KMS is this short.
  if (dataBytes < hashBytes + 1) return null;

  // 3b. EM = Y || maskedSeed || maskedDB.
  const data = secretMemory(dataBytes);
  const seed = secretMemory(hashBytes);
  encoded.copy(seed, 0, 1, 1 + hashBytes);
  encoded.copy(data, 0, 1 + hashBytes);
  // 3c to 3f. Unmask the seed by the data, then the data by the seed.
  unmask(seed, data, hash);
  unmask(data, seed, hash);

  // 3g. DB = lHash' || PS || 01 || M; Y must be 0, lHash' as above, PS zeroes.
  let wrong = encoded.readUInt8(0);
  for (let at = 0; at < hashBytes; at++) wrong |= data.readUInt8(at) ^ labelHash.readUInt8(at);
  /** All ones until the separator was met, then 0. */
  let searching = -1;
  let messageAt = 0;
  for (let at = hashBytes; at < dataBytes; at++) {
    const byte = data.readUInt8(at);
    const isSeparator = isZero(byte ^ 1) & searching;
    messageAt |= (at + 1) & isSeparator;
    searching &= ~isSeparator;
    // While searching, a byte is 0 or (just now) the separator.
    wrong |= byte & searching;
  }
  wrong |= searching;

  const message = wrong === 0 ? secretMemory(dataBytes - messageAt) : null;
  if (message !== null) data.copy(message, 0, messageAt);
  data.fill(0);
  seed.fill(0);
  return message;
}

/** `target` XOR MGF1(`seed`), in place: RFC 8017, appendix B.2.1. */
function unmask(target: Buffer, seed: Buffer, hash: string): void {
  const counter = Buffer.alloc(4);
  for (let at = 0, block = 0; at < target.length; block++) {
    counter.writeUInt32BE(block);
    const mask = createHash(hash).update(seed).update(counter).digest();
    for (let index = 0; index < mask.length && at < target.length; index++, at++)
      target.writeUInt8(target.readUInt8(at) ^ mask.readUInt8(index), at);
    mask.fill(0);
  }
}

/** All ones for 0, else 0; for values of one byte. */
function isZero(byte: number): number {
  return (byte - 1) >> 31;
}
