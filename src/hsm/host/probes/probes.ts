/**
 * Probes: each algorithm done once on this token with a throw-away session key, through the code that serves callers; pairs as in
 * `pair-trials.ts`.
 *
 * A mechanism list is a promise that tokens do not always keep. A probe runs in a session of its own, whose end destroys
 * its keys.
 */

import { type KeyObject, publicEncrypt, randomBytes } from 'node:crypto';
import type { KeyUsage } from '../../../kms/key-specs.ts';
import { keyGeneration } from '../../key-store.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import { generateObjects } from '../calls/key-generation.ts';
import type { PairCalls } from '../calls/pair-calls.ts';
import { callsWith, pairTrials, publicKeyOf, type TrialResult, trialText } from '../calls/pair-trials.ts';
import type { SecretCalls } from '../calls/secret-calls.ts';
import { HostFailure } from '../token/failures.ts';
import { readPublicKey } from '../token/key-attributes.ts';
import type { HostKeySpec, UsageRow } from '../token/pkcs11-key-specs.ts';
import type { TokenSession } from '../token/token-session.ts';

export type ProbeResult = TrialResult;

/** A key to probe with, and the calls that serve it. */
interface Bench {
  readonly id: Buffer;
  readonly secrets: SecretCalls;
  readonly pairs: PairCalls;
  /** Of a pair. */
  readonly publicKey: KeyObject | null;
}

type Probe = (algorithm: string, bench: Bench) => ProbeResult;

const otherText = Buffer.from('a bridge is narrow and watchee');
const aad = Buffer.from('drawbridge probe');

const probeOf: Readonly<Record<KeyUsage, Probe | null>> = {
  ENCRYPT_DECRYPT: (algorithm, bench) =>
    bench.publicKey === null ? probeGcm(bench) : probePair('ENCRYPT_DECRYPT', algorithm, bench),
  SIGN_VERIFY: (algorithm, bench) => probePair('SIGN_VERIFY', algorithm, bench),
  GENERATE_VERIFY_MAC: probeMac,
  KEY_AGREEMENT: (algorithm, bench) => probePair('KEY_AGREEMENT', algorithm, bench),
  ENCAPSULATE_DECAPSULATE: null,
};

/** Probes the algorithms of a usage with one key; none at all if there are none. Uses up `session`'s state: it is reopened first. */
export function probe(
  session: TokenSession,
  profile: VendorProfile,
  spec: { row: HostKeySpec; usage: UsageRow; keyUsage: KeyUsage; algorithms: readonly string[] },
): ReadonlyMap<string, ProbeResult> {
  const { row, usage, keyUsage, algorithms } = spec;
  if (algorithms.every((algorithm) => algorithm === keyGeneration)) return new Map();
  session.reopen();
  const bench = session.attempt(() => setUp(session, profile, { row, usage }));
  return new Map(
    algorithms.map((algorithm) => {
      const done = (made: Bench) =>
        algorithm === keyGeneration ? null : (probeOf[keyUsage]?.(algorithm, made) ?? null);
      const result = bench instanceof HostFailure ? bench : session.attempt(() => done(bench));
      return [algorithm, result instanceof HostFailure ? result.message : result];
    }),
  );
}

function setUp(session: TokenSession, profile: VendorProfile, spec: { row: HostKeySpec; usage: UsageRow }): Bench {
  const { key, publicKey } = generateObjects(session, { ...spec, id: null, label: 'probe' }, profile);
  session.step = 'C_GetAttributeValue';
  const { cryptoki, handle } = session;
  const halves = publicKey === null ? null : { publicKey, privateKey: key };
  const spki = halves === null ? null : readPublicKey(cryptoki, handle, halves, spec.row);
  const readable = spki === null ? null : publicKeyOf(spki);
  if (readable === undefined) throw new HostFailure('unsupported', 'OpenSSL cannot read the public key');
  const id = randomBytes(16);
  return { id, ...callsWith(session, profile, { id, handle: key }), publicKey: readable };
}

/** As every new pair is tried; of a ciphertext it is asked as well whether a wrong one is refused. */
function probePair(keyUsage: KeyUsage, algorithm: string, { id, pairs, publicKey }: Bench): ProbeResult {
  const trial = pairTrials.get(keyUsage);
  if (trial === undefined || publicKey === null) return `${algorithm} is not built`;
  const result = trial(algorithm, { id, pairs, publicKey });
  if (result !== null || keyUsage !== 'ENCRYPT_DECRYPT') return result;
  const oaepHash = algorithm === 'RSAES_OAEP_SHA_1' ? 'sha1' : 'sha256';
  const ciphertext = publicEncrypt({ key: publicKey, oaepHash }, trialText);
  return whyAccepted('a changed ciphertext', () => pairs.decrypt(id, algorithm, changed(ciphertext)));
}

function probeGcm({ id, secrets }: Bench): ProbeResult {
  const encrypted = secrets.encrypt(id, aad, trialText);
  const [iv, ciphertext] = [Buffer.from(encrypted.iv), Buffer.from(encrypted.ciphertext)];
  if (!secrets.decrypt(id, aad, iv, ciphertext).equals(trialText))
    return 'CKM_AES_GCM does not decrypt what it encrypted';
  return whyAccepted('a changed tag', () => secrets.decrypt(id, aad, iv, changed(ciphertext)));
}

function probeMac(algorithm: string, { id, secrets }: Bench): ProbeResult {
  const mac = Buffer.from(secrets.mac(id, algorithm, trialText));
  if (!mac.equals(secrets.mac(id, algorithm, trialText))) return `${algorithm}: two MACs of one message`;
  return mac.equals(secrets.mac(id, algorithm, otherText)) ? `${algorithm}: one MAC of two messages` : null;
}

/** `null` when `call` refuses its input as the caller's fault. */
function whyAccepted(what: string, call: () => unknown): ProbeResult {
  try {
    call();
  } catch (error) {
    if (!(error instanceof HostFailure)) throw error;
    if (error.failure === 'ciphertextInvalid') return null;
    return `${what} is refused in a way that the vendor profile does not know: ${error.message}`;
  }
  return `${what} is accepted`;
}

/** With one bit of the last byte changed. */
function changed(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(copy.length - 1) ^ 1, copy.length - 1);
  return copy;
}
