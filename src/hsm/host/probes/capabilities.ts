/**
 * What the token can do, one row per KeySpec, KeyUsage and algorithm: its mechanism list, corrected by what the vendor's
 * profile knows better (`cannot`) and by what this host cannot ask for, and then probed (`probes.ts`).
 *
 * Pairs of RSA are probed once, with a short key, for all sizes: to make three long ones would take seconds at each
 * connection. That the sizes can be made is what the token says of its mechanism.
 */

import { type KeySpec, type KeyUsage, keySpecNames } from '../../../kms/key-specs.ts';
import { type Capability, type ImportCapability, keyGeneration } from '../../key-store.ts';
import type { ProtectionTrial, WrappingCapability } from '../../token-protection.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import { whyNotGenerated } from '../calls/key-generation.ts';
import { triedProtection } from '../calls/protection-trials.ts';
import { whyNotWrapped } from '../calls/wrapped-keys.ts';
import { constant, constantName } from '../token/cryptoki.ts';
import { HostFailure } from '../token/failures.ts';
import {
  type HostKeySpec,
  hostKeySpecs,
  remarks,
  type UsageRow,
  unbuiltAlgorithms,
} from '../token/pkcs11-key-specs.ts';
import { whyNoMlDsa } from '../token/subject-public-keys.ts';
import type { TokenSession } from '../token/token-session.ts';
import { findImportCapabilities } from './import-capabilities.ts';
import { type ProbeResult, probe } from './probes.ts';

/** The shortest modulus that PSS with SHA-512 and its salt fit in, rounded up: made in a tenth of the time of 2,048 bits. */
const probeModulusBits = 1088;

/** The names of the token's mechanisms. */
export function mechanismNames(session: TokenSession): readonly string[] {
  return session.run(() => {
    session.step = 'C_GetMechanismList';
    return session.cryptoki.C_GetMechanismList(session.slot).map((mechanism) => constantName('CKM', mechanism));
  });
}

/** One row per KeySpec, KeyUsage and algorithm, and one for the generation of the key. Uses up `session`. */
export function findCapabilities(
  session: TokenSession,
  mechanisms: readonly string[],
  profile: VendorProfile,
): readonly Capability[] {
  const listed = new Set(mechanisms);
  const rows: Capability[] = [];
  const rsaResults = new Map<KeyUsage, ReadonlyMap<string, ProbeResult>>();
  for (const keySpec of keySpecNames) {
    const row: HostKeySpec = hostKeySpecs[keySpec];
    const isRsa = row.keyType === 'CKK_RSA';
    for (const [keyUsage, usage] of Object.entries(row.usages) as [KeyUsage, UsageRow][]) {
      const stated = statedReasons({ keySpec, row, usage }, session, listed, profile);
      const algorithms = stated.flatMap(([algorithm, reason]) => (reason === null ? [algorithm] : []));
      const results =
        (isRsa ? rsaResults.get(keyUsage) : undefined) ??
        probe(session, profile, { row: probedRow(row, session), usage, keyUsage, algorithms });
      if (isRsa) rsaResults.set(keyUsage, results);
      for (const [algorithm, reason] of stated) {
        const isProbed = reason === null && results.has(algorithm) && !(isRsa && algorithm === keyGeneration);
        const why = isProbed ? (results.get(algorithm) ?? null) : reason;
        const evidence = isProbed ? 'probed' : 'reported';
        const told = why ?? remarks.get(algorithm) ?? null;
        rows.push({ keySpec, keyUsage, algorithm, works: why === null, evidence, reason: told });
      }
    }
  }
  return rows;
}

/** Which keys can live outside of the token, given what it can do: what it makes, its mechanism wraps, and the profile knows no better. */
export function findWrapping(
  mechanisms: readonly string[],
  profile: VendorProfile,
  capabilities: readonly Capability[],
): readonly WrappingCapability[] {
  const mechanism = profile.wrapping?.mechanism;
  const isListed = mechanism === undefined || mechanisms.includes(constantName('CKM', constant(mechanism)));
  return keySpecNames.map((keySpec) => {
    const reason =
      whyNotWrapped(keySpec, hostKeySpecs[keySpec], profile) ??
      (isListed ? null : `${mechanism} is not in the token's mechanism list`) ??
      whyNotGenerated(capabilities, { keySpec, keyUsage: null });
    return { keySpec, works: reason === null, reason };
  });
}

