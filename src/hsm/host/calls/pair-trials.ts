/**
 * Trials: a pair does once what it is for, through the code that serves callers, and OpenSSL judges by the public half.
 *
 * A probe tries a throw-away pair so at connection (`probes.ts`), to see what the token can do. Every new backing key that is a pair is
 * tried so before anybody hears of it (`key-calls.ts`): that its halves belong together is the pairwise consistency test of FIPS
 * 140-3 (implementation guidance 10.3.A) and, for key agreement, of SP 800-56A revision 3 (section 5.6.2.1.4). Pairs that are read out
 * are compared in `pair-consistency.ts`.
 */

import * as crypto from 'node:crypto';
import type { KeyUsage } from '../../../kms/key-specs.ts';
import { type Capability, keyGeneration } from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import type { Handle } from '../token/cryptoki.ts';
import { KeyTable } from '../token/key-table.ts';
import type { KeyFacts } from '../token/object-facts.ts';
import type { UsageRow } from '../token/pkcs11-key-specs.ts';
import type { TokenSession } from '../token/token-session.ts';
import { PairCalls } from './pair-calls.ts';
import { SecretCalls } from './secret-calls.ts';
import { signingAlgorithms } from './signing-mechanisms.ts';

/** `null`: it worked. Otherwise why it did not. */
export type TrialResult = string | null;

export interface TriedPair {
  readonly id: Buffer;
  readonly pairs: PairCalls;
  readonly publicKey: crypto.KeyObject;
}

/** Throws `HostFailure` for what the token refuses. */
export type PairTrial = (algorithm: string, pair: TriedPair) => TrialResult;

/** By KeyUsage; those that no pair here is for are missing. */
export const pairTrials: ReadonlyMap<string, PairTrial> = new Map<KeyUsage, PairTrial>([
  ['ENCRYPT_DECRYPT', tryOaep],
  ['SIGN_VERIFY', trySignature],
  ['KEY_AGREEMENT', tryAgreement],
]);

export const trialText = Buffer.from('a bridge is narrow and watched');

/** The calls that serve callers, with a table that knows this one object. */
export function callsWith(
  session: TokenSession,
  profile: VendorProfile,
  { id, handle, facts }: { readonly id: Buffer; readonly handle: Handle; readonly facts?: KeyFacts | undefined },
): { readonly secrets: SecretCalls; readonly pairs: PairCalls } {
  // For one use of it a session copy is of no use.
  const table = new KeyTable(session, { ...profile, sessionCopies: [] });
  table.fill([{ id: id.toString('latin1'), label: 'trial', handle, ...(facts === undefined ? {} : { facts }) }]);
  const secrets = new SecretCalls(session, table);
  return { secrets, pairs: new PairCalls(session, table, secrets, profile) };
}

/** Tries a pair once, by the first algorithm of its usage that works on this token. */
export function tryPair(
  session: TokenSession,
  { profile, capabilities }: { readonly profile: VendorProfile; readonly capabilities: readonly Capability[] },
  { keySpec, keyUsage, usage }: { readonly keySpec: string; readonly keyUsage: string; readonly usage: UsageRow },
  pair: { readonly handle: Handle; readonly publicKey: Buffer; readonly facts?: KeyFacts },
): TrialResult {
  const working = capabilities.find(
    (row) => row.keySpec === keySpec && row.keyUsage === keyUsage && row.works && row.algorithm !== keyGeneration,
  );
  const algorithm = working?.algorithm ?? Object.keys(usage.algorithms)[0] ?? '';
  const publicKey = publicKeyOf(pair.publicKey);
  if (publicKey === undefined) return 'OpenSSL cannot read the public key';
  const id = crypto.randomBytes(16);
  const { pairs } = callsWith(session, profile, { id, handle: pair.handle, facts: pair.facts });
  try {
    return pairTrials.get(keyUsage)?.(algorithm, { id, pairs, publicKey }) ?? null;
  } finally {
    pairs.wipe();
  }
}

/** `undefined`: OpenSSL cannot read it. */
export function publicKeyOf(subjectPublicKeyInfo: Buffer): crypto.KeyObject | undefined {
  return byOpenSsl(() => crypto.createPublicKey({ key: subjectPublicKeyInfo, format: 'der', type: 'spki' }));
}

function trySignature(algorithm: string, { id, pairs, publicKey }: TriedPair): TrialResult {
  const row = signingAlgorithms.get(algorithm);
  if (row === undefined) return `${algorithm} is not built`;
  const hash = row.digestBytes === null ? null : `sha${row.digestBytes * 8}`;
  const message = hash === null ? trialText : crypto.createHash(hash).update(trialText).digest();
  const signature = pairs.sign({ id, algorithm, content: row.content, message });
  const padding = row.mechanismName === 'CKM_RSA_PKCS_PSS' ? crypto.constants.RSA_PKCS1_PSS_PADDING : undefined;
  const verifier = {
    key: publicKey,
    dsaEncoding: 'ieee-p1363' as const,
    ...(padding === undefined ? {} : { padding, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST }),
  };
  const isRight = byOpenSsl(() => crypto.verify(hash, trialText, verifier, signature));
  return isRight ? null : `${row.mechanismName}: OpenSSL refuses the signature`;
}

function tryOaep(algorithm: string, { id, pairs, publicKey }: TriedPair): TrialResult {
  const oaepHash = algorithm === 'RSAES_OAEP_SHA_1' ? 'sha1' : 'sha256';
  const ciphertext = byOpenSsl(() => crypto.publicEncrypt({ key: publicKey, oaepHash }, trialText));
  if (ciphertext === undefined) return unusable;
  return pairs.decrypt(id, algorithm, ciphertext).equals(trialText)
    ? null
    : `${algorithm}: another plaintext than OpenSSL's`;
}

function tryAgreement(_algorithm: string, { id, pairs, publicKey }: TriedPair): TrialResult {
  const namedCurve = publicKey.asymmetricKeyDetails?.namedCurve ?? '';
  const peer = crypto.generateKeyPairSync('ec', { namedCurve });
  const secret = byOpenSsl(() => crypto.diffieHellman({ privateKey: peer.privateKey, publicKey }));
  if (secret === undefined) return unusable;
  const derived = pairs.deriveSharedSecret(id, peer.publicKey.export({ type: 'spki', format: 'der' }));
  return derived.equals(secret) ? null : "CKM_ECDH1_DERIVE: another secret than OpenSSL's";
}

export const unusable = 'OpenSSL cannot use the public key';

/** `undefined` for a public key that it cannot use. */
function byOpenSsl<Result>(work: () => Result): Result | undefined {
  try {
    return work();
  } catch {
    // Which error it is depends on the version; each means that no caller could use the key either.
    return undefined;
  }
}
