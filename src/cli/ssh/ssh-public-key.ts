/**
 * Public keys as OpenSSH writes them, from and to the SubjectPublicKeyInfo that the KMS API has.
 *
 * OpenSSH knows Ed25519, the three NIST curves and RSA. A key of another kind (secp256k1, SM2, ML-DSA) has no such form.
 *
 * Source: RFC 4253 section 6.6 (ssh-rsa), RFC 5656 section 3.1 (ecdsa-sha2-*), RFC 8709 section 4 (ssh-ed25519);
 * OpenSSH, PROTOCOL.certkeys, for where the key stands in a certificate.
 */

import { createHash, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import type { SigningAlgorithm } from '../../kms/algorithms.ts';
import { mpint, SshFormatError, SshReader, sshString } from './ssh-encoding.ts';

/** A signature algorithm of SSH and what it is called in KMS. */
export interface SshSigning {
  readonly name: string;
  readonly kms: SigningAlgorithm;
}

interface SshKeyType {
  readonly name: string;
  /** The members of a JSON Web Key that tell the type, RFC 7518 and 8037. */
  readonly kty: 'RSA' | 'EC' | 'OKP';
  readonly crv?: string;
  /** Elliptic curves: OpenSSH's name and the length of a coordinate. */
  readonly curve?: string;
  readonly coordinateBytes?: number;
  /** Which signatures it makes; the first is what is taken if nobody asks for another. */
  readonly signings: readonly [SshSigning, ...SshSigning[]];
}

const sshKeyTypes: readonly SshKeyType[] = [
  { name: 'ssh-ed25519', kty: 'OKP', crv: 'Ed25519', signings: [{ name: 'ssh-ed25519', kms: 'ED25519_SHA_512' }] },
  ellipticCurve('P-256', 'nistp256', 32, 'ECDSA_SHA_256'),
  ellipticCurve('P-384', 'nistp384', 48, 'ECDSA_SHA_384'),
  ellipticCurve('P-521', 'nistp521', 66, 'ECDSA_SHA_512'),
  {
    name: 'ssh-rsa',
    kty: 'RSA',
    // `ssh-rsa` itself, with SHA-1, is no more (RFC 8332).
    signings: [
      { name: 'rsa-sha2-512', kms: 'RSASSA_PKCS1_V1_5_SHA_512' },
      { name: 'rsa-sha2-256', kms: 'RSASSA_PKCS1_V1_5_SHA_256' },
    ],
  },
];

/** RFC 5656 6.2.1: the hash goes by the size of the curve. */
function ellipticCurve(crv: string, curve: string, coordinateBytes: number, kms: SigningAlgorithm): SshKeyType {
  const name = `ecdsa-sha2-${curve}`;
  return { name, kty: 'EC', crv, curve, coordinateBytes, signings: [{ name, kms }] };
}

const certificateSuffix = '-cert-v01@openssh.com';

export interface SshPublicKey {
  readonly type: SshKeyType;
  /** The wire format, which is also what a `.pub` file has in base64. */
  readonly blob: Buffer;
  readonly key: KeyObject;
}

/** @param der SubjectPublicKeyInfo. @throws Error for a kind that OpenSSH has not. */
export function sshKeyOfSpki(der: Buffer): SshPublicKey {
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
  const jwk = jwkOf(key);
  const type = sshKeyTypes.find(({ kty, crv }) => kty === jwk?.kty && (crv === undefined || crv === jwk.crv));
  if (jwk === undefined || type === undefined) {
    const kind = key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType;
    throw new Error(
      `OpenSSH has no keys of this kind (${kind}): Ed25519, P-256, P-384, P-521 and RSA are what it knows`,
    );
  }
  return { type, blob: Buffer.concat([sshString(type.name), fieldsOf(type, jwk)]), key };
}

function jwkOf(key: KeyObject): JsonWebKey | undefined {
  try {
    return key.export({ format: 'jwk' });
  } catch {
    return undefined; // A kind that has no such form; its name is in the error that follows.
  }
}

function fieldsOf({ kty, curve }: SshKeyType, { x = '', y = '', n = '', e = '' }: JsonWebKey): Buffer {
  const bytes = (member: string): Buffer => Buffer.from(member, 'base64url');
  if (kty === 'RSA') return Buffer.concat([mpint(bytes(e)), mpint(bytes(n))]);
  if (kty === 'OKP') return sshString(bytes(x));
  return Buffer.concat([sshString(curve ?? ''), sshString(Buffer.concat([Buffer.of(4), bytes(x), bytes(y)]))]);
}

/**
 * @param blob A public key, or a certificate, of which the key is taken and nothing else looked at.
 * @throws SshFormatError
 */
export function readSshKey(blob: Buffer): SshPublicKey {
  const reader = new SshReader(blob);
  const name = reader.text();
  const isCertificate = name.endsWith(certificateSuffix);
  const type = sshKeyTypes.find(
    (each) => each.name === (isCertificate ? name.slice(0, -certificateSuffix.length) : name),
  );
  if (type === undefined) throw new SshFormatError(`\`${name}\` is no type of key that is known here`);
  if (isCertificate) reader.string(); // The nonce.
  const jwk = readFields(type, reader);
  if (!isCertificate) reader.end();
  let key: KeyObject;
  try {
    key = createPublicKey({ key: jwk, format: 'jwk' });
  } catch (error) {
    throw new SshFormatError(`it is no ${type.name} key`, { cause: error });
  }
  return { type, blob: Buffer.concat([sshString(type.name), fieldsOf(type, jwk)]), key };
}

function readFields({ kty, crv, curve, coordinateBytes = 0 }: SshKeyType, reader: SshReader): JsonWebKey {
  const member = (bytes: Buffer): string => bytes.toString('base64url');
  if (kty === 'RSA') {
    const e = reader.mpint();
    return { kty, e: member(e), n: member(reader.mpint()) };
  }
  if (kty === 'OKP') return { kty, crv: crv ?? '', x: member(reader.string()) };
  const named = reader.text();
  const point = reader.string();
  if (named !== curve || point[0] !== 4 || point.length !== 1 + 2 * coordinateBytes) {
    throw new SshFormatError(`it is no point of ${curve}`);
  }
  const [x, y] = [point.subarray(1, 1 + coordinateBytes), point.subarray(1 + coordinateBytes)];
  return { kty, crv: crv ?? '', x: member(x), y: member(y) };
}

/**
 * The key of the first line that is no comment.
 * @param text Of a `.pub` file: type, base64, comment.
 * @throws SshFormatError
 */
export function readSshKeyFile(text: string): SshPublicKey {
  const lines = text.split('\n').map((line) => line.trim());
  const [type = '', base64 = ''] = lines.find((line) => line !== '' && !line.startsWith('#'))?.split(/\s+/) ?? [];
  if (!/^[a-z][a-z0-9@.-]+$/.test(type)) throw new SshFormatError('there is no public key of OpenSSH in it');
  return readSshKey(Buffer.from(base64, 'base64'));
}

/** A line of a `.pub` file or of `authorized_keys`. @param blob A key or a certificate. */
export function sshKeyLine(blob: Buffer, comment: string): string {
  return `${new SshReader(blob).text()} ${blob.toString('base64')} ${comment.replaceAll(/[\s\p{Cc}]+/gu, ' ')}\n`;
}

/** As `ssh-keygen -l` shows it. */
export function fingerprint(blob: Buffer): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}
