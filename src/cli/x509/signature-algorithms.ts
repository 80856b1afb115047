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
import { AsnParser, AsnSerializer } from '@peculiar/asn1-schema';
import { AlgorithmIdentifier } from '@peculiar/asn1-x509';
import { digestHashes, hashBytes, type SigningAlgorithm } from '../../kms/algorithms.ts';
import { UsageError } from '../terminal/cli-error.ts';

const pkcs1 = (algorithm: string): AlgorithmIdentifier => new AlgorithmIdentifier({ algorithm, parameters: null });
const bare = (algorithm: string): AlgorithmIdentifier => new AlgorithmIdentifier({ algorithm });

/** The salt is as long as the hash, which is what the API makes. */
function pss(hashAlgorithm: AlgorithmIdentifier, saltLength: number): AlgorithmIdentifier {
  const maskGenAlgorithm = new AlgorithmIdentifier({
    algorithm: id_mgf1,
    parameters: AsnSerializer.serialize(hashAlgorithm),
  });
  const parameters = new RsaSaPssParams({ hashAlgorithm, maskGenAlgorithm, saltLength });
  return new AlgorithmIdentifier({ algorithm: id_RSASSA_PSS, parameters: AsnSerializer.serialize(parameters) });
}

const identifiers: readonly (readonly [SigningAlgorithm, AlgorithmIdentifier])[] = [
  ['RSASSA_PKCS1_V1_5_SHA_256', pkcs1('1.2.840.113549.1.1.11')],
  ['RSASSA_PKCS1_V1_5_SHA_384', pkcs1('1.2.840.113549.1.1.12')],
  ['RSASSA_PKCS1_V1_5_SHA_512', pkcs1('1.2.840.113549.1.1.13')],
  ['RSASSA_PSS_SHA_256', pss(sha256, hashBytes.sha256)],
  ['RSASSA_PSS_SHA_384', pss(sha384, hashBytes.sha384)],
  ['RSASSA_PSS_SHA_512', pss(sha512, hashBytes.sha512)],
  ['ECDSA_SHA_256', bare('1.2.840.10045.4.3.2')],
  ['ECDSA_SHA_384', bare('1.2.840.10045.4.3.3')],
  ['ECDSA_SHA_512', bare('1.2.840.10045.4.3.4')],
  ['ED25519_SHA_512', bare('1.3.101.112')],
];

/** @param signingAlgorithm KMS's name. @throws UsageError for one that certificates have no name for. */
export function signatureAlgorithm(signingAlgorithm: string): AlgorithmIdentifier {
  const [, identifier] = identifiers.find(([name]) => name === signingAlgorithm) ?? [];
  if (identifier !== undefined) return identifier;
  const names = identifiers.map(([name]) => name).join(', ');
  throw new UsageError(`certificates are not signed with \`${signingAlgorithm}\`, but with ${names}`);
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
  const saltLength = pssSaltLength(algorithm);
  const [name] =
    identifiers.find(([, identifier]) => identifier.isEqual(algorithm)) ??
    identifiers.find(([, identifier]) => isPssBesideItsSalt(identifier, algorithm)) ??
    [];
  if (name === undefined)
    throw new Error(`it is signed with an algorithm that is not known here, ${algorithm.algorithm}`);
  const key = createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
  const hash = digestHashes[name] ?? null;
  if (hash === null || saltLength === undefined) return verify(hash, bytes, key, signature);
  return verify(hash, bytes, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }, signature);
}

/** Of PSS: requests of others may have a salt of any length, which their parameters state. */
function pssSaltLength(algorithm: AlgorithmIdentifier): number | undefined {
  return pssParameters(algorithm)?.saltLength;
}

function pssParameters({ algorithm, parameters }: AlgorithmIdentifier): RsaSaPssParams | undefined {
  if (algorithm !== id_RSASSA_PSS || parameters === null || parameters === undefined) return undefined;
  return AsnParser.parse(parameters, RsaSaPssParams);
}

/** Are both PSS of the same hash, with the mask made by it too? */
function isPssBesideItsSalt(ours: AlgorithmIdentifier, theirs: AlgorithmIdentifier): boolean {
  const [our, their] = [pssParameters(ours), pssParameters(theirs)];
  if (our === undefined || their === undefined) return false;
  const ourHash = our.hashAlgorithm.algorithm;
  const { algorithm, parameters } = their.maskGenAlgorithm;
  if (their.hashAlgorithm.algorithm !== ourHash || algorithm !== id_mgf1) return false;
  if (parameters === null || parameters === undefined) return false;
  return AsnParser.parse(parameters, AlgorithmIdentifier).algorithm === ourHash;
}
