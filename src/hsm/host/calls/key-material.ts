/**
 * Key material in the clear, on its way into a token: is it what its KeySpec says, to the last byte?
 *
 * Only for tokens whose memory is this process (`imports.software`), which do not look themselves: SoftHSM2 2.6.1 and NSS softoken 3.87
 * take AES keys of any length, RSA with 1,024 bits, another curve, and whatever stands behind a PKCS#8; SoftHSM2 takes RSA keys with
 * wrong components as well. A secret has exactly the length of its KeySpec. A private key is one PKCS#8 in strict DER with
 * nothing behind it, of the algorithm, size and curve of its KeySpec, whose components agree with each other.
 *
 * What is returned are views of the material where it is secret, wiped with it. Accepted: numbers that are compared become big
 * integers, which cannot be wiped; they lie in this process's memory, which dumps no core, until the engine collects them. Why
 * material is refused is told to operators in words that carry none of it.
 *
 * Source: RFC 5208 (PKCS#8), RFC 8017 appendix A.1.2 (RSAPrivateKey), RFC 5915 (ECPrivateKey), RFC 8410 (Ed25519); FIPS 186-5, appendix
 * A.1.1 (the public exponent is odd and between 2^16 and 2^256, each prime has half as many bits as the modulus).
 */

import { createECDH, createPrivateKey, createPublicKey } from 'node:crypto';
import { type Attribute, constant } from '../token/cryptoki.ts';
import type { Curve } from '../token/curves.ts';
import { DerError, DerReader, onlyValue, shortValue, tags } from '../token/der.ts';
import { HostFailure } from '../token/failures.ts';
import type { HostKeySpec } from '../token/pkcs11-key-specs.ts';
import { curvePublicKey, rsaPublicKey } from '../token/subject-public-keys.ts';
import { hasConsistentComponents, verifiesOwnSignature } from './pair-consistency.ts';

export interface KeyMaterial {
  /** What `C_CreateObject` makes the secret or private key of, beside what every key has. */
  readonly values: readonly Attribute[];
  /** SubjectPublicKeyInfo, DER, of a pair. */
  readonly publicKey: Buffer | null;
}

const rsaEncryption = Buffer.from('2a864886f70d010101', 'hex');
const idEcPublicKey = Buffer.from('2a8648ce3d0201', 'hex');
const idEd25519 = Buffer.from('2b6570', 'hex');

/** In the order of RSAPrivateKey, behind the version. */
const rsaAttributes = [
  'CKA_MODULUS',
  'CKA_PUBLIC_EXPONENT',
  'CKA_PRIVATE_EXPONENT',
  'CKA_PRIME_1',
  'CKA_PRIME_2',
  'CKA_EXPONENT_1',
  'CKA_EXPONENT_2',
  'CKA_COEFFICIENT',
] as const;

/** Throws `HostFailure` (`materialInvalid`). `bytes` are the caller's to wipe. */
export function readKeyMaterial(bytes: Buffer, row: HostKeySpec): KeyMaterial {
  if (row.objectClass === 'CKO_SECRET_KEY') return secretOf(bytes, row);
  try {
    const { algorithm, privateKey } = readPkcs8(bytes);
    if (row.curve === null) return rsaOf(bytes, algorithm, privateKey, row);
    if (row.curve.keyType === 'OKP') return edwardsOf(bytes, algorithm, privateKey, row.curve);
    return ecOf(algorithm, privateKey, row.curve);
  } catch (error) {
    if (!(error instanceof DerError)) throw error;
    throw new HostFailure('materialInvalid', `the key material is not one PKCS#8 in DER: ${error.message}`);
  }
}

function secretOf(bytes: Buffer, { keyBits }: HostKeySpec): KeyMaterial {
  if (bytes.length * 8 !== keyBits)
    throw new HostFailure('materialInvalid', `the key material has ${bytes.length} bytes, not ${keyBits / 8}`);
  return { values: [{ type: constant('CKA_VALUE'), value: bytes }], publicKey: null };
}

