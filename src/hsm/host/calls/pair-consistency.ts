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
  if ((isRsa && !hasConsistentComponents(numbersOf(jwk))) || !verifiesOwnSignature(publicKey, privateKey))
    throw new HostFailure('internal', 'the halves of the new data key pair do not belong together');
}

/** Does the private half sign what the public half, SubjectPublicKeyInfo in DER, verifies? */
export function verifiesOwnSignature(publicKey: Buffer, privateKey: KeyObject): boolean {
  const hash = privateKey.asymmetricKeyType === 'ed25519' ? null : 'sha256';
  try {
    const verifier = createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
    return verify(hash, message, verifier, sign(hash, message, privateKey));
  } catch {
    // OpenSSL refuses to sign with components that cannot be; what it says may quote them.
    return false;
  }
}

/** The components of an RSA key by their names in RFC 8017, section 3.2. */
type RsaNumbers = Readonly<Record<'n' | 'e' | 'd' | 'p' | 'q' | 'dp' | 'dq' | 'qi', bigint | undefined>>;

/** Does each component of an RSA key follow from the others, and is it as small as it is defined to be? */
export function hasConsistentComponents(numbers: RsaNumbers): boolean {
  const { n = 0n, e = 0n, d = 0n, p = 0n, q = 0n, dp = 0n, dq = 0n, qi = 0n } = numbers;
  if (p <= 1n || q <= 1n || p === q || p * q !== n || d >= n) return false;
  if (dp >= p || dq >= q || qi >= p) return false;
  const isInverse = (exponent: bigint, prime: bigint) => (e * exponent) % (prime - 1n) === 1n;
  return isInverse(d, p) && isInverse(d, q) && isInverse(dp, p) && isInverse(dq, q) && (qi * q) % p === 1n;
}

function numbersOf({ n, e, d, p, q, dp, dq, qi }: JsonWebKey): RsaNumbers {
  return {
    n: number(n),
    e: number(e),
    d: number(d),
    p: number(p),
    q: number(q),
    dp: number(dp),
    dq: number(dq),
    qi: number(qi),
  };
}

function number(component: string | undefined): bigint {
  return BigInt(`0x0${Buffer.from(component ?? '', 'base64url').toString('hex')}`);
}
