/**
 * The end of former domain keys: in all key stores of a domain together, once nothing in any of them is wrapped under them; or in one that has left.
 *
 * INVARIANT: no domain key goes that is the newest one of a key store which uses it.
 */

import type { KeyStore } from '../../hsm/key-store.ts';
import type { BackingKeyId } from '../../kms/names.ts';
import type { DomainKeys } from './domain-keys.ts';

type Records = Pick<DomainKeys, 'of' | 'newestOf' | 'everywhere' | 'domainOf' | 'condemn' | 'destroyMarked'>;
type Destroying = Pick<KeyStore, 'destroyKey' | 'describeKey'>;

/** How many backing keys need a domain key. */
type NeededBy = (domainKeyId: BackingKeyId) => number;

/** The former domain keys of a key store under which nothing is wrapped, in whichever key store. */
export function unneededDomainKeys(
  domainKeys: Pick<Records, 'of' | 'newestOf' | 'everywhere'>,
  name: string,
  wrappedUnder: NeededBy,
): readonly BackingKeyId[] {
  const active = domainKeys.of(name).filter(({ state }) => state === 'Active');
  const former = active.slice(0, -1).map(({ backingKeyId }) => backingKeyId);
  const isNewest = (id: BackingKeyId): boolean =>
    domainKeys.everywhere(id).some(({ keyStore }) => domainKeys.newestOf(keyStore) === id);
  return former.filter((id) => wrappedUnder(id) === 0 && !isNewest(id));
}

/**
 * Destroys the former domain keys of a key store under which nothing is wrapped, in each key store that has them.
 * @param places.keyStoreOf Where each record says that it is.
 * @param places.elsewhere Destroys it in all others, where it may be without a record; after the mark on each record of it, so that nothing is
 * wrapped under what is gone anywhere.
 * @param wrappedUnder Over all key stores; asked in the turn, once.
 * @returns Those that are gone.
 * @throws KeyStoreError when a key store is in the way; the mark stays, and what is marked is destroyed by the next call.
 */
export async function retireDomainKeys(
  domainKeys: Records,
  name: string,
  {
    keyStoreOf,
    elsewhere,
  }: {
    readonly keyStoreOf: (name: string) => Destroying;
    readonly elsewhere: (backingKeyId: BackingKeyId) => Promise<void>;
  },
  wrappedUnder: () => NeededBy,
): Promise<readonly BackingKeyId[]> {
  const domain = domainKeys.domainOf(name);
  await domainKeys.condemn(() =>
    unneededDomainKeys(domainKeys, name, wrappedUnder()).flatMap((id) => domainKeys.everywhere(id)),
  );
  const theirs = domain.flatMap((each) => domainKeys.of(each));
  // What one alone was to give up, when it left, the others go on to use.
  const isMarked = (id: BackingKeyId) => domainKeys.everywhere(id).every(({ state }) => state === 'Destroying');
  for (const { backingKeyId } of domainKeys.of(name)) if (isMarked(backingKeyId)) await elsewhere(backingKeyId);
  const gone = new Set<BackingKeyId>();
  for (const record of new Set(theirs.flatMap(({ backingKeyId }) => domainKeys.everywhere(backingKeyId))))
    if (await domainKeys.destroyMarked(record, keyStoreOf(record.keyStore))) gone.add(record.backingKeyId);
  return [...gone];
}

/**
 * Destroys the domain keys that a key store has in common with others, and does not need any more.
 * @param needed By what is wrapped in it or used in it; asked in the turn, once.
 * @returns How many it has in common with others still.
 * @throws as `retireDomainKeys`.
 */
export async function giveUpDomainKeys(
  domainKeys: Records,
  name: string,
  keyStore: Destroying,
  needed: () => NeededBy,
): Promise<number> {
  const shared = () => domainKeys.of(name).filter(({ backingKeyId }) => domainKeys.everywhere(backingKeyId).length > 1);
  await domainKeys.condemn(() => {
    const neededBy = needed();
    const all = domainKeys.of(name).filter(({ state }) => state === 'Active');
    // With nothing under any of them, there is none that is new to it.
    const isUnused = all.every(({ backingKeyId }) => neededBy(backingKeyId) === 0);
    const newest = isUnused ? undefined : domainKeys.newestOf(name);
    return shared().filter(({ backingKeyId }) => backingKeyId !== newest && neededBy(backingKeyId) === 0);
  });
  for (const record of domainKeys.of(name)) await domainKeys.destroyMarked(record, keyStore);
  return shared().length;
}
