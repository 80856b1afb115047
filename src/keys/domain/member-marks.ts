/**
 * The mark of a member: an HMAC key that its HSM generated, that is in it alone and goes nowhere, as no member has two. All else that a member
 * holds others hold as well; by this it is known whatever it is called, and a copy of its token, restored from a backup, with it.
 *
 * Its record has what the mark makes of `markInput`: an id and a label can be given to any key.
 */

import { type KeyStore, markLabelPrefix } from '../../hsm/key-store.ts';
import { type BackingKeyId, newBackingKeyId } from '../../kms/names.ts';

const algorithm = 'HMAC_SHA_256';

function markInput(backingKeyId: BackingKeyId): Buffer {
  return Buffer.from(`drawbridge/mark-of-a-member/1\0${backingKeyId}`);
}

/** The label of the marks of a key store's members. It is none of those whose keys are carried into other HSMs. */
export function markLabel(keyStore: string): string {
  return `${markLabelPrefix}${keyStore}`;
}

/** @throws KeyStoreError when the HSM makes none. */
export async function createMark(member: Pick<KeyStore, 'generateKey'>, keyStore: string): Promise<BackingKeyId> {
  const backingKeyId = newBackingKeyId();
  const label = markLabel(keyStore);
  await member.generateKey({ backingKeyId, label, keySpec: 'HMAC_256', keyUsage: 'GENERATE_VERIFY_MAC' });
  return backingKeyId;
}

/** @throws KeyStoreError when the HSM has not this mark, or does not tell. */
export async function proofOfMark(member: Pick<KeyStore, 'macs'>, backingKeyId: BackingKeyId): Promise<Buffer> {
  const [mac] = await member.macs({ backingKeyId, algorithm, messages: [markInput(backingKeyId)] });
  return mac as Buffer; // There is one MAC for one message.
}
