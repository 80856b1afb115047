/**
 * Thousands of operations of every kind from 64 callers at once, on both tokens: not one wrong answer, and the memory of the
 * HSM host stays flat. `DRAWBRIDGE_MIXED_OPERATIONS=100000` makes as many.
 *
 * Every answer is checked against node:crypto or against what went in. A caller works on keys that all callers share, so
 * that answers which were mixed up between requests would be seen.
 */

import {
  constants,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  publicEncrypt,
  randomBytes,
  verify,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { KeySpec, KeyUsageType, KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { childrenOf } from '../../support/children.ts';
import { type Instance, missingForInstance, startInstance } from '../../support/instance.ts';
import { kmsOver } from '../support/connect.ts';
import { present } from '../support/daemon.ts';

const callers = 64;
const operations = Number(process.env['DRAWBRIDGE_MIXED_OPERATIONS'] ?? 2_000);
const warmupOperations = 1_500;
const timeoutMs = 900_000;
/** Buffers of calls under way and the allocator's slack; a leak of 3 KB an operation, which is a small request, would be more. */
const maxGrowthKilobytes = 8 * 1024;

interface Keys {
  readonly aes: string;
  readonly rsa: string;
  readonly rsaPublic: KeyObject;
  readonly ec: string;
  readonly ecPublic: KeyObject;
  readonly decrypting: string;
  readonly decryptingPublic: KeyObject;
  readonly agreeing: string;
  readonly agreeingPublic: KeyObject;
  readonly mac: string;
}

/** One operation, or two that belong together; throws when an answer is wrong. */
type Step = (kms: KMS, keys: Keys) => Promise<number>;

const steps: readonly Step[] = [
  async (kms, { aes }) => {
    const Plaintext = randomBytes(1 + Math.floor(Math.random() * 4096));
    const EncryptionContext = { nonce: randomBytes(8).toString('hex') };
    const { CiphertextBlob } = await kms.encrypt({ KeyId: aes, Plaintext, EncryptionContext });
    const answer = await kms.decrypt({ CiphertextBlob: present(CiphertextBlob), EncryptionContext });
    expect(Plaintext.equals(present(answer.Plaintext))).toBe(true);
    return 2;
  },
  async (kms, { aes }) => {
    const { CiphertextBlob, Plaintext } = await kms.generateDataKey({ KeyId: aes, KeySpec: 'AES_256' });
    const answer = await kms.decrypt({ CiphertextBlob: present(CiphertextBlob) });
    expect(Buffer.from(present(Plaintext)).equals(present(answer.Plaintext))).toBe(true);
    return 2;
  },
  async (kms, { rsa, rsaPublic }) => {
    const Message = randomBytes(100);
    const SigningAlgorithm = 'RSASSA_PSS_SHA_256';
    const { Signature } = await kms.sign({ KeyId: rsa, Message, SigningAlgorithm });
    const key = { key: rsaPublic, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    expect(verify('sha256', Message, key, present(Signature))).toBe(true);
    return 1;
  },
  async (kms, { ec, ecPublic }) => {
    const Message = randomBytes(1 + Math.floor(Math.random() * 4096));
    const SigningAlgorithm = 'ECDSA_SHA_256';
    const { Signature } = await kms.sign({ KeyId: ec, Message, SigningAlgorithm });
    expect(verify('sha256', Message, ecPublic, present(Signature))).toBe(true);
    const wrong = kms.verify({ KeyId: ec, Message: randomBytes(40), SigningAlgorithm, Signature });
    await expect(wrong).rejects.toMatchObject({ name: 'KMSInvalidSignatureException' });
    return 2;
  },
  async (kms, { mac }) => {
    const Message = randomBytes(64);
    const MacAlgorithm = 'HMAC_SHA_256';
    const { Mac } = await kms.generateMac({ KeyId: mac, Message, MacAlgorithm });
    const { MacValid } = await kms.verifyMac({ KeyId: mac, Message, MacAlgorithm, Mac });
    expect(MacValid).toBe(true);
    const wrong = kms.verifyMac({ KeyId: mac, Message, MacAlgorithm, Mac: randomBytes(32) });
    await expect(wrong).rejects.toMatchObject({ name: 'KMSInvalidMacException' });
    return 3;
  },
  async (kms, { decrypting, decryptingPublic }) => {
    const secret = randomBytes(1 + Math.floor(Math.random() * 190));
    const key = { key: decryptingPublic, oaepHash: 'sha256' };
    const answer = await kms.decrypt({
      KeyId: decrypting,
      CiphertextBlob: publicEncrypt(key, secret),
      EncryptionAlgorithm: 'RSAES_OAEP_SHA_256',
    });
    expect(secret.equals(present(answer.Plaintext))).toBe(true);
    return 1;
  },
  async (kms, { decrypting }) => {
    const forged = kms.decrypt({
      KeyId: decrypting,
      CiphertextBlob: randomBytes(256),
      EncryptionAlgorithm: 'RSAES_OAEP_SHA_256',
    });
    await expect(forged).rejects.toMatchObject({ name: 'InvalidCiphertextException' });
    return 1;
  },
  async (kms, { agreeing, agreeingPublic }) => {
    const peer = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { SharedSecret } = await kms.deriveSharedSecret({
      KeyId: agreeing,
      KeyAgreementAlgorithm: 'ECDH',
      PublicKey: peer.publicKey.export({ format: 'der', type: 'spki' }),
    });
    const expected = diffieHellman({ privateKey: peer.privateKey, publicKey: agreeingPublic });
    expect(expected.equals(present(SharedSecret))).toBe(true);
    return 1;
  },
  async (kms, { aes }) => {
    const pair = await kms.generateDataKeyPair({ KeyId: aes, KeyPairSpec: 'ECC_NIST_P256' });
    const privateKey = Buffer.from(present(pair.PrivateKeyPlaintext));
    const { Plaintext } = await kms.decrypt({ CiphertextBlob: present(pair.PrivateKeyCiphertextBlob) });
    expect(privateKey.equals(present(Plaintext))).toBe(true);
    const key = createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' });
    const ours = createPublicKey(key).export({ format: 'der', type: 'spki' });
    expect(ours.equals(present(pair.PublicKey))).toBe(true);
    return 2;
  },
];

describe.each(['softhsm2', 'nss'] as const)('over %s', (token) => {
  const missing = missingForInstance(token);
  if (missing !== null) process.stdout.write(`skipped: mixed load over ${token}: ${missing}\n`);
  let instance: Instance | undefined;
  beforeAll(async () => {
    if (missing === null) instance = await startInstance({ token });
  });
  afterAll(() => instance?.stop());

  test.skipIf(missing !== null)(
    'thousands of mixed operations from 64 callers get no wrong answer, and no HSM host grows',
    async () => {
      const { socket, pid } = present(instance);
      const kms = kmsOver(socket, callers);
      const keys = await createKeys(kms);
      await load(kms, keys, warmupOperations);
      const hosts = childrenOf(pid);
      const before = hosts.map(residentKilobytes);
      await load(kms, keys, operations);
      expect(childrenOf(pid)).toEqual(hosts);
      const grown = hosts.map((host, at) => residentKilobytes(host) - (before[at] ?? 0));
      process.stdout.write(`the HSM hosts over ${token}: ${before} kB, and ${grown} kB more after the load\n`);
      expect(Math.max(...grown)).toBeLessThan(maxGrowthKilobytes);
      kms.destroy();
    },
    timeoutMs,
  );
});

/** The first wrong answer ends it. */
async function load(kms: KMS, keys: Keys, count: number): Promise<void> {
  let done = 0;
  const call = async (_: unknown, caller: number): Promise<void> => {
    for (let turn = caller; done < count; turn += 1) {
      const made = await present(steps[turn % steps.length])(kms, keys).catch(toldToComeBack);
      done += made;
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  expect(done).toBeGreaterThanOrEqual(count);
}

/** What waits for a lane for as long as a call may take is sent away, which on a busy machine is some of so many: it is no answer, and no wrong one. */
function toldToComeBack(error: Error): number {
  if (error.name !== 'ThrottlingException') throw error;
  return 0;
}

async function createKeys(kms: KMS): Promise<Keys> {
  const create = async (keySpec: KeySpec, keyUsage: KeyUsageType): Promise<string> => {
    const { KeyMetadata } = await kms.createKey({ KeySpec: keySpec, KeyUsage: keyUsage });
    return present(KeyMetadata?.KeyId);
  };
  const publicKey = async (KeyId: string): Promise<KeyObject> => {
    const { PublicKey } = await kms.getPublicKey({ KeyId });
    return createPublicKey({ key: Buffer.from(present(PublicKey)), format: 'der', type: 'spki' });
  };
  const rsa = await create('RSA_2048', 'SIGN_VERIFY');
  const ec = await create('ECC_NIST_P256', 'SIGN_VERIFY');
  const decrypting = await create('RSA_2048', 'ENCRYPT_DECRYPT');
  const agreeing = await create('ECC_NIST_P256', 'KEY_AGREEMENT');
  return {
    aes: await create('SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT'),
    rsa,
    rsaPublic: await publicKey(rsa),
    ec,
    ecPublic: await publicKey(ec),
    decrypting,
    decryptingPublic: await publicKey(decrypting),
    agreeing,
    agreeingPublic: await publicKey(agreeing),
    mac: await create('HMAC_256', 'GENERATE_VERIFY_MAC'),
  };
}

function residentKilobytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
