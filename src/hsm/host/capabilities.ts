/**
 * What the token can do: its mechanism list, and for what this version builds a probe with throw-away session keys.
 *
 * A mechanism list is a promise that tokens do not always keep, so a probe encrypts, decrypts, and sees a changed tag
 * refused. It runs in a session of its own, whose end destroys the probe's keys. For everything else the list is reported,
 * corrected by what the vendor's profile knows better (`cannot`).
 */

import { type KeySpec, type KeyUsage, keySpecNames } from '../../kms/key-specs.ts';
import type { Capability } from '../key-store.ts';
import type { VendorProfile } from '../vendor-profile.ts';
import { constant, constantName } from './cryptoki.ts';
import { HostFailure } from './failures.ts';
import { secretKeyTemplate } from './key-attributes.ts';
import { type HostKeySpec, hostKeySpecs, type UsageRow } from './key-specs.ts';
import type { TokenSession } from './token-session.ts';

const keyGeneration = 'KEY_GENERATION';

/** `null`: it worked. Otherwise why it did not. */
type ProbeResult = string | null;

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
  for (const keySpec of keySpecNames) {
    const row: HostKeySpec = hostKeySpecs[keySpec];
    for (const [keyUsage, usage] of Object.entries(row.usages) as [KeyUsage, UsageRow][]) {
      const probe = row.built ? probes[keySpec] : undefined;
      const algorithms = [[keyGeneration, row.generation] as const, ...Object.entries(usage.algorithms)];
      for (const [algorithm, mechanism] of algorithms) {
        const missing =
          whyNot({ keySpec, algorithm, mechanism }, listed, profile) ??
          whyNot({ keySpec, algorithm, mechanism: row.generation }, listed, profile);
        const isProbed = missing === null && probe !== undefined;
        const reason = isProbed ? runProbe(session, () => probe(session, { row, usage }, profile)) : missing;
        const evidence = isProbed ? 'probed' : 'reported';
        rows.push({ keySpec, keyUsage, algorithm, works: reason === null, evidence, reason });
      }
    }
  }
  return rows;
}

/** What stands against an algorithm before anything is tried, or `null`. */
function whyNot(
  asked: { keySpec: KeySpec; algorithm: string; mechanism: string | null },
  listed: ReadonlySet<string>,
  profile: VendorProfile,
): string | null {
  const { keySpec, algorithm, mechanism } = asked;
  if (mechanism === null) return `PKCS#11 has no mechanism for ${keySpec}; a vendor's own is not known here`;
  // One number can have an old name and a new one (`CKM_ECDSA_KEY_PAIR_GEN`); the list has either.
  if (!listed.has(constantName('CKM', constant(mechanism)))) return `${mechanism} is not in the token's mechanism list`;
  const known = profile.cannot.find(
    (row) =>
      (row.keySpec === null || row.keySpec === keySpec) && (row.algorithm === null || row.algorithm === algorithm),
  );
  return known?.reason ?? null;
}

type Probe = (
  session: TokenSession,
  spec: { row: HostKeySpec; usage: UsageRow },
  profile: VendorProfile,
) => ProbeResult;

const probes: Readonly<Partial<Record<KeySpec, Probe>>> = {
  SYMMETRIC_DEFAULT: probeGcm,
  HMAC_256: probeHmac,
};

/** Each probe starts with a session without traces of the one before. */
function runProbe(session: TokenSession, probe: () => ProbeResult): ProbeResult {
  session.reopen();
  try {
    return probe();
  } catch (error) {
    const failure = session.failureFrom(error);
    if (failure instanceof HostFailure) return failure.message;
    throw failure;
  }
}

function probeKey(session: TokenSession, spec: { row: HostKeySpec; usage: UsageRow }, profile: VendorProfile): Buffer {
  session.step = `${spec.row.generation} C_GenerateKey`;
  const template = secretKeyTemplate({ ...spec, id: null, label: 'probe' }, profile);
  return session.cryptoki.C_GenerateKey(session.handle, { mechanism: constant(spec.row.generation ?? '') }, template);
}

function probeGcm(
  session: TokenSession,
  spec: { row: HostKeySpec; usage: UsageRow },
  profile: VendorProfile,
): ProbeResult {
  const { cryptoki, handle } = session;
  const key = probeKey(session, spec, profile);
  const parameter = {
    type: constant('CK_PARAMS_GCM'),
    iv: cryptoki.C_GenerateRandom(handle, Buffer.alloc(12)),
    ivBits: 96,
    aad: Buffer.from('drawbridge probe'),
    tagBits: 128,
  };
  const mechanism = { mechanism: constant('CKM_AES_GCM'), parameter };
  const plaintext = Buffer.from('a bridge is narrow and watched');
  const ciphertext = Buffer.alloc(plaintext.length + 16);
  const decrypted = Buffer.alloc(ciphertext.length);

  session.step = 'CKM_AES_GCM C_EncryptInit';
  cryptoki.C_EncryptInit(handle, mechanism, key);
  session.step = 'CKM_AES_GCM C_Encrypt';
  const length = cryptoki.C_Encrypt(handle, plaintext, ciphertext);
  if (length !== ciphertext.length) return `CKM_AES_GCM returned ${length} bytes for ${plaintext.length}`;
  session.step = 'CKM_AES_GCM C_DecryptInit';
  cryptoki.C_DecryptInit(handle, mechanism, key);
  session.step = 'CKM_AES_GCM C_Decrypt';
  const decryptedBytes = cryptoki.C_Decrypt(handle, ciphertext, decrypted);
  if (!decrypted.subarray(0, decryptedBytes).equals(plaintext)) return 'CKM_AES_GCM does not decrypt what it encrypted';

  const last = ciphertext.length - 1;
  ciphertext.writeUInt8(ciphertext.readUInt8(last) ^ 1, last);
  session.step = 'CKM_AES_GCM C_DecryptInit';
  cryptoki.C_DecryptInit(handle, mechanism, key);
  session.step = 'CKM_AES_GCM C_Decrypt';
  try {
    cryptoki.C_Decrypt(handle, ciphertext, decrypted);
  } catch (error) {
    if (session.meaningOf(error) === 'callersFault') return null;
    const failure = session.failureFrom(error);
    return `a changed tag is refused in a way that the vendor profile does not know: ${failure instanceof Error ? failure.message : ''}`;
  }
  return 'CKM_AES_GCM accepts a changed tag';
}

function probeHmac(
  session: TokenSession,
  spec: { row: HostKeySpec; usage: UsageRow },
  profile: VendorProfile,
): ProbeResult {
  const { cryptoki, handle } = session;
  const key = probeKey(session, spec, profile);
  const mac = (data: string): Buffer => {
    const output = Buffer.alloc(32);
    session.step = 'CKM_SHA256_HMAC C_SignInit';
    cryptoki.C_SignInit(handle, { mechanism: constant('CKM_SHA256_HMAC') }, key);
    session.step = 'CKM_SHA256_HMAC C_Sign';
    return output.subarray(0, cryptoki.C_Sign(handle, Buffer.from(data), output));
  };
  const first = mac('drawbridge probe');
  if (first.length !== 32) return `CKM_SHA256_HMAC returned ${first.length} bytes`;
  if (!first.equals(mac('drawbridge probe'))) return 'CKM_SHA256_HMAC gives two MACs of one message';
  return first.equals(mac('drawbridge probf')) ? 'CKM_SHA256_HMAC gives one MAC of two messages' : null;
}
