/**
 * What a key of a domain does, so that whoever gets it knows it again (`hsm/host/calls/carried-keys.ts` says what that is and looks at it).. A
 * proof tells nobody the key.
 */

import { timingSafeEqual } from 'node:crypto';
import { type CarriedKey, proofInput } from '../../hsm/key-carrying.ts';
import { domainKeyLabelPrefix, type KeyStore, KeyStoreError } from '../../hsm/key-store.ts';
import { WrappedKey } from '../../hsm/wrapped-key.ts';
import { type BackingKeyId, newBackingKeyId } from '../../kms/names.ts';
import { Plaintext } from '../../secrets/secret-bytes.ts';
import { secretMemory } from '../../secrets/secret-memory.ts';

const proofMacBytes = 32;
const macKey = { keySpec: 'HMAC_256', keyUsage: 'GENERATE_VERIFY_MAC' } as const;
const algorithm = 'HMAC_SHA_256';

/**
 * What a domain key is on record with, so that it is known again in whatever HSM has it and however it is called there: an invitation's proof is bound to the
 * name of the domain, which is another one with other service keys.
 * @throws KeyStoreError when the key store has not the key, or cannot use it.
 */
export async function proofForRecord(keyStore: Prover, backingKeyId: BackingKeyId): Promise<Buffer> {
  return ofDomainKey(keyStore, backingKeyId, recordInput(backingKeyId));
}

/** A domain key that is on record with its proof is one that unwraps this key, which then makes this MAC of the message. */
export function proofOnRecord({
  backingKeyId,
  proof,
}: {
  readonly backingKeyId: BackingKeyId;
  readonly proof: Buffer;
}) {
  const blob = proof.subarray(proofMacBytes);
  const wrapped = new WrappedKey({ domainKeyId: backingKeyId, ...macKey, publicKey: null, blob });
  return { algorithm, wrapped, message: recordInput(backingKeyId), mac: proof.subarray(0, proofMacBytes) };
}

function recordInput(backingKeyId: BackingKeyId): Buffer {
  return Buffer.from(`drawbridge/domain-key-on-record/1\0${backingKeyId}`);
}

type Prover = Pick<KeyStore, 'mac' | 'encrypt' | 'generateWrappedKey' | 'forgetWrappedKey'>;

/**
 * @param key One that the key store has.
 * @throws KeyStoreError when the key store has not the key, or cannot use it.
 */
export async function proveKey(keyStore: Prover, key: Omit<CarriedKey, 'proof'>): Promise<CarriedKey> {
  const { backingKeyId, label, keySpec } = key;
  const data = proofInput(key);
  if (label.startsWith(domainKeyLabelPrefix)) return { ...key, proof: await ofDomainKey(keyStore, backingKeyId, data) };
  if (keySpec === macKey.keySpec) return { ...key, proof: await keyStore.mac({ backingKeyId, algorithm, data }) };
  const text = secretMemory(data.length);
  text.set(data);
  const { iv, ciphertext } = await keyStore.encrypt({ backingKeyId, aad: data, plaintext: new Plaintext(text) });
  return { ...key, proof: Buffer.concat([iv, ciphertext]) };
}

async function ofDomainKey(keyStore: Prover, domainKeyId: BackingKeyId, data: Buffer): Promise<Buffer> {
  const made = await keyStore.generateWrappedKey({ domainKeyId, ...macKey });
  const wrapped = new WrappedKey({ domainKeyId, ...macKey, ...made });
  const reference = { backingKeyId: newBackingKeyId(), wrapped };
  const mac = await keyStore.mac({ ...reference, algorithm, data });
  wrapped.end();
  await keyStore.forgetWrappedKey(reference);
  return Buffer.concat([mac, made.blob]);
}

/**
 * Does a key store have this domain key, as another one has just proven it? It unwraps what that one has wrapped, and makes the same of it.
 * @throws KeyStoreError when the key store cannot be asked.
 */
export async function doesTheSame(
  keyStore: Pick<KeyStore, 'mac' | 'forgetWrappedKey'>,
  key: CarriedKey,
): Promise<boolean> {
  const [theirs, blob] = [key.proof.subarray(0, proofMacBytes), key.proof.subarray(proofMacBytes)];
  const wrapped = new WrappedKey({ domainKeyId: key.backingKeyId, ...macKey, publicKey: null, blob });
  const reference = { backingKeyId: newBackingKeyId(), wrapped };
  try {
    const mine = await keyStore.mac({ ...reference, algorithm, data: proofInput(key) });
    return mine.length === theirs.length && timingSafeEqual(mine, theirs);
  } catch (error) {
    if (error instanceof KeyStoreError && error.failure === 'keyUnavailable') return false;
    throw error;
  } finally {
    wrapped.end();
    await keyStore.forgetWrappedKey(reference);
  }
}
