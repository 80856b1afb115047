/** The directory for whoever only looks, which is everybody but the fold's own machinery. */

import type { AliasDirectory } from './alias-directory.ts';
import type { Grants } from './grants/grant-directory.ts';
import type { KeyDirectory } from './key-directory.ts';
import type { KeyStoresOfRegion } from './key-stores-of-region.ts';
import type { KeyStoreInUse } from './kms-key.ts';
import type { LastUses } from './last-uses.ts';
import type { ManagedServices } from './managed-services.ts';
import type { RecordMemory } from './record-memory.ts';
import type { Tombstones } from './tombstones.ts';

export type KeyView = Omit<
  KeyDirectory,
  | 'regions'
  | 'take'
  | 'apply'
  | 'whenNumbersRunOut'
  | 'memory'
  | 'keyStore'
  | 'keyStores'
  | 'aliases'
  | 'grants'
  | 'tombstones'
  | 'lastUses'
  | 'services'
> & {
  /** Of all Regions, this one among them. */
  readonly regions: ReadonlyMap<string, KeyView>;
  keyStore(name: string): KeyStoreInUse;
  readonly keyStores: Omit<KeyStoresOfRegion, 'all' | 'named' | 'serving'>;
  readonly aliases: Omit<AliasDirectory, 'show' | 'hide'>;
  readonly grants: Omit<Grants, 'show' | 'hide'>;
  readonly tombstones: Omit<Tombstones, 'show' | 'hide'>;
  readonly memory: Omit<RecordMemory, 'take' | 'follow'>;
  readonly lastUses: Pick<LastUses, 'of' | 'trackedSinceMs' | 'daysWithoutUse'>;
  readonly services: Omit<ManagedServices, 'replace'>;
};
