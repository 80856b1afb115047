/**
 * Can the token that keys are generated in hold a key of this kind?
 *
 * Asked before anything is written, so that a KeySpec which the token lacks is refused with the name of the mechanism that
 * is missing. The report is what the key store found out when it connected; the host refuses once more by itself when it
 * is asked for what the token cannot do.
 */

import type { Capability, KeyStore } from '../hsm/key-store.ts';
import { KmsError } from '../kms/errors.ts';
import type { KeySpec, KeyUsage } from '../kms/key-specs.ts';

/** How the report calls the making of a key, among the names of algorithms. */
const keyGeneration = 'KEY_GENERATION';

/**
 * @throws KmsError `UnsupportedOperationException` unless the token can generate such a key and use it with at least one of
 * its algorithms. An algorithm that it lacks beside others is refused when somebody uses it.
 */
export function assertTokenCanHold(keyStore: KeyStore, keySpec: KeySpec, keyUsage: KeyUsage): void {
  const rows = keyStore
    .capabilities()
    .capabilities.filter((row) => row.keySpec === keySpec && row.keyUsage === keyUsage);
  const missing = missingCapability(rows);
  if (missing === null) return;
  throw new KmsError(
    'UnsupportedOperationException',
    `KeySpec ${keySpec} with KeyUsage ${keyUsage} is not supported by the HSM: ${missing}.`,
  );
}

function missingCapability(rows: readonly Capability[]): string | null {
  const generation = rows.find(({ algorithm }) => algorithm === keyGeneration);
  if (generation?.works !== true) return generation?.reason ?? 'it was not found able to generate such keys';
  const algorithms = rows.filter(({ algorithm }) => algorithm !== keyGeneration);
  if (algorithms.some(({ works }) => works)) return null;
  return algorithms[0]?.reason ?? 'none of its algorithms is known to work';
}