/** PrivateKeyInfo. Attributes are allowed, as Windows writes them, and are not looked at. */
function readPkcs8(bytes: Buffer): { readonly algorithm: DerReader; readonly privateKey: Buffer } {
  const info = new DerReader(onlyValue(bytes, tags.sequence));
  if (!info.readUnsigned().equals(Buffer.from([0]))) throw new DerError('its version is not 0');
  const algorithm = new DerReader(info.read(tags.sequence));
  const privateKey = info.read(tags.octetString);
  info.readIf(tags.context0);
  info.end();
  return { algorithm, privateKey };
}

function assertAlgorithm(algorithm: DerReader, identifier: Buffer, title: string): void {
  if (algorithm.read(tags.objectIdentifier).equals(identifier)) return;
  throw new HostFailure('materialInvalid', `the private key is not one of ${title}`);
}

function rsaOf(bytes: Buffer, algorithm: DerReader, privateKey: Buffer, { keyBits }: HostKeySpec): KeyMaterial {
  assertAlgorithm(algorithm, rsaEncryption, 'RSA');
  algorithm.read(tags.null);
  algorithm.end();
  const reader = new DerReader(onlyValue(privateKey, tags.sequence));
  if (!reader.readUnsigned().equals(Buffer.from([0]))) throw new DerError('it has more than two primes');
  const components = rsaAttributes.map((name) => ({ name, value: reader.readUnsigned() }));
  reader.end();
  const [n, e, d, p, q, dp, dq, qi] = components.map(({ value }) => BigInt(`0x${value.toString('hex')}`));
  const modulusBits = (n ?? 0n).toString(2).length;
  if (modulusBits !== keyBits)
    throw new HostFailure('materialInvalid', `the modulus has ${modulusBits} bits, not ${keyBits}`);
  if (e === undefined || e % 2n === 0n || e <= 1n << 16n || e >= 1n << 256n)
    throw new HostFailure('materialInvalid', 'the public exponent is even, or not between 2^16 and 2^256');
  if (!hasConsistentComponents({ n, e, d, p, q, dp, dq, qi }))
    throw new HostFailure('materialInvalid', 'the components of the private key do not belong together');
  const values = components.map(({ name, value }) => ({ type: constant(name), value }));
  const [modulus, exponent] = components.map(({ value }) => value);
  if (modulus === undefined || exponent === undefined) throw new Error('unreachable: RSA has both');
  const publicKey = rsaPublicKey(modulus, exponent);
  // Components can follow from each other without any prime, and with such a key libraries fail instead of answering (SoftHSM2:
  // CKR_GENERAL_ERROR). To prove primes takes OpenSSL a second where one signature tells as much.
  const isHalf = (factor = 0n) => factor.toString(2).length * 2 === keyBits;
  if (!isHalf(p) || !isHalf(q))
    throw new HostFailure('materialInvalid', `the factors of the modulus are no primes of ${keyBits / 2} bits`);
  if (!doesSign(bytes, publicKey))
    throw new HostFailure('materialInvalid', 'OpenSSL signs nothing with the private key: its factors are no primes');
  return { values, publicKey };
}

