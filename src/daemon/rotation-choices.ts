/** What an operator says of a new domain key: who makes it, and who gets none because he leaves. */

import type { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { Member } from '../hsm/members/member.ts';
import { KmsError } from '../kms/errors.ts';

export interface RotationChoices {
  /** The member that makes the key, and whose security officer trusts the others'; the first one that stays if not given. */
  readonly member?: string | undefined;
  /** Get no key; need not be there. */
  readonly leavers?: readonly string[] | undefined;
  /** Of those that are not there: somebody knows how many keys may be lost with them. */
  readonly isLossAccepted?: boolean | undefined;
}

/** @throws KmsError for one that there is not. */
export function memberNamed(keyStore: JoinedKeyStore, name: string): Member {
  const member = keyStore.members.find((each) => each.name === name);
  if (member !== undefined) return member;
  throw new KmsError('NotFoundException', `The key store ${keyStore.name} has no member of this name.`);
}
