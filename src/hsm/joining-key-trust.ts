/**
 * What is done in a token beside its hosts, each in a process of its own with one login: the security officer trusts the public halves of joining pairs
 * (`host/token/trust-joining-keys.ts`), and such a public half is read where the pair is (`host/token/read-joining-pair.ts`).
 */

import { createPublicKey } from 'node:crypto';
import type { BackingKeyId } from '../kms/names.ts';
import type { Pin } from '../secrets/secret-bytes.ts';
import type { HostSettings } from './calls.ts';
import { joiningKeyLabelPrefix } from './key-carrying.ts';
import { runLibraryProcess } from './library-process.ts';
import { loadVendorProfile } from './vendor-profile.ts';

export interface JoiningPublicKey {
  /** `CKA_ID` of the pair, and of what is trusted of it. */
  readonly backingKeyId: BackingKeyId;
  /** SubjectPublicKeyInfo, DER, of an RSA key. */
  readonly publicKey: Buffer;
}

type TokenSettings = Pick<HostSettings, 'library' | 'libraryParameters' | 'token' | 'profile'>;

/**
 * One attempt, of one login. Afterwards the officer trusts these public halves of joining pairs, and no others.
 * @param keys None: his trust ends. `KeyStore.destroyKey` ends that in one of them.
 * @returns Why not, for operators; `null`: it is done.
 */
export async function trustJoiningKeys(
  { library, libraryParameters, token, profile }: TokenSettings,
  { keys, soPin }: { readonly keys: readonly JoiningPublicKey[]; readonly soPin: Pin },
  environment: Readonly<Record<string, string>>,
): Promise<string | null> {
  const base64 = (text: string | undefined) => Buffer.from(text ?? '', 'base64url').toString('base64');
  const trusted = keys.map(({ backingKeyId, publicKey }) => {
    const { n, e } = createPublicKey({ key: publicKey, format: 'der', type: 'spki' }).export({ format: 'jwk' });
    const label = `${joiningKeyLabelPrefix}${backingKeyId}`;
    return { id: backingKeyId, label, modulus: base64(n), exponent: base64(e) };
  });
  const { rewrittenAtLogin } = loadVendorProfile(profile);
  const login = { library, libraryParameters, token, rewrittenAtLogin, pin: soPin.reveal().toString('utf8') };
  const task = JSON.stringify({ ...login, keys: trusted });
  const answer = await runLibraryProcess('trust-joining-keys', task, environment);
  return (answer as { problem: string | null }).problem; // As that program writes it.
}

/**
 * One attempt, of one login.
 * @param pin Of the user. @returns SubjectPublicKeyInfo, DER; or why the token has no such pair that was generated in it and only joins.
 */
export async function readJoiningPair(
  { library, libraryParameters, token, profile }: TokenSettings,
  { backingKeyId, pin }: { readonly backingKeyId: BackingKeyId; readonly pin: Pin },
  environment: Readonly<Record<string, string>>,
): Promise<{ readonly publicKey: Buffer } | { readonly problem: string }> {
  const { wrapping, attributes, rewrittenAtLogin } = loadVendorProfile(profile);
  const { notReadBack } = attributes;
  const isGuarded = wrapping?.unwrapTemplate === true && wrapping.wrapWithTrusted;
  const login = { library, libraryParameters, token, rewrittenAtLogin, pin: pin.reveal().toString('utf8') };
  const task = JSON.stringify({ ...login, id: backingKeyId, isGuarded, notReadBack });
  const answer = await runLibraryProcess('read-joining-pair', task, environment);
  // As that program writes it.
  const { problem, modulus, exponent } = answer as Record<string, string | null | undefined>;
  if (problem !== null) return { problem: String(problem) };
  const base64url = (text: string | null | undefined) => Buffer.from(text ?? '', 'base64').toString('base64url');
  const key = { kty: 'RSA', n: base64url(modulus), e: base64url(exponent) };
  return { publicKey: createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'der' }) };
}
