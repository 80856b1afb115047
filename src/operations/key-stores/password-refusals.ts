/**
 * What is known of a custom key store's password when the store was updated: which HSMs have refused it, so that it is not presented to
 * one of them again.
 *
 * INVARIANT: a refusal is forgotten when the store gets another password, and for nothing else. One that another HSM than the store's has
 * given waits for the store to come back to that. The same password given again changes nothing about an HSM that has called it wrong; one that was
 * locked, or had no user PIN, has not judged it, and whoever gives it again says that it is right by now.
 */

import { isPasswordRefusal } from '../../kms/connection-states.ts';
import type { CustomKeyStoreRecord } from '../../store/records/records.ts';

export interface UpdatedLogin {
  /** The HSM that the store has from now on. */
  readonly cloudHsmClusterId: string;
  /** `again`: the request has one, and it is the one that the store has. */
  readonly password: 'kept' | 'again' | 'another';
}

export function refusalsAfter(
  { cloudHsmClusterId: former, connectionErrorCode: code, refusals }: CustomKeyStoreRecord,
  { cloudHsmClusterId, password }: UpdatedLogin,
): Pick<CustomKeyStoreRecord, 'connectionErrorCode' | 'refusals'> {
  // What another HSM, or the HSM to another password, will say is not known.
  if (password === 'another') return { connectionErrorCode: null, refusals: [] };
  const known = refusals.filter((each) => each.cloudHsmClusterId !== former);
  if (code !== null && isPasswordRefusal(code)) known.push({ cloudHsmClusterId: former, connectionErrorCode: code });
  const here = known.find((each) => each.cloudHsmClusterId === cloudHsmClusterId)?.connectionErrorCode ?? null;
  const stands = password === 'kept' || here === 'INVALID_CREDENTIALS';
  return {
    connectionErrorCode: stands ? here : null,
    refusals: known.filter((each) => each.cloudHsmClusterId !== cloudHsmClusterId),
  };
}
