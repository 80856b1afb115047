/**
 * Public halves of key pairs: kept beside their backing keys as SubjectPublicKeyInfo, used here and not in the HSM.
 *
 * Nothing of this is secret. A public key comes from the HSM when its pair is generated and is authenticated in the
 * metadata store like every record, so whoever edits the database cannot have his own signatures accepted.
 */

import { createPublicKey, type KeyObject } from 'node:crypto';
import { maxParsedPublicKeys } from '../../kms/budgets.ts';
import type { AuthorizedKey } from '../authorized-key.ts';
import type { BackingKey } from '../kms-key.ts';
import { RecentlyUsed } from './recently-used.ts';

/** A parsed key costs some 40 µs, so each is parsed once while it is in use. */
const parsed = new RecentlyUsed<BackingKey, KeyObject>(maxParsedPublicKeys);

/** The public key of an asymmetric KMS key, X.509 SubjectPublicKeyInfo in DER. */
export function publicKeyInfo({ key, material }: AuthorizedKey): Buffer {
  const { publicKey } = material.record;
  // The KeySpec was checked by the pipeline; a pair without its public half was never committed.
  if (publicKey === null) throw new TypeError(`key ${key.record.keyId} has no public key on record`);
  return publicKey;
}

/** The same, ready for use. */
export function publicKeyOf(authorized: AuthorizedKey): KeyObject {
  const { material } = authorized;
  let publicKey = parsed.get(material);
  if (publicKey === undefined) {
    publicKey = createPublicKey({ key: publicKeyInfo(authorized), format: 'der', type: 'spki' });
    parsed.add(material, publicKey);
  }
  return publicKey;
}
