/**
 * Making key objects: the one place where the host calls `C_GenerateKey` and `C_GenerateKeyPair`, for backing keys, for data
 * key pairs and for probes, and the question whether this token can. Whoever calls it destroys what it gets.
 */

import { type Capability, keyGeneration } from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import { constant, type Handle } from '../token/cryptoki.ts';
import { type KeyOutline, privateKeyTemplate, publicKeyTemplate, secretKeyTemplate } from '../token/key-attributes.ts';
import type { TokenSession } from '../token/token-session.ts';

export interface GeneratedObjects {
  /** The secret key, or the private half of a pair. */
  readonly key: Handle;
  readonly publicKey: Handle | null;
}

/** Throws errors of the library as they are; `session.step` says where. */
export function generateObjects(session: TokenSession, key: KeyOutline, profile: VendorProfile): GeneratedObjects {
  const { cryptoki, handle } = session;
  const mechanism = { mechanism: constant(key.row.generation ?? '') };
  if (key.row.objectClass === 'CKO_SECRET_KEY') {
    session.step = `${key.row.generation} C_GenerateKey`;
    return { key: cryptoki.C_GenerateKey(handle, mechanism, secretKeyTemplate(key, profile)), publicKey: null };
  }
  session.step = `${key.row.generation} C_GenerateKeyPair`;
  const [publicTemplate, privateTemplate] = [publicKeyTemplate(key, profile), privateKeyTemplate(key, profile)];
  const { publicKey, privateKey } = cryptoki.C_GenerateKeyPair(handle, mechanism, publicTemplate, privateTemplate);
  return { key: privateKey, publicKey };
}

/** Why keys of a KeySpec (and KeyUsage) cannot be made on a token with these capabilities, or `null`. */
export function whyNotGenerated(
  capabilities: readonly Capability[],
  asked: { readonly keySpec: string; readonly keyUsage: string | null },
): string | null {
  const rows = capabilities.filter(
    ({ keySpec, keyUsage }) => keySpec === asked.keySpec && (asked.keyUsage === null || keyUsage === asked.keyUsage),
  );
  const generation = rows.find(({ algorithm, works }) => algorithm === keyGeneration && !works);
  if (generation !== undefined) return generation.reason;
  const algorithms = rows.filter(({ algorithm }) => algorithm !== keyGeneration);
  return algorithms.some(({ works }) => works) ? null : (algorithms[0]?.reason ?? null);
}
