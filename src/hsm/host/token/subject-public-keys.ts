/**
 * Public keys on their way out of the token and into it: RSA components, curve points and ML-DSA's bytes to and from the X.509
 * SubjectPublicKeyInfo that KMS speaks. The DER is OpenSSL's, by way of JWK; nothing is put together by hand.
 */

import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import type { Curve } from './curves.ts';
import { HostFailure } from './failures.ts';
import { type ParameterSet, parameterSets } from './parameter-sets.ts';

/** The algorithm of a SubjectPublicKeyInfo on a curve, which the curve's name follows (RFC 5480, section 2.1.1). */
const idEcPublicKey = '06072a8648ce3d0201';
/** Where the algorithm stands: after the headers of two SEQUENCEs, the first of which has a length of one or two bytes. */
const algorithmOffsets: readonly number[] = [4, 5];

/** From `CKA_MODULUS` and `CKA_PUBLIC_EXPONENT`. Throws `HostFailure` (`internal`) for what is no public key. */
export function rsaPublicKey(modulus: Buffer, publicExponent: Buffer): Buffer {
  return spki({ kty: 'RSA', n: base64url(modulus), e: base64url(publicExponent) });
}

/** `ecPoint` is `CKA_EC_POINT`. Throws `HostFailure` (`internal`) for what is no point on the curve. */
export function curvePublicKey(ecPoint: Buffer, curve: Curve): Buffer {
  return spki(publicJwk(ecPoint, curve));
}

/** `value` is `CKA_VALUE`, which is the public key as FIPS 204 encodes it (section 7.2). Throws `HostFailure` (`internal`). */
export function mlDsaPublicKey(value: Buffer, parameterSet: ParameterSet): Buffer {
  if (value.length !== parameterSet.publicKeyBytes)
    throw new HostFailure(
      'internal',
      `CKA_VALUE has ${value.length} bytes, which no public key of ${parameterSet.title} has`,
    );
  return spki({ kty: 'AKP', alg: parameterSet.title, pub: base64url(value) });
}

/** Why this Node.js cannot verify what an ML-DSA key signs, or `null`: such a key would be of no use to anybody here. */
export function whyNoMlDsa(): string | null {
  const { title, publicKeyBytes } = parameterSets.ML_DSA_44;
  try {
    // Whatever has the right length is a public key.
    createPublicKey({ key: { kty: 'AKP', alg: title, pub: base64url(Buffer.alloc(publicKeyBytes)) }, format: 'jwk' });
    return null;
  } catch {
    // Which error it is depends on the version; what it takes does not.
    return `Node.js ${process.versions.node} with OpenSSL ${process.versions.openssl} has no ML-DSA; 24.6 and later have it`;
  }
}

/**
 * The JWK of a point. PKCS#11 wraps a point into an OCTET STRING, and some tokens do not; it has a known length and is
 * what stands last in either.
 */
export function publicJwk(ecPoint: Buffer, curve: Curve): JsonWebKey {
  const point = ecPoint.subarray(Math.max(0, ecPoint.length - curve.pointBytes));
  const isWeierstrass = curve.keyType === 'EC';
  if (point.length !== curve.pointBytes || (isWeierstrass && point[0] !== 4))
    throw new HostFailure('internal', `CKA_EC_POINT has no point of ${curve.title}`);
  if (!isWeierstrass) return { kty: curve.keyType, crv: curve.jwk, x: base64url(point) };
  const x = point.subarray(1, 1 + curve.fieldBytes);
  const y = point.subarray(1 + curve.fieldBytes);
  return { kty: curve.keyType, crv: curve.jwk, x: base64url(x), y: base64url(y) };
}

/**
 * The point (04, x, y) of a peer's public key, for key agreement. A point that is not on the key's curve would let the peer
 * learn the private key bit by bit from what comes out (invalid-curve attack), and tokens do not all look; so OpenSSL decodes it, which
 * takes only points that are on the curve, and the curve must be the key's own, named and not spelled out. The curves of
 * KMS have the cofactor 1: no other point is of small order but infinity, which has no coordinates.
 *
 * The key must be DER to the last bit, with nothing behind it: OpenSSL reads BER and leaves what follows, and then one key
 * had many texts, and bytes that nobody looked at could speak for the curve. A point may be compressed.
 *
 * Throws `HostFailure` (`publicKeyInvalid`).
 */
export function peerPoint(subjectPublicKeyInfo: Buffer, curve: Curve): Buffer {
  const { jwk, der } = decodePeer(subjectPublicKeyInfo);
  if (jwk.kty !== 'EC' || jwk.crv !== curve.jwk || jwk.x === undefined || jwk.y === undefined)
    throw new HostFailure('publicKeyInvalid', `the public key is not one of ${curve.title}`);
  // OpenSSL 3 takes a curve that is spelled out for the named one that it equals, and any cofactor with it.
  const namesCurve = curve.ecParams.some((params) =>
    algorithmOffsets.includes(subjectPublicKeyInfo.indexOf(`${idEcPublicKey}${params}`, 0, 'hex')),
  );
  if (!namesCurve) throw new HostFailure('publicKeyInvalid', `the public key does not name ${curve.title}`);
  if (!der.equals(subjectPublicKeyInfo)) throw new HostFailure('publicKeyInvalid', 'the public key is not DER');
  const coordinates = [jwk.x, jwk.y].map((text) => Buffer.from(text, 'base64url'));
  const point = Buffer.concat([Buffer.from([4]), ...coordinates]);
  if (point.length === curve.pointBytes) return point;
  throw new HostFailure('publicKeyInvalid', `the public key is not a point of ${curve.title}`);
}

/** The key, and how it is written in DER with its point in the form that it has here. */
function decodePeer(subjectPublicKeyInfo: Buffer): { readonly jwk: JsonWebKey; readonly der: Buffer } {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: subjectPublicKeyInfo, format: 'der', type: 'spki' });
    return { jwk: key.export({ format: 'jwk' }), der: key.export({ format: 'der', type: 'spki' }) };
  } catch (cause) {
    throw new HostFailure('publicKeyInvalid', 'the public key cannot be decoded', { cause });
  }
}

function spki(key: JsonWebKey): Buffer {
  try {
    return createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'der' });
  } catch (cause) {
    throw new HostFailure('internal', 'the token gave a public key that is none', { cause });
  }
}

function base64url(bytes: Buffer): string {
  return bytes.toString('base64url');
}
