/**
 * Import tokens: what GetParametersForImport gives back beside a public key, and what ImportKeyMaterial takes with what was
 * encrypted under it. A token is 73 bytes:
 *
 *      1 byte   version, 1
 *     16 bytes  of the id of the KMS key
 *     16 bytes  the wrapping key's `CKA_ID`, to whose record Region, wrapping algorithm and key store belong
 *      8 bytes  until when it is good: milliseconds since the epoch, big-endian
 *     32 bytes  HMAC-SHA-256 over all of these
 *
 * It is good for as long as the wrapping key is there, any number of times and for whoever may import into the key, as in AWS.
 * When it ends stands in it as well, so that a token whose wrapping key is gone is still known to have expired. The key of the
 * HMAC is derived by the HSM from the service key at each start and held in memory: a token authorizes nothing by itself.
 */

import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { KmsError } from '../kms/errors.ts';
import { type BackingKeyId, digitsOfKeyId, type KeyId, parseBackingKeyId } from '../kms/names.ts';

const version = 1;
const idBytes = 16;
const signedBytes = 1 + 2 * idBytes + 8;
const macBytes = 32;
const tokenBytes = signedBytes + macBytes;

/** Its time has ended, or what it is good for is gone: there is another one for the asking. */
export function expiredImportToken(cause?: unknown): KmsError {
  return new KmsError(
    'ExpiredImportTokenException',
    'The specified import token is expired. Use GetParametersForImport to get a new import token and public key.',
    cause,
  );
}

/** What a token says. */
export interface ImportToken {
  /** 32 hexadecimal digits. */
  readonly keyIdDigits: string;
  readonly wrappingKeyId: BackingKeyId;
  readonly validToMs: number;
}

export class ImportTokens {
  readonly #key: KeyObject;

  /** @param key 32 bytes that nobody else has. */
  constructor(key: Buffer) {
    this.#key = createSecretKey(key);
  }

  issue(keyId: KeyId, wrappingKeyId: BackingKeyId, validToMs: number): Buffer {
    const token = Buffer.alloc(tokenBytes);
    token[0] = version;
    token.write(digitsOfKeyId(keyId), 1, idBytes, 'hex');
    token.write(wrappingKeyId, 1 + idBytes, idBytes, 'hex');
    token.writeBigUInt64BE(BigInt(validToMs), 1 + 2 * idBytes);
    this.#mac(token.subarray(0, signedBytes)).copy(token, signedBytes);
    return token;
  }

  /** What the token says; `undefined` for what is no token of this daemon. */
  read(token: Buffer): ImportToken | undefined {
    if (token.length !== tokenBytes) return undefined;
    const signed = token.subarray(0, signedBytes);
    if (!timingSafeEqual(token.subarray(signedBytes), this.#mac(signed)) || signed[0] !== version) return undefined;
    const wrappingKeyId = parseBackingKeyId(signed.toString('hex', 1 + idBytes, 1 + 2 * idBytes));
    if (wrappingKeyId === undefined) return undefined;
    const keyIdDigits = signed.toString('hex', 1, 1 + idBytes);
    return { keyIdDigits, wrappingKeyId, validToMs: Number(signed.readBigUInt64BE(1 + 2 * idBytes)) };
  }

  #mac(signed: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(signed).digest();
  }
}
