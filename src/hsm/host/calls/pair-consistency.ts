/**
 * Do the halves of a pair that was read out of a token belong together? Asked before a data key pair is given away: what
 * somebody encrypts for a public key whose private half nobody has is lost, and that is noticed long after.
 *
 * The private half signs and the public half, in the form in which it goes out, verifies: the pairwise consistency test of FIPS
 * 140-3 (implementation guidance 10.3.A). OpenSSL alone would not notice: it takes the point of a private key as it is told
 * and computes no other. With RSA it signs by way of the primes and looks at `d` when that went wrong only, so for RSA all
 * components are compared with each other as well (SP 800-56B revision 2, section 6.4.1.2.3, without the search for factors of
 * the primes): other programs use other components of the same key.
 */

import { createPublicKey, type JsonWebKey, type KeyObject, sign, verify } from 'node:crypto';
import { HostFailure } from '../token/failures.ts';

const message = Buffer.from('pairwise consistency');

export interface PairHalves {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
  readonly privateKey: KeyObject;
  /** What the private key was made of. */
  readonly jwk: JsonWebKey;
}

/** Throws `HostFailure` (`internal`). */
export function assertConsistentPair({ publicKey, privateKey, jwk }: PairHalves): void {
  const isRsa = jwk.kty === 'RSA';
  if ((isRsa && !hasConsistentComponents(jwk)) || !verifiesOwnSignature(publicKey, privateKey))
    throw new HostFailure('internal', 'the halves of the new data key pair do not belong together');
}

function verifiesOwnSignature(publicKey: Buffer, privateKey: KeyObject): boolean {
  const hash = privateKey.asymmetricKeyType === 'ed25519' ? null : 'sha256';
  try {
    const verifier = createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
    return verify(hash, message, verifier, sign(hash, message, privateKey));
  } catch {
    // OpenSSL refuses to sign with components that cannot be; what it says may quote them.
    return false;
  }
}

function hasConsistentComponents(jwk: JsonWebKey): boolean {
  const [n, e, d] = [number(jwk.n), number(jwk.e), number(jwk.d)];
  const [p, q] = [number(jwk.p), number(jwk.q)];
  const [dp, dq, qi] = [number(jwk.dp), number(jwk.dq), number(jwk.qi)];
  if (p <= 1n || q <= 1n || p === q || p * q !== n) return false;
  const isInverse = (exponent: bigint, prime: bigint) => (e * exponent) % (prime - 1n) === 1n;
  return isInverse(d, p) && isInverse(d, q) && isInverse(dp, p) && isInverse(dq, q) && (qi * q) % p === 1n;
}

function number(component: string | undefined): bigint {
  return BigInt(`0x0${Buffer.from(component ?? '', 'base64url').toString('hex')}`);
}
