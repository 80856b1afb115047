/**
 * The enumerations of AWS KMS that members of requests and responses have: names of specs, usages, algorithms and origins.
 *
 * Source: the service model of AWS KMS (`KeySpec`, `KeyUsageType`, `EncryptionAlgorithmSpec`, …).
 */

import {
  encapsulationAlgorithms,
  encryptionAlgorithms,
  keyAgreementAlgorithms,
  macAlgorithms,
  signingAlgorithms,
} from '../../kms/algorithms.ts';
import { keySpecNames, keyUsages } from '../../kms/key-specs.ts';
import { keyOrigins } from '../../kms/key-states.ts';
import { enumeration } from './schema.ts';

export const keySpec = enumeration(keySpecNames);
export const keyUsage = enumeration(keyUsages);
export const origin = enumeration(keyOrigins);
export const expirationModel = enumeration(['KEY_MATERIAL_EXPIRES', 'KEY_MATERIAL_DOES_NOT_EXPIRE']);
export const dataKeySpec = enumeration(['AES_256', 'AES_128']);
export const encryptionAlgorithm = enumeration(encryptionAlgorithms);
export const signingAlgorithm = enumeration(signingAlgorithms);
export const macAlgorithm = enumeration(macAlgorithms);
export const keyAgreementAlgorithm = enumeration(keyAgreementAlgorithms);
export const encapsulationAlgorithm = enumeration(encapsulationAlgorithms);