/** What the token enforces, tried; nothing where it does not even make the keys to try it with. Uses up `session`. */
export function findProtection(session: TokenSession, profile: VendorProfile): readonly ProtectionTrial[] {
  session.reopen();
  const trials = session.attempt(() => triedProtection(session, profile, null));
  return trials instanceof HostFailure ? [] : trials;
}

/** What key material can be brought in, given what the token can do. Uses up `session`. */
export function findImports(
  session: TokenSession,
  mechanisms: readonly string[],
  profile: VendorProfile,
  capabilities: readonly Capability[],
): readonly ImportCapability[] {
  const known = { profile, listed: new Set(mechanisms), capabilities };
  return findImportCapabilities(session, known, probedRow(hostKeySpecs.RSA_2048, session));
}

/** What stands against each algorithm, and against making the key, before anything is tried. */
function statedReasons(
  { keySpec, row, usage }: { keySpec: KeySpec; row: HostKeySpec; usage: UsageRow },
  session: TokenSession,
  listed: ReadonlySet<string>,
  profile: VendorProfile,
): readonly (readonly [algorithm: string, reason: string | null])[] {
  const why = (algorithm: string, mechanism: string | null) =>
    whyNot({ keySpec, algorithm, mechanism, unbuilt: row.unbuilt }, listed, profile);
  const generation =
    why(keyGeneration, row.generation) ??
    whyNotOfThisSize(row, session) ??
    (row.parameterSet === null ? null : whyNoMlDsa());
  const algorithms = Object.entries(usage.algorithms).map(([algorithm, mechanism]) => {
    const needed = profile.paddedOutside.some((name) => name === algorithm) ? 'CKM_RSA_X_509' : mechanism;
    return [algorithm, why(algorithm, needed) ?? generation] as const;
  });
  return [[keyGeneration, generation], ...algorithms];
}

function whyNot(
  asked: { keySpec: KeySpec; algorithm: string; mechanism: string | null; unbuilt: string | null },
  listed: ReadonlySet<string>,
  profile: VendorProfile,
): string | null {
  const { keySpec, algorithm, mechanism, unbuilt } = asked;
  if (mechanism === null) return unbuilt ?? `PKCS#11 has no mechanism for ${algorithm}`;
  // One number can have two names; the list has the one that `constantName` prefers.
  if (!listed.has(constantName('CKM', constant(mechanism)))) return `${mechanism} is not in the token's mechanism list`;
  const known = profile.cannot.find(
    (row) =>
      (row.keySpec === null || row.keySpec === keySpec) && (row.algorithm === null || row.algorithm === algorithm),
  );
  return known?.reason ?? unbuilt ?? unbuiltAlgorithms.get(algorithm) ?? null;
}

/** A modulus that is longer than the token makes. */
function whyNotOfThisSize(row: HostKeySpec, session: TokenSession): string | null {
  if (row.keyType !== 'CKK_RSA') return null;
  const { minKeySize, maxKeySize } = rsaSizes(session);
  if (row.keyBits >= minKeySize && row.keyBits <= maxKeySize) return null;
  return `${row.generation} makes ${minKeySize} to ${maxKeySize} bits`;
}

function probedRow(row: HostKeySpec, session: TokenSession): HostKeySpec {
  if (row.keyType !== 'CKK_RSA') return row;
  return { ...row, keyBits: Math.max(probeModulusBits, rsaSizes(session).minKeySize) };
}

function rsaSizes(session: TokenSession): { readonly minKeySize: number; readonly maxKeySize: number } {
  return session.run(() => {
    session.step = 'C_GetMechanismInfo';
    return session.cryptoki.C_GetMechanismInfo(session.slot, constant('CKM_RSA_PKCS_KEY_PAIR_GEN'));
  });
}
