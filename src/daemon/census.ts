/** The census of a running daemon: over all Regions, a number of keys at a time. `keys/use/key-census.ts` is what is done with them. */

import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import type { CensusControl, CensusPlace } from '../http/census-routes.ts';
import type { KeyDirectory } from '../keys/key-directory.ts';
import type { DomainKeys } from '../keys/life/domain-keys.ts';
import { type CensusProblem, type CountedKey, type Orphan, orphansIn, proveKeys } from '../keys/use/key-census.ts';
import type { ConnectionErrorCode } from '../kms/connection-states.ts';
import { KmsError } from '../kms/errors.ts';
import type { KeyId } from '../kms/names.ts';
import { whenVerified } from '../store/record-source.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';

export interface CensusParts {
  readonly regions: readonly { readonly directory: KeyDirectory }[];
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly domainKeys: Pick<DomainKeys, 'of'>;
}

export interface CensusPart {
  /** KMS keys of this part, and of the whole. */
  readonly keys: number;
  readonly totalKeys: number;
  readonly proven: number;
  readonly problems: readonly CensusProblem[];
  /** `null`: that was all. */
  readonly next: CensusPlace | null;
}

/** Some hundred signatures of RSA take a second or two. */
const keysInPart = 128;

export function censusControl({ regions, keyStores: configured, domainKeys }: CensusParts): CensusControl {
  /** With the custom key stores that there are by now. */
  const keyStoresNow = (): ReadonlyMap<string, KeyStore> => {
    const all = new Map(configured);
    for (const { directory } of regions) {
      const { customKeyStores: stores } = directory;
      for (const id of stores.ids.page(undefined, stores.ids.size).names) {
        const keyStore = stores.keyStore(id);
        if (keyStore !== undefined) all.set(id, keyStore);
      }
    }
    return all;
  };
  /** Of a custom key store: the state, and why it has failed. */
  const connectionOf = (name: string) => {
    for (const { directory } of regions) {
      const record = directory.customKeyStores.record(name);
      if (record === undefined) continue;
      return { state: directory.customKeyStores.connectionState(name), code: record.connectionErrorCode };
    }
    return undefined;
  };
  return {
    async part(after): Promise<CensusPart> {
      const at = after === null ? 0 : regions.findIndex(({ directory }) => directory.realm.region === after.region);
      const directory = regions[at]?.directory;
      if (directory === undefined) throw new KmsError('ValidationException', 'There is no such Region here.');
      const { names, truncated } = directory.keyIds.page(after?.keyId, keysInPart);
      const prove = async () => proveKeys(await whenVerified(() => [...countedIn(directory, names)]), keyStoresNow());
      const { proven, problems } = await directory.passing(names, async () => {
        const first = await prove();
        // What was wrapped anew or moved meanwhile was not found as it had been looked up: it is by what is on record now.
        return first.problems.some(({ wasAsked }) => wasAsked) ? prove() : first;
      });
      const last = names.at(-1);
      const following = regions[at + 1]?.directory.realm.region;
      const inNextRegion = following === undefined ? null : { region: following, keyId: '' };
      const next = truncated && last !== undefined ? { region: directory.realm.region, keyId: last } : inNextRegion;
      const totalKeys = regions.reduce((sum, each) => sum + each.directory.counts().keys, 0);
      return { keys: names.length, totalKeys, proven, problems, next };
    },
    async orphans() {
      const named = new Set<string>();
      let damaged = 0;
      for (const { directory } of regions) {
        await directory.source?.verifyAll();
        damaged += directory.counts().damaged;
      }
      const orphans: Orphan[] = [];
      const unreachable: string[] = [];
      const disconnected: string[] = [];
      const failed: Record<string, ConnectionErrorCode | null> = {};
      for (const [name, keyStore] of keyStoresNow()) {
        for (const { backingKeyId } of domainKeys.of(name)) named.add(backingKeyId);
        try {
          const isNamed = (id: string): boolean =>
            named.has(id) || regions.some(({ directory }) => directory.namesMaterial(id));
          orphans.push(...(await orphansIn(keyStore, isNamed)));
          unreachable.push(...membersAway(keyStore).map((member) => `${name}/${member}`));
        } catch (error) {
          if (!(error instanceof KeyStoreError)) throw error;
          unreachable.push(name);
          const { state, code = null } = connectionOf(name) ?? {};
          if (state === 'DISCONNECTED') disconnected.push(name);
          if (state === 'FAILED') failed[name] = code;
        }
      }
      return { orphans, unreachable, disconnected, failed, damaged };
    },
  };
}

/** What is in them is not among what the others listed. */
function membersAway(keyStore: KeyStore): readonly string[] {
  const { members = [] } = keyStore.status();
  return members.filter(({ state }) => state !== 'connected').map(({ name }) => name);
}

function* countedIn(directory: KeyDirectory, keyIds: readonly KeyId[]): Generator<CountedKey> {
  const placeOf = (material: BackingKeyRecord): string =>
    directory.keyStores.servingName(material) ?? material.keyStore;
  for (const keyId of keyIds) {
    const key = directory.findSoundKey(keyId);
    // It was deleted meanwhile, or a record of it does not verify, which `orphans` counts.
    if (key !== undefined) {
      const { keySpec, keyUsage } = key.record;
      yield { keySpec, keyUsage, materials: key.materials, backingKeys: key.backingKeys, placeOf };
    }
  }
}
