/**
 * The key stores of one Region, and in which of them a piece of key material is used.
 *
 * Material is used in the key store that its record names. What related multi-Region keys share has one record, which names the key store
 * in which it was made, perhaps for another Region: each Region uses it in its default key store, if that has the domain key or made it, or
 * else in another one of its own of which the same is true. Which ones have a domain key is on record, under a MAC, for each key store by
 * itself (`DomainKeyRecord`).
 */

import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import { KmsError } from '../kms/errors.ts';
import type { KeySpec } from '../kms/key-specs.ts';
import { isMultiRegion } from '../kms/names.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';
import type { CustomKeyStoreSource } from './custom-key-store.ts';
import { internalMessage } from './key-store-errors.ts';

/** Which key store has which domain keys, as it is on record. */
export interface DomainsOnRecord {
  /** Has it this one, and may use it? */
  holds(keyStore: string, domainKeyId: string): boolean;
  /** The one under which what is new in it is wrapped. */
  newestOf(keyStore: string): string | undefined;
}

export const noDomains: DomainsOnRecord = { holds: () => false, newestOf: () => undefined };

export interface KeyStoresOfRegionParts {
  readonly region: string;
  /** By name; beside them there are those of `customKeyStores`. */
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly customKeyStores: CustomKeyStoreSource;
  readonly defaultKeyStore: string;
  readonly domains: DomainsOnRecord;
}

type PlacedMaterial = Pick<
  BackingKeyRecord,
  'keyId' | 'keyStore' | 'residency' | 'domainKeyId' | 'importedMaterialId' | 'backingKeyId' | 'wrappedKeySpec'
>;

export class KeyStoresOfRegion {
  readonly #parts: KeyStoresOfRegionParts;
  /** Of a key store and a KeySpec, what its token has shown. */
  readonly #known = new Map<string, boolean>();

  constructor(parts: KeyStoresOfRegionParts) {
    this.#parts = parts;
  }

  /** Those that the configuration names for the Region. */
  get all(): Iterable<KeyStore> {
    return this.#parts.keyStores.values();
  }

  has(name: string): boolean {
    return this.#parts.keyStores.has(name);
  }

  /** Is one of them in the domain of that key store, by this domain key? */
  hasInDomain(domainKeyId: string): boolean {
    const { keyStores, domains } = this.#parts;
    return [...keyStores.keys()].some((name) => domains.holds(name, domainKeyId));
  }

  /**
   * Can the Region use what will be new in that key store? One that left its domain has its former domain keys still, and gets no others: a
   * related key there would be in the way of the next rotation.
   */
  takesWhatIsNewIn(keyStore: string): boolean {
    const newest = this.#parts.domains.newestOf(keyStore);
    return this.has(keyStore) || (newest !== undefined && this.hasInDomain(newest));
  }

  /** The one of that name. Its absence means that the configuration dropped a key store whose keys are still on record. */
  named(name: string): KeyStore {
    const { keyStores, customKeyStores } = this.#parts;
    const keyStore = keyStores.get(name) ?? customKeyStores.keyStore(name);
    if (keyStore !== undefined) return keyStore;
    throw new KmsError('KMSInternalException', internalMessage, `key store \`${name}\` is not configured`);
  }

  /** May a Region use this in another key store than its record names? Imported material is each Region's own. */
  isShared({ keyId, residency, importedMaterialId }: PlacedMaterial): boolean {
    return residency === 'wrapped' && importedMaterialId === '' && isMultiRegion(keyId);
  }

  /** The name of the key store in which the Region uses this; `undefined` where none of its own is in the domain. */
  servingName(material: PlacedMaterial): string | undefined {
    const { keyStores, defaultKeyStore, domains } = this.#parts;
    const { keyStore: named, domainKeyId, wrappedKeySpec } = material;
    if (named === defaultKeyStore || !this.isShared(material)) return named;
    const mayOpen = (name: string): boolean =>
      keyStores.has(name) && (name === named || (domainKeyId !== null && domains.holds(name, domainKeyId)));
    const able = [defaultKeyStore, named, ...keyStores.keys()].filter(mayOpen);
    return able.find((name) => wrappedKeySpec === null || this.#knows(name, wrappedKeySpec)) ?? able[0];
  }

  /** Can its token use such keys that are wrapped, as far as it was ever connected? */
  #knows(name: string, keySpec: KeySpec): boolean {
    const known = this.#known.get(`${name} ${keySpec}`);
    if (known !== undefined) return known;
    try {
      const { wrapping } = this.named(name).capabilities();
      const works = wrapping.find((row) => row.keySpec === keySpec)?.works === true;
      this.#known.set(`${name} ${keySpec}`, works);
      return works;
    } catch (error) {
      if (error instanceof KeyStoreError) return true;
      throw error;
    }
  }

  /**
   * The key store in which the Region uses this.
   * @throws KmsError `KMSInternalException` where there is none: it left the domain, or the configuration has others.
   */
  serving(material: PlacedMaterial): KeyStore {
    const name = this.servingName(material);
    if (name !== undefined) return this.named(name);
    const { region } = this.#parts;
    const problem = `no key store of the Region ${region} has the domain key of ${material.backingKeyId}`;
    throw new KmsError('KMSInternalException', internalMessage, problem);
  }
}
