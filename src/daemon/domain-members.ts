/** What each member of a key store has to have of its domain. */

import type { Member } from '../hsm/members/member.ts';
import type { MembersOnRecord } from '../keys/domain/members-on-record.ts';
import type { DomainKeys } from '../keys/life/domain-keys.ts';
import type { ListedServiceKey } from '../keys/life/service-keys.ts';
import type { BackingKeyId } from '../kms/names.ts';

export interface DomainKeysParts {
  readonly domainKeys: DomainKeys;
  /** The name of the one that has the service keys. */
  readonly serviceKeyStore: string;
  readonly serviceKeys: readonly ListedServiceKey[];
  readonly members: MembersOnRecord;
}

/** The keys that every member of a key store has; the last one is that by which a member is known. */
export function keysOfMembers(
  name: string,
  {
    domainKeys,
    serviceKeyStore,
    serviceKeys,
  }: Omit<DomainKeysParts, 'domainKeys' | 'members'> & { readonly domainKeys: Pick<DomainKeys, 'of'> },
): readonly BackingKeyId[] {
  const active = domainKeys.of(name).filter(({ state }) => state === 'Active');
  const own = name === serviceKeyStore ? serviceKeys : [];
  const isLast = ({ purpose }: ListedServiceKey): boolean => purpose === 'metadata-integrity';
  const all = [...active, ...own.filter((key) => !isLast(key)), ...own.filter(isLast)];
  return all.map(({ backingKeyId }) => backingKeyId);
}

/** Those of `keys` that a member lacks, as far as that is known; `null` for one that was never there. */
export function lackedBy(
  { inventory }: Pick<Member, 'inventory'>,
  keys: readonly BackingKeyId[],
): readonly BackingKeyId[] | null {
  return inventory === undefined ? null : keys.filter((id) => !inventory.has(id));
}
