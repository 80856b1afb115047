/**
 * How certificates name the algorithm of a signature, for each signing algorithm of the KMS API that has a name there,
 * and how such a signature is verified.
 *
 * Source: RFC 4055 (RSA; the parameters of PKCS#1 v1.5 are NULL, those of PSS in full), RFC 5758 (ECDSA; no parameters),
 * RFC 8410 (Ed25519; no parameters). ED25519_PH has no name in certificates, and ML-DSA's go by
 * the parameter set of the key (RFC 9881), which the algorithm of KMS does not tell: certificates are not signed with it.
 */

import { constants, createPublicKey, verify } from 'node:crypto';
import { id_mgf1, id_RSASSA_PSS, RsaSaPssParams, sha256, sha384, sha512 } from '@peculiar/asn1-rsa';
import { AsnSerializer } from '@peculiar/asn1-schema';
import { AlgorithmIdentifier } from '@peculiar/asn1-x509';
import { UsageError } from '../errors.ts';

interface Row {
  readonly identifier: AlgorithmIdentifier;
  /** Node's name; `null`: it signs the message itself. */
  readonly hash: string | null;
  /** For PSS: how long the salt is. */
  readonly saltBytes?: number;
}

const pkcs1 = (algorithm: string, hash: string): Row => ({
  identifier: new AlgorithmIdentifier({ algorithm, parameters: null }),
  hash,
});
const bare = (algorithm: string, hash: string | null): Row => ({
  identifier: new AlgorithmIdentifier({ algorithm }),
  hash,
});

/** The salt is as long as the hash, which is what the API makes. */
function pss(hashAlgorithm: AlgorithmIdentifier, hash: string, saltBytes: number): Row {
  const maskGenAlgorithm = new AlgorithmIdentifier({
    algorithm: id_mgf1,
    parameters: AsnSerializer.serialize(hashAlgorithm),
  });
  const parameters = new RsaSaPssParams({ hashAlgorithm, maskGenAlgorithm, saltLength: saltBytes });
  const identifier = new AlgorithmIdentifier({
    algorithm: id_RSASSA_PSS,
    parameters: AsnSerializer.serialize(parameters),
  });
  return { identifier, hash, saltBytes };
}

const rows = new Map<string, Row>([
  ['RSASSA_PKCS1_V1_5_SHA_256', pkcs1('1.2.840.113549.1.1.11', 'sha256')],
  ['RSASSA_PKCS1_V1_5_SHA_384', pkcs1('1.2.840.113549.1.1.12', 'sha384')],
  ['RSASSA_PKCS1_V1_5_SHA_512', pkcs1('1.2.840.113549.1.1.13', 'sha512')],
  ['RSASSA_PSS_SHA_256', pss(sha256, 'sha256', 32)],
  ['RSASSA_PSS_SHA_384', pss(sha384, 'sha384', 48)],
  ['RSASSA_PSS_SHA_512', pss(sha512, 'sha512', 64)],
  ['ECDSA_SHA_256', bare('1.2.840.10045.4.3.2', 'sha256')],
  ['ECDSA_SHA_384', bare('1.2.840.10045.4.3.3', 'sha384')],
  ['ECDSA_SHA_512', bare('1.2.840.10045.4.3.4', 'sha512')],
  ['ED25519_SHA_512', bare('1.3.101.112', null)],
]);

/** @param signingAlgorithm KMS's name. @throws UsageError for one that certificates have no name for. */
export function signatureAlgorithm(signingAlgorithm: string): AlgorithmIdentifier {
  const row = rows.get(signingAlgorithm);
  if (row !== undefined) return row.identifier;
  throw new UsageError(
    `certificates are not signed with \`${signingAlgorithm}\`, but with ${[...rows.keys()].join(', ')}`,
  );
}

/**
 * Is it the signature of `bytes` by the key (SubjectPublicKeyInfo, DER)?
 * @throws Error for an algorithm that is not in the table, or a key that cannot be read.
 */
export function isSignature(
  algorithm: AlgorithmIdentifier,
  publicKey: Buffer,
  bytes: Buffer,
  signature: Buffer,
): boolean {
  const row = [...rows.values()].find(({ identifier }) => identifier.isEqual(algorithm));
  if (row === undefined)
    throw new Error(`it is signed with an algorithm that is not known here, ${algorithm.algorithm}`);
  const key = createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
  if (row.saltBytes === undefined) return verify(row.hash, bytes, key, signature);
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return verify(row.hash, bytes, { key, padding, saltLength: row.saltBytes }, signature);
}
