/**
 * What a key of a domain does, so that whoever gets it knows it again (`hsm/host/calls/carried-keys.ts` says what that is and looks at it).. A
 * proof tells nobody the key.
 */

import { type CarriedKey, proofInput } from '../../hsm/key-carrying.ts';
import { domainKeyLabelPrefix, type KeyStore } from '../../hsm/key-store.ts';
import { WrappedKey } from '../../hsm/wrapped-key.ts';
import { newBackingKeyId } from '../../kms/names.ts';
import { Plaintext } from '../../secrets/secret-bytes.ts';
import { secretMemory } from '../../secrets/secret-memory.ts';

const macKey = { keySpec: 'HMAC_256', keyUsage: 'GENERATE_VERIFY_MAC' } as const;
const algorithm = 'HMAC_SHA_256';

type Prover = Pick<KeyStore, 'mac' | 'encrypt' | 'generateWrappedKey' | 'forgetWrappedKey'>;

/**
 * @param key One that the key store has.
 * @throws KeyStoreError when the key store has not the key, or cannot use it.
 */
export async function proveKey(keyStore: Prover, key: Omit<CarriedKey, 'proof'>): Promise<CarriedKey> {
  const { backingKeyId, label, keySpec } = key;
  const data = proofInput(key);
  if (label.startsWith(domainKeyLabelPrefix)) return { ...key, proof: await ofDomainKey() };
  if (keySpec === macKey.keySpec) return { ...key, proof: await keyStore.mac({ backingKeyId, algorithm, data }) };
  const text = secretMemory(data.length);
  text.set(data);
  const { iv, ciphertext } = await keyStore.encrypt({ backingKeyId, aad: data, plaintext: new Plaintext(text) });
  return { ...key, proof: Buffer.concat([iv, ciphertext]) };

  async function ofDomainKey(): Promise<Buffer> {
    const made = await keyStore.generateWrappedKey({ domainKeyId: backingKeyId, ...macKey });
    const wrapped = new WrappedKey({ domainKeyId: backingKeyId, ...macKey, ...made });
    const reference = { backingKeyId: newBackingKeyId(), wrapped };
    const mac = await keyStore.mac({ ...reference, algorithm, data });
    wrapped.end();
    await keyStore.forgetWrappedKey(reference);
    return Buffer.concat([mac, made.blob]);
  }
}
