/** What an operator can do about the domain keys of a running daemon. */

import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import type { DomainControl } from '../http/domain-routes.ts';
import type { KeyView } from '../keys/key-view.ts';
import type { DomainKeys } from '../keys/life/domain-keys.ts';
import { KmsError } from '../kms/errors.ts';
import type { BackingKeyId } from '../kms/names.ts';

export interface DomainControlParts {
  readonly regions: readonly { readonly directory: KeyView }[];
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly domainKeys: DomainKeys;
}

/** How many backing keys are wrapped under each domain key of each key store, by `KEY-STORE DOMAIN-KEY`. */
export function wrappedBackingKeys(regions: DomainControlParts['regions']): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const { directory } of regions)
    for (const { materials } of directory.all())
      for (const { keyStore, wrappedKey, domainKeyId } of materials) {
        if (wrappedKey === null) continue;
        const name = `${keyStore} ${domainKeyId}`;
        found.set(name, (found.get(name) ?? 0) + 1);
      }
  return found;
}

export function domainControl({ regions, keyStores, domainKeys }: DomainControlParts): DomainControl {
  const keyStoreOf = (name: string): KeyStore => {
    const keyStore = keyStores.get(name);
    if (keyStore === undefined) throw new KmsError('NotFoundException', 'There is no key store of this name.');
    if (domainKeys.of(name).length > 0) return keyStore;
    throw new KmsError(
      'ValidationException',
      `The key store ${name} has no domain key: none of its keys was ever wrapped.`,
    );
  };
  return {
    async rotate(name) {
      return { domainKeyId: await domainKeys.rotate(name, keyStoreOf(name)) };
    },
    async retire(name) {
      const keyStore = keyStoreOf(name);
      // A record that does not verify may be of a key that is wrapped under one of them, and may be given back.
      const damaged = regions.reduce((sum, { directory }) => sum + directory.counts().damaged, 0);
      if (damaged > 0) {
        const message = `${damaged} keys have a record that does not verify, and may need a domain key: restore them, or accept what there is, first.`;
        throw new KmsError('ConflictException', message);
      }
      try {
        const isNeeded = (id: BackingKeyId): boolean => (wrappedBackingKeys(regions).get(`${name} ${id}`) ?? 0) > 0;
        const retired = await domainKeys.retire(name, keyStore, isNeeded);
        const wrapped = wrappedBackingKeys(regions);
        const former = domainKeys.of(name).slice(0, -1);
        const needed = former.map(({ backingKeyId: id }) => ({
          domainKeyId: id,
          backingKeys: wrapped.get(`${name} ${id}`) ?? 0,
        }));
        return { retired, needed };
      } catch (error) {
        // Whoever may ask is the operator, who needs to know what the token said.
        if (error instanceof KeyStoreError) throw new KmsError('KeyUnavailableException', error.message, error);
        throw error;
      }
    },
  };
}
