/**
 * Grant tokens: what CreateGrant gives back beside the grant's id, and what names the grant in `GrantTokens` and RetireGrant.
 *
 * In AWS a token makes a new grant usable before it has reached every part of the service. Here a grant is in force when
 * CreateGrant answers, so a token changes no decision: it names a grant, and whoever shows it still needs to be the
 * grantee. Nobody can make one up all the same. A token is 81 bytes in base64url:
 *
 *      1 byte   version, 1
 *     32 bytes  the grant's id
 *     16 bytes  random, so that each CreateGrant answers with a token of its own
 *     32 bytes  HMAC-SHA-256 over all of these
 *
 * The key of the HMAC is derived by the HSM from the service key at each start and held in memory: a token authorizes
 * nothing by itself, so it is not worth a round trip to the HSM for each request that carries ten.
 */

import { createHmac, createSecretKey, type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto';
import { type GrantId, parseGrantId } from '../../kms/grant-terms.ts';

const version = 1;
const idBytes = 32;
const nonceBytes = 16;
const macBytes = 32;
const signedBytes = 1 + idBytes + nonceBytes;
const tokenBytes = signedBytes + macBytes;
const tokenPattern = new RegExp(`^[\\w-]{${(tokenBytes / 3) * 4}}$`);

export class GrantTokens {
  readonly #key: KeyObject;

  /** @param key 32 bytes that nobody else has. */
  constructor(key: Buffer) {
    this.#key = createSecretKey(key);
  }

  issue(grantId: GrantId): string {
    const signed = Buffer.concat([Buffer.of(version), Buffer.from(grantId, 'hex'), randomBytes(nonceBytes)]);
    return Buffer.concat([signed, this.#mac(signed)]).toString('base64url');
  }

  /** The grant that the token names; `undefined` for what is no token of this daemon. The grant may be gone. */
  read(token: string): GrantId | undefined {
    if (!tokenPattern.test(token)) return undefined;
    const bytes = Buffer.from(token, 'base64url');
    const signed = bytes.subarray(0, signedBytes);
    if (!timingSafeEqual(bytes.subarray(signedBytes), this.#mac(signed)) || signed[0] !== version) return undefined;
    return parseGrantId(signed.toString('hex', 1, 1 + idBytes));
  }

  #mac(signed: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(signed).digest();
  }
}
