/** Key material as its owner wraps and imports it: with OpenSSL, by AWS's documentation. */

import {
  type BinaryLike,
  constants,
  createCipheriv,
  createPublicKey,
  generateKeyPairSync,
  type KeyPairKeyObjectResult,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import type {
  AlgorithmSpec,
  ImportKeyMaterialRequest,
  KeyMetadata,
  KeySpec,
  KeyUsageType,
  KMS,
} from '@aws-sdk/client-kms';
import { present } from './daemon.ts';
import { type Refusal, refused } from './refusals.ts';

/** For material that does not expire. */
export const lasting = { ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' } as const;
/** For material to which the key is rotated later. */
export const asNew = { ...lasting, ImportType: 'NEW_KEY_MATERIAL' } as const;

export const pendingImport = (arn: string): Refusal => refused('KMSInvalidStateException', `${arn} is pending import.`);
export const incorrectMaterial = refused(
  'IncorrectKeyMaterialException',
  'The key material in the request is expired, invalid, or does not meet expectations.',
);
export const invalidToken = refused(
  'InvalidImportTokenException',
  'The provided import token is invalid or is associated with a different KMS key.',
);

/** What GetParametersForImport gave. */
export interface ImportParameters {
  readonly WrappingAlgorithm: AlgorithmSpec;
  readonly publicKey: Uint8Array;
  readonly ImportToken: Uint8Array;
}

/** A key without material. */
export async function newExternalKey(
  kms: KMS,
  KeySpec: KeySpec = 'SYMMETRIC_DEFAULT',
  KeyUsage: KeyUsageType = 'ENCRYPT_DECRYPT',
): Promise<{ readonly id: string; readonly arn: string }> {
  const { KeyMetadata } = await kms.createKey({ Origin: 'EXTERNAL', KeySpec, KeyUsage });
  return { id: present(KeyMetadata?.KeyId), arn: present(KeyMetadata?.Arn) };
}

export async function importParameters(
  kms: KMS,
  KeyId: string,
  WrappingAlgorithm: AlgorithmSpec = 'RSAES_OAEP_SHA_256',
  WrappingKeySpec: 'RSA_2048' | 'RSA_3072' | 'RSA_4096' = 'RSA_2048',
): Promise<ImportParameters> {
  const { PublicKey, ImportToken } = await kms.getParametersForImport({ KeyId, WrappingAlgorithm, WrappingKeySpec });
  return { WrappingAlgorithm, publicKey: present(PublicKey), ImportToken: present(ImportToken) };
}

/** RSAES-OAEP of the material, or RFC 5649 under an AES key with RSAES-OAEP of that before it. */
export function wrapped(
  { WrappingAlgorithm, publicKey }: Pick<ImportParameters, 'WrappingAlgorithm' | 'publicKey'>,
  material: Buffer,
): Buffer {
  if (WrappingAlgorithm.startsWith('RSAES_OAEP')) return oaep(WrappingAlgorithm, publicKey, material);
  const key = randomBytes(32);
  // The alternative initial value of RFC 5649, whose other half is the length.
  const iv: BinaryLike = Buffer.from('a65959a6', 'hex');
  const cipher = createCipheriv('id-aes256-wrap-pad', key, iv);
  return Buffer.concat([oaep(WrappingAlgorithm, publicKey, key), cipher.update(material), cipher.final()]);
}

function oaep(algorithm: string, publicKey: Uint8Array, bytes: Buffer): Buffer {
  const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
  const oaepHash = algorithm.endsWith('SHA_1') ? 'sha1' : 'sha256';
  return publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, bytes);
}

/** What of an import request is the importer's choice. */
type Choice = Partial<Omit<ImportKeyMaterialRequest, 'KeyId' | 'ImportToken' | 'EncryptedKeyMaterial'>>;

/** The request that brings this material, which does not expire unless it is said to. */
export function importRequest(
  KeyId: string,
  parameters: ImportParameters,
  material: Buffer,
  choice: Choice = lasting,
): ImportKeyMaterialRequest {
  const { ImportToken } = parameters;
  return { KeyId, ImportToken, EncryptedKeyMaterial: wrapped(parameters, material), ...choice };
}

/** All of it: parameters, wrapping, import. */
export async function importMaterial(kms: KMS, KeyId: string, material: Buffer, choice?: Choice) {
  return kms.importKeyMaterial(importRequest(KeyId, await importParameters(kms, KeyId), material, choice));
}

export async function metadataOf(kms: KMS, KeyId: string): Promise<KeyMetadata> {
  return present((await kms.describeKey({ KeyId })).KeyMetadata);
}

/** A new pair: the private half as PKCS#8, the public one as SubjectPublicKeyInfo. */
export function pairOf(spec: string): { readonly privateKey: Buffer; readonly publicKey: Buffer } {
  const pair = newPair(spec);
  return {
    privateKey: pair.privateKey.export({ type: 'pkcs8', format: 'der' }),
    publicKey: pair.publicKey.export({ type: 'spki', format: 'der' }),
  };
}

function newPair(spec: string): KeyPairKeyObjectResult {
  if (spec === 'RSA_2048') return generateKeyPairSync('rsa', { modulusLength: 2048 });
  if (spec === 'ECC_NIST_EDWARDS25519') return generateKeyPairSync('ed25519');
  return generateKeyPairSync('ec', {
    namedCurve: spec === 'ECC_SECG_P256K1' ? 'secp256k1' : spec.replace('ECC_NIST_P', 'P-'),
  });
}
