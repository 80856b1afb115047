/**
 * Which key material can be brought into the token: one row per way of wrapping and one per KeySpec.
 *
 * Each way of wrapping is probed: a random AES key is wrapped for a short throw-away pair as a caller would, unwrapped, and known by what it
 * encrypts. KeySpecs are reported: what can be generated and used can be imported, where the profile has a way for its key type.
 */

import { randomBytes } from 'node:crypto';
import { keySpecNames } from '../../../kms/key-specs.ts';
import { type Capability, type ImportCapability, type WrappingAlgorithm, wrappingAlgorithms } from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import { type ImportContext, tryWrappingKey } from '../calls/imports.ts';
import { usageRowOfWrapping } from '../calls/key-calls.ts';
import { generateObjects, whyNotGenerated } from '../calls/key-generation.ts';
import type { TrialResult } from '../calls/pair-trials.ts';
import { wrappingSchemes } from '../calls/unwrapping.ts';
import { constant, constantName } from '../token/cryptoki.ts';
import { HostFailure } from '../token/failures.ts';
import { readPublicKey } from '../token/key-attributes.ts';
import { type HostKeySpec, hostKeySpecs } from '../token/pkcs11-key-specs.ts';
import type { TokenSession } from '../token/token-session.ts';

interface Known {
  readonly profile: VendorProfile;
  readonly listed: ReadonlySet<string>;
  readonly capabilities: readonly Capability[];
}

/** `probedRsa` is the row of the RSA keys that probes are made with. Uses up `session`. */
export function findImportCapabilities(
  session: TokenSession,
  known: Known,
  probedRsa: HostKeySpec,
): readonly ImportCapability[] {
  const possible = wrappingAlgorithms.filter((algorithm) => whyNotWrapped(algorithm, known) === null);
  const results = probeWrapping(session, known, probedRsa, possible);
  const wrapping = wrappingAlgorithms.map((subject): ImportCapability => {
    const reason = results.get(subject) ?? whyNotWrapped(subject, known);
    const remark = isPaddedOutside(subject, known) ? 'the host removes the padding' : null;
    const evidence = results.has(subject) ? 'probed' : 'reported';
    return { subject, works: reason === null, evidence, reason: reason ?? remark };
  });
  const specs = keySpecNames.map((subject): ImportCapability => {
    const reason = whyNotMade(subject, known);
    return { subject, works: reason === null, evidence: 'reported', reason };
  });
  return [...wrapping, ...specs];
}

function isPaddedOutside(algorithm: WrappingAlgorithm, { profile }: Known): boolean {
  return profile.paddedOutside.some((name) => name === wrappingSchemes.get(algorithm)?.oaep);
}

function whyNotWrapped(algorithm: WrappingAlgorithm, known: Known): string | null {
  const { profile, listed, capabilities } = known;
  const { software, keyWrap } = profile.imports;
  const rsa = whyNotGenerated(capabilities, { keySpec: 'RSA_2048', keyUsage: null });
  if (rsa !== null) return rsa;
  const isOutside = isPaddedOutside(algorithm, known);
  if (isOutside && !software)
    return 'the token does CKM_RSA_PKCS_OAEP with another hash alone, and the host may not see what it hides';
  const scheme = wrappingSchemes.get(algorithm);
  const keyWrapper = scheme?.isHybrid ? [keyWrap ?? 'CKM_AES_KEY_WRAP_KWP'] : [];
  for (const mechanism of [isOutside ? 'CKM_RSA_X_509' : 'CKM_RSA_PKCS_OAEP', ...keyWrapper])
    if (!isListed(mechanism, listed)) return `${mechanism} is not in the token's mechanism list`;
  if (scheme?.isHybrid && keyWrap === null) return 'the vendor profile names no mechanism for RFC 5649';
  return profile.cannot.find((row) => row.keySpec === null && row.algorithm === algorithm)?.reason ?? null;
}

function whyNotMade(keySpec: (typeof keySpecNames)[number], { profile, listed, capabilities }: Known): string | null {
  const row: HostKeySpec = hostKeySpecs[keySpec];
  if (row.keyType === null || row.parameterSet !== null || row.unbuilt !== null)
    return row.unbuilt ?? 'no import of such keys is built';
  const generation = whyNotGenerated(capabilities, { keySpec, keyUsage: null });
  if (generation !== null) return generation;
  if (!profile.imports.software && !profile.imports.unwraps.includes(row.keyType))
    return `the token unwraps no ${row.keyType} with the attributes that are asked for`;
  if (row.keyType === 'CKK_AES' && !isListed('CKM_AES_ECB', listed))
    return "CKM_AES_ECB, by which material is known again, is not in the token's mechanism list";
  return null;
}

/** One number can have two names; the list has the one that `constantName` prefers. */
function isListed(mechanism: string, listed: ReadonlySet<string>): boolean {
  return listed.has(constantName('CKM', constant(mechanism)));
}

function probeWrapping(
  session: TokenSession,
  { profile, capabilities }: Known,
  row: HostKeySpec,
  algorithms: readonly WrappingAlgorithm[],
): ReadonlyMap<string, TrialResult> {
  if (algorithms.length === 0) return new Map();
  session.reopen();
  const context: ImportContext = { profile, capabilities, imports: [] };
  const pair = session.attempt(() => {
    const outline = { row, usage: usageRowOfWrapping(profile), id: null, label: 'probe' };
    const { key, publicKey } = generateObjects(session, outline, profile);
    if (publicKey === null) throw new HostFailure('internal', 'a pair has a public key');
    session.step = 'C_GetAttributeValue';
    const halves = { publicKey, privateKey: key };
    return { handle: key, publicKey: readPublicKey(session.cryptoki, session.handle, halves, row) };
  });
  return new Map(
    algorithms.map((algorithm) => {
      const result =
        pair instanceof HostFailure
          ? pair
          : session.attempt(() => tryWrappingKey({ session, context }, { id: randomBytes(16), algorithm, ...pair }));
      return [algorithm, result instanceof HostFailure ? result.message : result];
    }),
  );
}
