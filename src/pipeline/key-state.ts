/**
 * Which states keep a key from being used, and what AWS says then.
 *
 * Source: AWS KMS developer guide, "Key states of AWS KMS keys", the notes below the table. For a key that is pending deletion
 * it leaves the name of the error open; the SDK's models document KMSInvalidStateException.
 */

import { KmsError } from '../kms/errors.ts';
import type { KeyState } from '../operations/keys/key-metadata.ts';

/** The key "is …". */
const unusable = {
  Creating: 'creating',
  Disabled: 'disabled',
  PendingDeletion: 'pending deletion',
  PendingImport: 'pending import',
  PendingReplicaDeletion: 'pending replica deletion',
  Unavailable: 'unavailable',
  Updating: 'updating',
} as const satisfies Record<Exclude<KeyState, 'Enabled'>, string>;

/** @throws KmsError DisabledException or KMSInvalidStateException. */
export function assertEnabled(keyArn: string, state: KeyState): void {
  if (state === 'Enabled') return;
  const name = state === 'Disabled' ? 'DisabledException' : 'KMSInvalidStateException';
  throw new KmsError(name, `${keyArn} is ${unusable[state]}.`);
}
