/**
 * Can the token do this? Asked before anything is written or done, so that what it lacks is refused by name.
 *
 * The report is what the key store found out when it connected. The host refuses once more by itself when it is asked for
 * what the token cannot do; asked here first, a request is told the same as its dry run.
 */

import { type Capability, type KeyStore, keyGeneration, type WrappingAlgorithm } from '../hsm/key-store.ts';
import { KmsError } from '../kms/errors.ts';
import type { KeySpec, KeyUsage } from '../kms/key-specs.ts';
import type { Residency } from '../kms/residencies.ts';

/** What a key is to be, and where it is to live. */
export interface HeldKey {
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  readonly residency: Residency;
}

/**
 * @throws KmsError `UnsupportedOperationException` unless the token can generate such a key, wrap it where it is to live outside, and
 * use it with at least one of its algorithms. An algorithm that it lacks beside others is refused when somebody uses it.
 */
export function assertTokenCanHold(
  keyStore: Pick<KeyStore, 'capabilities'>,
  { keySpec, keyUsage, residency }: HeldKey,
): void {
  if (residency === 'wrapped') assertTokenCanWrap(keyStore, keySpec);
  const missing = missingCapability(rowsOf(keyStore, keySpec).filter((row) => row.keyUsage === keyUsage));
  if (missing !== null) throw unsupported(`KeySpec ${keySpec} with KeyUsage ${keyUsage}`, missing);
}

/** @throws KmsError `UnsupportedOperationException` unless such a key can live outside of the token. */
export function assertTokenCanWrap(keyStore: Pick<KeyStore, 'capabilities'>, keySpec: KeySpec): void {
  const row = keyStore.capabilities().wrapping.find((each) => each.keySpec === keySpec);
  if (row?.works !== true) throw unsupported(`A wrapped key of KeySpec ${keySpec}`, row?.reason ?? notReported);
}

/** @throws KmsError `UnsupportedOperationException` unless the token can use such a key with this algorithm. */
export function assertTokenCanUse(keyStore: Pick<KeyStore, 'capabilities'>, keySpec: KeySpec, algorithm: string): void {
  const { capabilities } = keyStore.capabilities();
  const row = capabilities.find((each) => each.keySpec === keySpec && each.algorithm === algorithm);
  if (row?.works !== true) throw unsupported(`${algorithm} with KeySpec ${keySpec}`, row?.reason ?? notReported);
}

/** @throws KmsError `UnsupportedOperationException` unless the token can generate such keys, of whatever usage. */
export function assertTokenCanGenerate(keyStore: Pick<KeyStore, 'capabilities'>, keySpec: KeySpec): void {
  const rows = rowsOf(keyStore, keySpec).filter(({ algorithm }) => algorithm === keyGeneration);
  if (!rows.some(({ works }) => works)) throw unsupported(keySpec, rows[0]?.reason ?? notReported);
}

/**
 * @param wrappingAlgorithm How it is to be wrapped, where that is known yet.
 * @throws KmsError `UnsupportedOperationException` unless key material of this KeySpec, wrapped so, can be brought into the token.
 */
export function assertTokenCanImport(
  keyStore: Pick<KeyStore, 'capabilities'>,
  keySpec: KeySpec,
  wrappingAlgorithm?: WrappingAlgorithm,
): void {
  const { imports } = keyStore.capabilities();
  const rowOf = (subject: KeySpec | WrappingAlgorithm) => imports.find((row) => row.subject === subject);
  const spec = rowOf(keySpec);
  if (spec?.works !== true)
    throw unsupported(`Import of key material for KeySpec ${keySpec}`, spec?.reason ?? notReported);
  if (wrappingAlgorithm === undefined) return;
  const wrapping = rowOf(wrappingAlgorithm);
  if (wrapping?.works !== true) throw unsupported(wrappingAlgorithm, wrapping?.reason ?? notReported);
}

function rowsOf(keyStore: Pick<KeyStore, 'capabilities'>, keySpec: KeySpec): readonly Capability[] {
  return keyStore.capabilities().capabilities.filter((row) => row.keySpec === keySpec);
}

const notReported = 'the token does not say that it can';

function unsupported(what: string, missing: string): KmsError {
  return new KmsError('UnsupportedOperationException', `${what} is not supported by the HSM: ${missing}.`);
}

function missingCapability(rows: readonly Capability[]): string | null {
  const generation = rows.find(({ algorithm }) => algorithm === keyGeneration);
  if (generation?.works !== true) return generation?.reason ?? notReported;
  const algorithms = rows.filter(({ algorithm }) => algorithm !== keyGeneration);
  if (algorithms.some(({ works }) => works)) return null;
  return algorithms[0]?.reason ?? notReported;
}
