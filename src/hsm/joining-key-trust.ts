/** Has a token's security officer trust the public half of a joining pair: see `host/token/trust-joining-key.ts`. */

import { createPublicKey } from 'node:crypto';
import type { BackingKeyId } from '../kms/names.ts';
import type { Pin } from '../secrets/secret-bytes.ts';
import type { HostSettings } from './calls.ts';
import { joiningKeyLabelPrefix } from './key-carrying.ts';
import { runLibraryProcess } from './library-process.ts';

export interface TrustedJoiningKey {
  /** `CKA_ID` of what is made. */
  readonly backingKeyId: BackingKeyId;
  /** SubjectPublicKeyInfo, DER, of an RSA key. */
  readonly publicKey: Buffer;
  readonly soPin: Pin;
}

/**
 * One attempt, of one login. `KeyStore.destroyKey` ends what it makes.
 * @returns Why not, for operators; `null`: it is trusted.
 */
export async function trustJoiningKey(
  { library, libraryParameters, token }: Pick<HostSettings, 'library' | 'libraryParameters' | 'token'>,
  { backingKeyId, publicKey, soPin }: TrustedJoiningKey,
  environment: Readonly<Record<string, string>>,
): Promise<string | null> {
  const { n, e } = createPublicKey({ key: publicKey, format: 'der', type: 'spki' }).export({ format: 'jwk' });
  const base64 = (text: string | undefined) => Buffer.from(text ?? '', 'base64url').toString('base64');
  const task = {
    ...{ library, libraryParameters, token, soPin: soPin.reveal().toString('utf8') },
    ...{ id: backingKeyId, label: `${joiningKeyLabelPrefix}${backingKeyId}`, modulus: base64(n), exponent: base64(e) },
  };
  const output = await runLibraryProcess('trust-joining-key', JSON.stringify(task), environment);
  return (JSON.parse(output) as { problem: string | null }).problem; // As that program writes it.
}
