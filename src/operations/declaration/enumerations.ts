/**
 * The enumerations of AWS KMS that members of requests and responses have: names of specs, usages, algorithms and origins.
 *
 * Source: the service model of AWS KMS (`KeySpec`, `KeyUsageType`, `EncryptionAlgorithmSpec`, …).
 */

import {
  encapsulationAlgorithms,
  encryptionAlgorithms,
  keyAgreementAlgorithms,
  type MacAlgorithm,
  signingAlgorithms,
} from '../../kms/algorithms.ts';
import { type KeySpec, keySpecNames, keyUsages } from '../../kms/key-specs.ts';
import { keyOrigins } from '../../kms/key-states.ts';
import { enumeration } from './schema.ts';

/** In the order in which AWS lists them to whoever names another one; of the newer ones it is not known. */
const firstKeySpecs: readonly KeySpec[] = [
  'RSA_2048',
  'ECC_NIST_P384',
  'ECC_NIST_P256',
  'ECC_NIST_P521',
  'HMAC_384',
  'RSA_3072',
  'ECC_SECG_P256K1',
  'RSA_4096',
  'SYMMETRIC_DEFAULT',
  'HMAC_256',
  'HMAC_224',
  'HMAC_512',
];
export const keySpec = enumeration([...new Set([...firstKeySpecs, ...keySpecNames])]);
export const keyUsage = enumeration(keyUsages);
export const origin = enumeration(keyOrigins);
export const expirationModel = enumeration(['KEY_MATERIAL_EXPIRES', 'KEY_MATERIAL_DOES_NOT_EXPIRE']);
export const dataKeySpec = enumeration(['AES_256', 'AES_128']);
export const encryptionAlgorithm = enumeration(encryptionAlgorithms);
export const signingAlgorithm = enumeration(signingAlgorithms);
/** In AWS's order, too. */
export const macAlgorithm = enumeration<MacAlgorithm>(['HMAC_SHA_384', 'HMAC_SHA_256', 'HMAC_SHA_224', 'HMAC_SHA_512']);
export const keyAgreementAlgorithm = enumeration(keyAgreementAlgorithms);
export const encapsulationAlgorithm = enumeration(encapsulationAlgorithms);
