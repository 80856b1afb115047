/**
 * Making key objects: the one place where the host calls `C_GenerateKey` and `C_GenerateKeyPair`, for backing keys, for data
 * key pairs and for probes. Whoever calls it destroys what it gets.
 */

import type { VendorProfile } from '../../vendor-profile.ts';
import { constant, type Handle } from '../token/cryptoki.ts';
import { type KeyOutline, privateKeyTemplate, publicKeyTemplate, secretKeyTemplate } from '../token/key-attributes.ts';
import type { TokenSession } from '../token/token-session.ts';

export interface GeneratedObjects {
  /** The secret key, or the private half of a pair. */
  readonly key: Handle;
  readonly publicKey: Handle | null;
}

/** Throws errors of the library as they are; `session.step` says where. */
export function generateObjects(session: TokenSession, key: KeyOutline, profile: VendorProfile): GeneratedObjects {
  const { cryptoki, handle } = session;
  const mechanism = { mechanism: constant(key.row.generation ?? '') };
  if (key.row.objectClass === 'CKO_SECRET_KEY') {
    session.step = `${key.row.generation} C_GenerateKey`;
    return { key: cryptoki.C_GenerateKey(handle, mechanism, secretKeyTemplate(key, profile)), publicKey: null };
  }
  session.step = `${key.row.generation} C_GenerateKeyPair`;
  const [publicTemplate, privateTemplate] = [publicKeyTemplate(key, profile), privateKeyTemplate(key, profile)];
  const { publicKey, privateKey } = cryptoki.C_GenerateKeyPair(handle, mechanism, publicTemplate, privateTemplate);
  return { key: privateKey, publicKey };
}
