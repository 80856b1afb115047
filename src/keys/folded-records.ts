/** Where each kind of record of a Region is kept in memory: the part of its fold that only files (`key-directory.ts`). */

import type { KeyId } from '../kms/names.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import type { Change } from '../store/records/changes.ts';
import type { AliasDirectory } from './alias-directory.ts';
import type { Grants } from './grants/grant-directory.ts';
import type { LastUses } from './last-uses.ts';
import { inOrder } from './lists/sorted-names.ts';
import type { RecordsOfKeys } from './records-of-keys.ts';
import type { Tombstones } from './tombstones.ts';

export interface FoldedRecords {
  readonly records: RecordsOfKeys;
  readonly aliases: AliasDirectory;
  readonly grants: Grants;
  readonly tombstones: Tombstones;
  readonly lastUses: LastUses;
  /** Gets the keys that have yet to follow from their records anew. */
  readonly touched: Set<KeyId>;
}

export function foldPut(
  change: Extract<Change, { readonly put: unknown }>,
  { records, aliases, grants, tombstones, lastUses, touched }: FoldedRecords,
): void {
  switch (change.put) {
    case 'key':
      touched.add(records.fileKey(change.record));
      break;
    case 'backingKey':
      touched.add(records.fileBackingKey(change.record));
      break;
    case 'keyPolicy':
      touched.add(records.filePolicy(change.record));
      break;
    case 'alias':
      aliases.show(change.record, change.replaces === null);
      break;
    case 'grant':
      grants.show(change.record);
      break;
    case 'tombstone':
      tombstones.show(change.record);
      break;
    case 'lastUse':
      lastUses.show(change.record);
      break;
    case 'accessKey':
    case 'wrappingKey':
    case 'milestone':
    case 'upkeepWait':
    case 'domainKey':
    case 'remnant':
    case 'member':
    case 'customKeyStore':
      break;
    default:
      change satisfies never;
  }
}

export function foldRemoval(
  change: Extract<Change, { readonly remove: unknown }>,
  { records, aliases, grants, tombstones, lastUses, touched }: FoldedRecords,
): void {
  switch (change.remove) {
    case 'key':
      touched.add(records.dropKey(change.record.keyId));
      break;
    case 'backingKey':
      touched.add(records.dropBackingKey(change.record));
      break;
    case 'keyPolicy':
      touched.add(records.dropPolicy(change.record.keyId));
      break;
    case 'alias':
      aliases.hide(change.record.aliasName);
      break;
    case 'grant':
      grants.hide(change.record.grantId);
      break;
    case 'lastUse':
      lastUses.hide(change.record.keyId);
      break;
    case 'tombstone':
      tombstones.hide(change.record.keyId);
      break;
    case 'accessKey':
    case 'wrappingKey':
    case 'milestone':
    case 'upkeepWait':
    case 'domainKey':
    case 'remnant':
    case 'member':
    case 'customKeyStore':
      break;
    default:
      change satisfies never;
  }
}

interface OfRegion extends FoldedRecords {
  readonly isOurs: (record: object) => boolean;
}

/** What was loaded of keys, in order, since a name at the end of a list is the cheapest to add. */
export function fileKeys(loaded: LoadedMetadata, { records, touched, isOurs }: OfRegion): void {
  for (const record of inOrder(loaded.key, 'keyId')) if (isOurs(record)) touched.add(records.fileKey(record));
  for (const record of loaded.backingKey) if (isOurs(record)) touched.add(records.fileBackingKey(record));
  for (const record of loaded.keyPolicy) if (isOurs(record)) touched.add(records.filePolicy(record));
}

/** The same of what has a name of its own. */
export function fileNamed(loaded: LoadedMetadata, { aliases, grants, isOurs }: OfRegion): void {
  for (const alias of inOrder(loaded.alias, 'aliasName')) if (isOurs(alias)) aliases.show(alias, true);
  for (const grant of inOrder(loaded.grant, 'grantId')) if (isOurs(grant)) grants.show(grant);
}

/** The key that is made of the record, with others. */
export function keyMadeOf(change: Change): KeyId | undefined {
  const kind = 'put' in change ? change.put : change.remove;
  const isPart = kind === 'key' || kind === 'keyPolicy' || kind === 'backingKey';
  return isPart && 'keyId' in change.record ? change.record.keyId : undefined;
}
