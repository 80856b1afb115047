/**
 * The fingerprint of imported key material: by it the same material is known again, without being stored or shown.
 *
 * SHA-256 over what only the holder of the key can compute, bound to the KMS key: two AES keys in one KMS key have two fingerprints, one
 * AES key in two KMS keys as well. An AES key encrypts two constant blocks (one would let somebody find two keys with one fingerprint by
 * 2^64 trials), an HMAC key makes the MAC of a constant, a pair has its public key. Every token gives the same, because each of these has one
 * answer. Whoever has the fingerprint can try a material that he guesses, and learns nothing else.
 *
 * The blocks cannot meet what the key does for its callers: AES-GCM encrypts the block of zeroes and blocks whose last four bytes count up
 * from 1 (NIST SP 800-38D, section 7.1); these end in ff ff ff ff, which is 64 GiB away.
 */

import { createCipheriv, createHash, type Hash } from 'node:crypto';
import { constant, type Handle } from '../token/cryptoki.ts';
import { HostFailure } from '../token/failures.ts';
import type { UsageRow } from '../token/pkcs11-key-specs.ts';
import type { TokenSession } from '../token/token-session.ts';
import { macAlgorithms } from './signing-mechanisms.ts';

const blockBytes = 16;

/** What a fingerprint is bound to. */
export interface FingerprintScope {
  readonly keySpec: string;
  readonly keyIdDigits: string;
}

/** Of an AES or HMAC key object; `usage` is its own. Throws errors of the library as they are. */
export function secretFingerprint(
  session: TokenSession,
  { key, keyType, usage }: { key: Handle; keyType: string; usage: UsageRow },
  scope: FingerprintScope,
): Buffer {
  const answer = keyType === 'CKK_AES' ? encryptBlocks(session, key, scope) : macOf(session, key, usage, scope);
  return fingerprintOf(answer, scope);
}

export function pairFingerprint(subjectPublicKeyInfo: Buffer, scope: FingerprintScope): Buffer {
  return fingerprintOf(subjectPublicKeyInfo, scope);
}

/** The fingerprint of an AES key whose value is known, to judge a token by. */
export function knownAesFingerprint(value: Buffer, scope: FingerprintScope): Buffer {
  const cipher = createCipheriv('aes-256-ecb', value, null).setAutoPadding(false);
  return fingerprintOf(Buffer.concat([cipher.update(constantBlocks(scope)), cipher.final()]), scope);
}

function encryptBlocks(session: TokenSession, key: Handle, scope: FingerprintScope): Buffer {
  const { cryptoki, handle } = session;
  const blocks = constantBlocks(scope);
  // Some libraries ask for room for one block more.
  const output = Buffer.alloc(blocks.length + blockBytes);
  session.step = 'CKM_AES_ECB C_EncryptInit';
  cryptoki.C_EncryptInit(handle, { mechanism: constant('CKM_AES_ECB') }, key);
  session.step = 'CKM_AES_ECB C_Encrypt';
  const bytes = cryptoki.C_Encrypt(handle, blocks, output);
  if (bytes !== blocks.length) throw new HostFailure('internal', `CKM_AES_ECB C_Encrypt: ${bytes} bytes`);
  return output.subarray(0, bytes);
}

function macOf(session: TokenSession, key: Handle, { algorithms }: UsageRow, scope: FingerprintScope): Buffer {
  const row = macAlgorithms.get(Object.keys(algorithms)[0] ?? '');
  if (row === undefined) throw new HostFailure('internal', 'a secret that is imported is for AES or HMAC');
  const { cryptoki, handle } = session;
  const output = Buffer.alloc(row.macBytes);
  session.step = row.initStep;
  cryptoki.C_SignInit(handle, row.mechanism, key);
  session.step = row.step;
  const bytes = cryptoki.C_Sign(handle, bound('constant', scope).digest(), output);
  if (bytes !== row.macBytes) throw new HostFailure('internal', `${row.step}: ${bytes} bytes`);
  return output;
}

function constantBlocks(scope: FingerprintScope): Buffer {
  const blocks = bound('constant', scope).digest();
  for (let end = blockBytes; end <= blocks.length; end += blockBytes) blocks.fill(0xff, end - 4, end);
  return blocks;
}

function fingerprintOf(answer: Buffer, scope: FingerprintScope): Buffer {
  return bound('fingerprint', scope).update(answer).digest();
}

/** What goes in before is told apart by its NULs: no name has one. */
function bound(purpose: string, { keySpec, keyIdDigits }: FingerprintScope): Hash {
  return createHash('sha256').update(`drawbridge imported key material\0${purpose}\0${keySpec}\0${keyIdDigits}\0`);
}
