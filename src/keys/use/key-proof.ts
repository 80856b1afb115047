/**
 * The proof that a backing key is there, by using it: an object that is listed may be another one, or one that the token cannot use.
 *
 * Of a pair the private half has to fit the public key on record, so that it is this one and no other. Of a secret key nothing is
 * known outside the HSM that a use could be compared with, unless something was encrypted with it; that it works, under its id and with the
 * label that it was given, is what can be proven. An encryption for this is not counted by the key's counter: it would take 2^32
 * of them to matter (NIST SP 800-38D, 8.3).
 */

import {
  constants,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import type { KeyStore } from '../../hsm/key-store.ts';
import type { BackingKeyReference } from '../../hsm/wrapped-key.ts';
import type { SigningAlgorithm } from '../../kms/algorithms.ts';
import { type KeySpec, type KeyUsage, keySpecRow } from '../../kms/key-specs.ts';
import { Plaintext } from '../../secrets/secret-bytes.ts';
import { secretMemory } from '../../secrets/secret-memory.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import { type LivingKey, referenceOf } from '../backing-key-reference.ts';
import { isSignature } from './signatures.ts';
import { hashedMessage, type SignedMessage } from './signed-message.ts';
import { signingAlgorithmRow } from './signing-algorithms.ts';

/** What is to be proven: the material, and of which kind its KMS key is. */
export interface ProvenMaterial {
  readonly record: LivingKey & Pick<BackingKeyRecord, 'keyId'>;
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  /**
   * What everybody uses it by, in a running daemon: it ends with the destruction of the key, and one of its own would have a lane unwrap a
   * key once more that it was made to forget. Absent: nobody else uses it.
   */
  readonly reference?: BackingKeyReference | undefined;
}

function referenceIn({ record, reference }: ProvenMaterial): BackingKeyReference {
  return reference ?? referenceOf(record);
}

export type ProvingKeyStore = Pick<
  KeyStore,
  | 'capabilities'
  | 'describeKey'
  | 'encrypt'
  | 'decrypt'
  | 'mac'
  | 'verifyMac'
  | 'sign'
  | 'decryptAsymmetric'
  | 'deriveSharedSecret'
>;

/** What is encrypted, authenticated or signed: as long as a block, and nobody's secret. */
const probeBytes = 16;

/**
 * @returns `null` when it is there and works; else what is wrong, for operators.
 * @throws KeyStoreError when the token cannot be asked now: that proves nothing.
 */
export async function proveMaterial(keyStore: ProvingKeyStore, material: ProvenMaterial): Promise<string | null> {
  const { record, keyUsage } = material;
  const { keyId, residency } = record;
  const { label } = await keyStore.describeKey(referenceIn(material));
  // What was unwrapped has no name of its own; which key it is stands in its record.
  if (residency === 'token' && !label.startsWith(`drawbridge:${keyId}:`))
    return `the HSM calls the object \`${label}\``;
  switch (keyUsage) {
    case 'ENCRYPT_DECRYPT':
      return keySpecRow(material.keySpec).isKeyPair
        ? proveDecryption(keyStore, material)
        : proveEncryption(keyStore, material);
    case 'GENERATE_VERIFY_MAC':
      return proveMac(keyStore, material);
    case 'SIGN_VERIFY':
      return proveSigning(keyStore, material);
    case 'KEY_AGREEMENT':
      return proveAgreement(keyStore, material);
    case 'ENCAPSULATE_DECAPSULATE':
      return 'nothing here can use such a key';
    default:
      return keyUsage satisfies never;
  }
}

async function proveEncryption(keyStore: ProvingKeyStore, material: ProvenMaterial): Promise<string | null> {
  const key = referenceIn(material);
  const aad = Buffer.from('drawbridge/census');
  const probe = randomBytes(probeBytes);
  const sealed = await keyStore.encrypt({ ...key, aad, plaintext: plaintextOf(probe) });
  const opened = await keyStore.decrypt({ ...key, aad, ...sealed });
  return opened.reveal().equals(probe) ? null : 'what it encrypts does not come back';
}

async function proveMac(keyStore: ProvingKeyStore, material: ProvenMaterial): Promise<string | null> {
  const reference = referenceIn(material);
  const algorithm = firstAlgorithm(keyStore, material);
  if (algorithm === undefined) return noAlgorithm;
  const data = randomBytes(probeBytes);
  const mac = await keyStore.mac({ ...reference, algorithm, data });
  return (await keyStore.verifyMac({ ...reference, algorithm, data, mac })) ? null : 'its MACs do not verify';
}

async function proveSigning(keyStore: ProvingKeyStore, material: ProvenMaterial): Promise<string | null> {
  const reference = referenceIn(material);
  const algorithm = firstAlgorithm(keyStore, material) as SigningAlgorithm | undefined;
  const publicKey = publicKeyIn(material);
  if (algorithm === undefined) return noAlgorithm;
  if (publicKey === undefined) return noPublicKey;
  const message = plaintextOf(randomBytes(probeBytes));
  const signed: SignedMessage = { algorithm, message, messageType: 'RAW' };
  const { content, bytes } = hashedMessage(signed);
  const signature = await keyStore.sign({ ...reference, algorithm, content, message: bytes });
  if (signingAlgorithmRow(algorithm).scheme === null) return null;
  return (await isSignature(publicKey, signed, signature)) ? null : otherPair;
}

async function proveDecryption(keyStore: ProvingKeyStore, material: ProvenMaterial): Promise<string | null> {
  const reference = referenceIn(material);
  const algorithm = firstAlgorithm(keyStore, material);
  const key = publicKeyIn(material);
  if (algorithm === undefined) return noAlgorithm;
  if (key === undefined) return noPublicKey;
  const oaepHash = algorithm === 'RSAES_OAEP_SHA_1' ? 'sha1' : 'sha256';
  const probe = randomBytes(probeBytes);
  const ciphertext = publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, probe);
  const opened = await keyStore.decryptAsymmetric({ ...reference, algorithm, ciphertext });
  return opened.reveal().equals(probe) ? null : otherPair;
}

