/** The members of key stores in a domain: a new domain key for all of them, one that leaves, and what each of them has. */

import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { Member } from '../hsm/members/member.ts';
import type { DomainControl } from '../http/domain-routes.ts';
import type { KeyView } from '../keys/key-view.ts';
import type { DomainKeys } from '../keys/life/domain-keys.ts';
import type { ListedServiceKey } from '../keys/life/service-keys.ts';
import { materialsOfRegions } from '../keys/regions-of-material.ts';
import { KmsError } from '../kms/errors.ts';
import type { BackingKeyId } from '../kms/names.ts';
import { DomainRotations, destroyInLeaver, memberNamed } from './domain-rotation.ts';

interface DomainKeysParts {
  readonly domainKeys: DomainKeys;
  /** The name of the one that has the service keys. */
  readonly serviceKeyStore: string;
  readonly serviceKeys: readonly ListedServiceKey[];
}

export interface DomainMembersParts extends DomainKeysParts {
  readonly regions: readonly { readonly directory: Pick<KeyView, 'onRecord'> }[];
  /** @throws KmsError when there is none of this name. */
  readonly keyStoreOf: (name: string) => unknown;
  readonly domainId: () => string;
}

/** The keys that every member of a key store has; the last one is that by which a member is known. */
export function keysOfMembers(
  name: string,
  {
    domainKeys,
    serviceKeyStore,
    serviceKeys,
  }: Omit<DomainKeysParts, 'domainKeys'> & { readonly domainKeys: Pick<DomainKeys, 'of'> },
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

export function domainMembers(parts: DomainMembersParts): Pick<DomainControl, 'beginRotation' | 'finishRotation'> {
  const { regions, keyStoreOf, domainKeys, domainId } = parts;
  const rotations = new DomainRotations({ domainKeys, domainId });
  const leaving = new Map<string, string>();
  const joined = (name: string): JoinedKeyStore => {
    const keyStore = keyStoreOf(name);
    if (keyStore instanceof JoinedKeyStore && keyStore.members.length > 1) return keyStore;
    throw new KmsError('ValidationException', `The key store ${name} has one token, and no members.`);
  };
  return {
    async beginRotation(name, choices) {
      const keyStore = joined(name);
      if (choices.leaver !== undefined) assertNothingIsLost(keyStore, choices.leaver);
      const { domainKeyId, member, pairs } = await rotations.begin(keyStore, choices);
      if (choices.leaver === undefined) leaving.delete(name);
      else leaving.set(name, choices.leaver);
      const shown = pairs.map((pair) => ({ ...pair, publicKey: pair.publicKey.toString('base64') }));
      return { domainKeyId, member, pairs: shown };
    },
    async finishRotation(name, domainKeyId) {
      const keyStore = joined(name);
      const { member, pairs } = await rotations.finish(keyStore, domainKeyId);
      const members = [member, ...pairs.map((pair) => pair.member)];
      const leaver = leaving.get(name);
      leaving.delete(name);
      if (leaver === undefined) return { domainKeyId, members, left: null };
      const isEmpty = await destroyInLeaver(memberNamed(keyStore, leaver), keysOfMembers(name, parts));
      return { domainKeyId, members, left: { member: leaver, isEmpty } };
    },
  };

  /** Keys that are token objects are in one member alone. */
  function assertNothingIsLost(keyStore: JoinedKeyStore, leaver: string): void {
    const { inventory } = memberNamed(keyStore, leaver);
    if (inventory === undefined) return;
    const staying = keyStore.members.filter(({ name }) => name !== leaver);
    let count = 0;
    const directories = regions.map(({ directory }) => directory);
    for (const { state, residency, backingKeyId } of materialsOfRegions(directories, keyStore.name)) {
      const isThere = state === 'Active' && residency !== 'wrapped' && inventory.has(backingKeyId);
      if (isThere && !staying.some((member) => member.inventory?.has(backingKeyId))) count++;
    }
    if (count === 0) return;
    throw new KmsError(
      'ConflictException',
      `${count} backing keys are objects in the member \`${leaver}\` and nowhere else, and would be lost: move them first (\`drawbridge keys move\`), or delete their keys`,
    );
  }
}
