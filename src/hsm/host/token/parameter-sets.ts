/**
 * The parameter sets of ML-DSA: how PKCS#11 and JWK name each, and how long its public keys and signatures are.
 *
 * Source: PKCS#11 3.2, section "ML-DSA" (`CKA_PARAMETER_SET`, `CK_ML_DSA_PARAMETER_SET_TYPE`); FIPS 204, table 2 (sizes); the
 * JWK (`AKP`) is that of Node.js 24.6 and later, which has it from the draft "ML-DSA for JOSE and COSE".
 */

import { constant } from './cryptoki.ts';

export interface ParameterSet {
  /** The value of `CKA_PARAMETER_SET`. */
  readonly name: string;
  /** JWK's and OpenSSL's name. */
  readonly title: string;
  readonly publicKeyBytes: number;
  readonly signatureBytes: number;
}

const mlDsa = (strength: string, publicKeyBytes: number, signatureBytes: number): ParameterSet => ({
  name: `CKP_ML_DSA_${strength}`,
  title: `ML-DSA-${strength}`,
  publicKeyBytes,
  signatureBytes,
});

export const parameterSets = {
  ML_DSA_44: mlDsa('44', 1312, 2420),
  ML_DSA_65: mlDsa('65', 1952, 3309),
  ML_DSA_87: mlDsa('87', 2592, 4627),
} as const satisfies Readonly<Record<string, ParameterSet>>;

/** No signature that a token makes is longer. */
export const maxSignatureBytes = Math.max(
  ...Object.values<ParameterSet>(parameterSets).map(({ signatureBytes }) => signatureBytes),
);

/**
 * The parameter set of an ML-DSA key, or `undefined` for a number that PKCS#11 does not have. ML-KEM has sets of its own
 * with the same numbers, so whoever asks has looked at the key's type.
 */
export function mlDsaParameterSet(value: number | undefined): ParameterSet | undefined {
  return Object.values<ParameterSet>(parameterSets).find(({ name }) => constant(name) === value);
}