async function proveAgreement(keyStore: ProvingKeyStore, material: ProvenMaterial): Promise<string | null> {
  const ours = publicKeyIn(material);
  const namedCurve = ours?.asymmetricKeyDetails?.namedCurve;
  if (ours === undefined || namedCurve === undefined) return noPublicKey;
  const peer = generateKeyPairSync('ec', { namedCurve });
  const publicKey = peer.publicKey.export({ format: 'der', type: 'spki' });
  const derived = await keyStore.deriveSharedSecret({ ...referenceIn(material), publicKey });
  const expected = diffieHellman({ privateKey: peer.privateKey, publicKey: ours });
  return derived.reveal().equals(expected) ? null : otherPair;
}

const noAlgorithm = 'the HSM can use such a key with none of its algorithms';
const noPublicKey = 'its public key is not on record';
const otherPair = 'the private key in the HSM does not belong to the public key on record';

/** The first of its algorithms that the token has. */
function firstAlgorithm(keyStore: ProvingKeyStore, { keySpec, keyUsage }: ProvenMaterial): string | undefined {
  const { capabilities } = keyStore.capabilities();
  const algorithms = keySpecRow(keySpec).usages[keyUsage] ?? [];
  return algorithms.find((algorithm) =>
    capabilities.some((row) => row.keySpec === keySpec && row.algorithm === algorithm && row.works),
  );
}

function publicKeyIn({ record: { publicKey } }: ProvenMaterial): KeyObject | undefined {
  return publicKey === null ? undefined : createPublicKey({ key: publicKey, format: 'der', type: 'spki' });
}

/** A copy, in memory of its own. */
function plaintextOf(bytes: Buffer): Plaintext {
  const own = secretMemory(bytes.length);
  bytes.copy(own);
  return new Plaintext(own);
}
