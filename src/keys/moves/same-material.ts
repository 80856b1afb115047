/** Are two pieces of material, wherever they live, one key? Found out by using both. */

import { randomBytes } from 'node:crypto';
import { type KeyStore, KeyStoreError } from '../../hsm/key-store.ts';
import { keySpecRow } from '../../kms/key-specs.ts';
import { Plaintext } from '../../secrets/secret-bytes.ts';
import { secretMemory } from '../../secrets/secret-memory.ts';
import { referenceOf } from '../backing-key-reference.ts';
import { type ProvenMaterial, type ProvingKeyStore, proveMaterial } from '../use/key-proof.ts';

export interface PlacedMaterial extends ProvenMaterial {
  readonly keyStore: ProvingKeyStore & Pick<KeyStore, 'name'>;
}

const probeBytes = 16;

/**
 * What one encrypts, the other has to open; of one message both have to make the same MAC; the private half of a pair has to belong to
 * the public key on record, which both have. And each of them has to work by itself (`key-proof.ts`).
 * @returns `null`: they are. Otherwise why not, for operators.
 * @throws KeyStoreError when a token cannot be asked now: that proves nothing.
 */
export async function whyNotSame(one: PlacedMaterial, other: PlacedMaterial): Promise<string | null> {
  for (const material of [one, other]) {
    const why = await proveMaterial(material.keyStore, material);
    if (why !== null) return `in \`${material.keyStore.name}\`: ${why}`;
  }
  if (keySpecRow(one.keySpec).isKeyPair) return null;
  return one.keyUsage === 'GENERATE_VERIFY_MAC' ? whyOtherMac(one, other) : whyOtherCipher(one, other);
}

async function whyOtherMac(one: PlacedMaterial, other: PlacedMaterial): Promise<string | null> {
  const algorithm = (keySpecRow(one.keySpec).usages[one.keyUsage] ?? [])[0] ?? '';
  const data = randomBytes(probeBytes);
  const mac = await one.keyStore.mac({ ...referenceOf(one.record), algorithm, data });
  const isSame = await other.keyStore.verifyMac({ ...referenceOf(other.record), algorithm, data, mac });
  return isSame ? null : 'they make different MACs';
}

async function whyOtherCipher(one: PlacedMaterial, other: PlacedMaterial): Promise<string | null> {
  const aad = Buffer.from('drawbridge/same-material');
  const probe = randomBytes(probeBytes);
  const bytes = secretMemory(probe.length);
  probe.copy(bytes);
  const sealed = await one.keyStore.encrypt({ ...referenceOf(one.record), aad, plaintext: new Plaintext(bytes) });
  try {
    const opened = await other.keyStore.decrypt({ ...referenceOf(other.record), aad, ...sealed });
    return opened.reveal().equals(probe) ? null : 'one decrypts to something else';
  } catch (error) {
    if (error instanceof KeyStoreError && error.failure === 'ciphertextInvalid')
      return 'one does not open what the other encrypts';
    throw error;
  }
}
