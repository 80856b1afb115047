/**
 * Probes: each algorithm done once on this token with a throw-away session key, through the code that serves callers, and
 * judged by OpenSSL where there is a public key to judge by.
 *
 * A mechanism list is a promise that tokens do not always keep. A probe runs in a session of its own, whose end destroys
 * its keys.
 */

import * as crypto from 'node:crypto';
import type { KeyUsage } from '../../kms/key-specs.ts';
import { keyGeneration } from '../key-store.ts';
import type { VendorProfile } from '../vendor-profile.ts';
import { HostFailure } from './failures.ts';
import { readPublicKey } from './key-attributes.ts';
import { generateObjects } from './key-generation.ts';
import type { HostKeySpec, UsageRow } from './key-specs.ts';
import { KeyTable } from './key-table.ts';
import { PairCalls } from './pair-calls.ts';
import { SecretCalls } from './secret-calls.ts';
import { signingAlgorithms } from './signing-algorithms.ts';
import type { TokenSession } from './token-session.ts';

/** `null`: it worked. Otherwise why it did not. */
export type ProbeResult = string | null;

/** A key to probe with, and the calls that serve it. */
interface Bench {
  readonly id: Buffer;
  readonly secrets: SecretCalls;
  readonly pairs: PairCalls;
  /** SubjectPublicKeyInfo of a pair. */
  readonly publicKey: crypto.KeyObject | null;
}

type Probe = (algorithm: string, bench: Bench) => ProbeResult;

const text = Buffer.from('a bridge is narrow and watched');
const otherText = Buffer.from('a bridge is narrow and watchee');
const aad = Buffer.from('drawbridge probe');

const probeOf: Readonly<Record<KeyUsage, Probe | null>> = {
  ENCRYPT_DECRYPT: (algorithm, bench) => (bench.publicKey === null ? probeGcm(bench) : probeOaep(algorithm, bench)),
  SIGN_VERIFY: probeSignature,
  GENERATE_VERIFY_MAC: probeMac,
  KEY_AGREEMENT: probeAgreement,
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
  const attempt = <Result>(work: () => Result): Result | HostFailure => {
    try {
      return work();
    } catch (error) {
      const failure = session.failureFrom(error);
      if (failure instanceof HostFailure) return failure;
      throw failure;
    }
  };
  session.reopen();
  const bench = attempt(() => setUp(session, profile, { row, usage }));
  return new Map(
    algorithms.map((algorithm) => {
      const done = (made: Bench) =>
        algorithm === keyGeneration ? null : (probeOf[keyUsage]?.(algorithm, made) ?? null);
      const result = bench instanceof HostFailure ? bench : attempt(() => done(bench));
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
  const id = crypto.randomBytes(16);
  // Session objects need no session copies.
  const table = new KeyTable(session, { ...profile, sessionCopies: [] });
  table.fill([{ id: id.toString('latin1'), label: 'probe', handle: key }]);
  const secrets = new SecretCalls(session, table);
  return {
    id,
    secrets,
    pairs: new PairCalls(session, table, secrets, profile),
    publicKey: spki === null ? null : crypto.createPublicKey({ key: spki, format: 'der', type: 'spki' }),
  };
}

function probeGcm({ id, secrets }: Bench): ProbeResult {
  const encrypted = secrets.encrypt(id, aad, text);
  const [iv, ciphertext] = [Buffer.from(encrypted.iv), Buffer.from(encrypted.ciphertext)];
  if (!secrets.decrypt(id, aad, iv, ciphertext).equals(text)) return 'CKM_AES_GCM does not decrypt what it encrypted';
  return whyAccepted('a changed tag', () => secrets.decrypt(id, aad, iv, changed(ciphertext)));
}

function probeMac(algorithm: string, { id, secrets }: Bench): ProbeResult {
  const mac = Buffer.from(secrets.mac(id, algorithm, text));
  if (!mac.equals(secrets.mac(id, algorithm, text))) return `${algorithm}: two MACs of one message`;
  return mac.equals(secrets.mac(id, algorithm, otherText)) ? `${algorithm}: one MAC of two messages` : null;
}

function probeSignature(algorithm: string, { id, pairs, publicKey }: Bench): ProbeResult {
  const row = signingAlgorithms.get(algorithm);
  if (row === undefined || publicKey === null) return `${algorithm} is not built`;
  const hash = row.digestBytes === null ? null : `sha${row.digestBytes * 8}`;
  const message = hash === null ? text : crypto.createHash(hash).update(text).digest();
  const signature = pairs.sign({ id, algorithm, content: row.content, message });
  const padding = row.mechanismName === 'CKM_RSA_PKCS_PSS' ? crypto.constants.RSA_PKCS1_PSS_PADDING : undefined;
  const verifier = {
    key: publicKey,
    dsaEncoding: 'ieee-p1363' as const,
    ...(padding === undefined ? {} : { padding, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST }),
  };
  return crypto.verify(hash, text, verifier, signature) ? null : `${row.mechanismName}: OpenSSL refuses the signature`;
}

function probeOaep(algorithm: string, { id, pairs, publicKey }: Bench): ProbeResult {
  if (publicKey === null) return `${algorithm} is not built`;
  const oaepHash = algorithm === 'RSAES_OAEP_SHA_1' ? 'sha1' : 'sha256';
  const ciphertext = crypto.publicEncrypt({ key: publicKey, oaepHash }, text);
  if (!pairs.decrypt(id, algorithm, ciphertext).equals(text)) return `${algorithm}: another plaintext than OpenSSL's`;
  return whyAccepted('a changed ciphertext', () => pairs.decrypt(id, algorithm, changed(ciphertext)));
}

function probeAgreement(_algorithm: string, { id, pairs, publicKey }: Bench): ProbeResult {
  if (publicKey === null) return 'ECDH is not built';
  const namedCurve = publicKey.asymmetricKeyDetails?.namedCurve ?? '';
  const peer = crypto.generateKeyPairSync('ec', { namedCurve });
  const secret = crypto.diffieHellman({ privateKey: peer.privateKey, publicKey });
  const derived = pairs.deriveSharedSecret(id, peer.publicKey.export({ type: 'spki', format: 'der' }));
  return derived.equals(secret) ? null : "CKM_ECDH1_DERIVE: another secret than OpenSSL's";
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
