/** Rows of the time before records had a Region, which come into the daemon's: all of them into the same one. */

import type { LoadedMetadata } from './metadata-store.ts';
import type { ReaderParts } from './record-reader.ts';
import type { FormerRow } from './record-statements.ts';
import { StoreError } from './store-error.ts';

/**
 * An interrupted `load` is gone on with in the same Region, or the rest of the records would come into another one.
 * @throws StoreError `otherRegion`.
 */
export function assertFormerRegion(
  loaded: LoadedMetadata,
  former: readonly FormerRow[],
  { formerRegion, path }: Pick<ReaderParts, 'formerRegion' | 'path'>,
): void {
  if (former.length === 0) return;
  const anew = new Set<unknown>(former.flatMap((row) => (row.columns['region'] === '' ? row.anew.change.record : [])));
  const regional = [...loaded.key, ...loaded.keyPolicy, ...loaded.alias, ...loaded.grant];
  const written = regional.filter((record) => !anew.has(record));
  const [other] = written;
  if (other === undefined || anew.size === 0 || written.some(({ region }) => region === formerRegion)) return;
  throw new StoreError(
    'otherRegion',
    `\`${path}\` has records of the Region \`${other.region}\`, and others that have yet to follow them there, not to \`${formerRegion}\`; set \`region: ${other.region}\``,
  );
}