function doesSign(bytes: Buffer, publicKey: Buffer): boolean {
  try {
    return verifiesOwnSignature(publicKey, createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' }));
  } catch {
    // The cause may quote it.
    return false;
  }
}

/** The public point is computed from the private key; one that the material has must be that. */
function ecOf(algorithm: DerReader, privateKey: Buffer, curve: Curve): KeyMaterial {
  assertAlgorithm(algorithm, idEcPublicKey, curve.title);
  // `ecParams` is the identifier with its tag and length.
  const named = Buffer.from(curve.ecParams[0] ?? '', 'hex').subarray(2);
  const assertCurve = (identifier: Buffer) => {
    if (!identifier.equals(named)) throw new HostFailure('materialInvalid', `the private key is not on ${curve.title}`);
  };
  const parameters = algorithm.readIf(tags.objectIdentifier);
  if (parameters === undefined) throw new HostFailure('materialInvalid', 'the private key does not name its curve');
  assertCurve(parameters);
  algorithm.end();
  const reader = new DerReader(onlyValue(privateKey, tags.sequence));
  if (!reader.readUnsigned().equals(Buffer.from([1]))) throw new DerError('the version of the ECPrivateKey is not 1');
  const scalar = reader.read(tags.octetString);
  const ownParameters = reader.readIf(tags.context0);
  if (ownParameters !== undefined) assertCurve(onlyValue(ownParameters, tags.objectIdentifier));
  const bits = reader.readIf(tags.context1);
  reader.end();
  if (scalar.length !== curve.fieldBytes)
    throw new HostFailure('materialInvalid', `a private key of ${curve.title} has ${curve.fieldBytes} bytes`);
  const pair = createECDH(curve.namedCurve);
  try {
    pair.setPrivateKey(scalar);
  } catch {
    // The cause may quote it.
    throw new HostFailure('materialInvalid', `the private key is 0, or not below the order of ${curve.title}`);
  }
  const point = pair.getPublicKey();
  if (bits !== undefined) {
    const stated = onlyValue(bits, tags.bitString);
    const isPoint = [point, pair.getPublicKey(null, 'compressed')].some((form) =>
      stated.equals(Buffer.concat([Buffer.alloc(1), form])),
    );
    if (!isPoint)
      throw new HostFailure('materialInvalid', 'the public key inside of the private key belongs to another one');
  }
  return onCurve(scalar, point, curve, 0);
}

function edwardsOf(bytes: Buffer, algorithm: DerReader, privateKey: Buffer, curve: Curve): KeyMaterial {
  assertAlgorithm(algorithm, idEd25519, curve.title);
  algorithm.end();
  const seed = onlyValue(privateKey, tags.octetString);
  if (seed.length !== curve.fieldBytes)
    throw new HostFailure('materialInvalid', `a private key of ${curve.title} has ${curve.fieldBytes} bytes`);
  const { x } = createPublicKey(createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' })).export({
    format: 'jwk',
  });
  // SoftHSM2 2.6.1 reads the name of the curve, and no identifier, of a private key back.
  return onCurve(seed, Buffer.from(x ?? '', 'base64url'), curve, 1);
}

function onCurve(value: Buffer, point: Buffer, curve: Curve, which: 0 | 1): KeyMaterial {
  return {
    values: [ecParamsOf(curve, which), { type: constant('CKA_VALUE'), value }],
    publicKey: curvePublicKey(point, curve),
  };
}

/** What `C_CreateObject` makes the public half of a pair of. */
export function publicKeyValues(subjectPublicKeyInfo: Buffer, { curve }: HostKeySpec): readonly Attribute[] {
  const { n, e, x, y } = createPublicKey({ key: subjectPublicKeyInfo, format: 'der', type: 'spki' }).export({
    format: 'jwk',
  });
  const bytesOf = (member: string | undefined) => Buffer.from(member ?? '', 'base64url');
  if (curve === null)
    return [
      { type: constant('CKA_MODULUS'), value: bytesOf(n) },
      { type: constant('CKA_PUBLIC_EXPONENT'), value: bytesOf(e) },
    ];
  const point = curve.keyType === 'OKP' ? bytesOf(x) : Buffer.concat([Buffer.from([4]), bytesOf(x), bytesOf(y)]);
  return [ecParamsOf(curve, 0), { type: constant('CKA_EC_POINT'), value: shortValue(tags.octetString, point) }];
}

function ecParamsOf(curve: Curve, which: 0 | 1): Attribute {
  return { type: constant('CKA_EC_PARAMS'), value: Buffer.from(curve.ecParams[which] ?? '', 'hex') };
}
