/**
 * Keys that were read and verified once, so that they are not read again: packed (`packed-keys.ts`), and kept up to date by what is written.
 *
 * INVARIANT: a key in here is what the database said when all rows of it were in force and verified, and nothing has been written to one
 * of them since. What somebody writes into the file past the daemon changes nothing in here, as it changes nothing of a key in memory,
 * until it is found out: a key of which a row was refused is in here no more.
 *
 * The rows of a key in here need not be among the known forms (`known-forms.ts`): they are put there again when it goes.
 */

import { isMultiRegion, type KeyId, parseKeyId } from '../kms/names.ts';
import type { SeenKey } from './keys-looked-up.ts';
import { PackedKeys } from './packed-keys.ts';
import type { PackedKind, UnpackedRow } from './packed-rows.ts';
import { fromColumns, memberNames } from './record-columns.ts';
import { newestFormat, type RecordFormats } from './record-mac.ts';
import type { KeyFound } from './record-source.ts';
import type { MetadataRecords, RecordKind } from './records/records.ts';
import type { Replaced } from './transactions.ts';
import type { SeenRow, VerifiedRows } from './verified-rows.ts';

/** For packed keys. */
export interface RoomForKeys {
  /** They take no more. */
  readonly bytes: number;
  /** So many there are, roughly. */
  readonly keys: number;
}

export class VerifiedKeys {
  readonly #keys: PackedKeys;
  readonly #rows: VerifiedRows;
  readonly #formats: RecordFormats;

  constructor(rows: VerifiedRows, formats: RecordFormats, room: RoomForKeys) {
    this.#keys = new PackedKeys(room.bytes, room.keys);
    this.#rows = rows;
    this.#formats = formats;
    rows.whenRefused(({ kind, id, keyId }) => this.#take(kind === 'key' ? id : keyId));
  }

  get count(): number {
    return this.#keys.count;
  }

  /** Is there no room for more? */
  get isFull(): boolean {
    return this.#keys.isFull;
  }

  has(region: string, keyId: KeyId): boolean {
    return this.#keys.has(region, keyId);
  }

  find(region: string, keyId: KeyId): KeyFound | undefined {
    const found = this.#keys.get(region, keyId);
    if (found === undefined) return undefined;
    let key: MetadataRecords['key'] | undefined;
    let policy: MetadataRecords['keyPolicy'] | undefined;
    const backingKeys: MetadataRecords['backingKey'][] = [];
    for (const { kind, row } of found.rows) {
      if (kind === 'key') key = recordOf(kind, row);
      else if (kind === 'keyPolicy') policy = recordOf(kind, row);
      else backingKeys.push(recordOf(kind, row));
    }
    return key === undefined ? undefined : { key, policy, backingKeys, hasGrants: found.hasGrants };
  }

  /** @param seen All rows that there are of it, each of them verified. */
  keep(region: string, keyId: KeyId, { key, keyPolicy, backingKey, hasGrants }: SeenKey): void {
    if (key.length !== 1 || keyPolicy.length > 1) return;
    const rows = [...key, ...keyPolicy, ...backingKey];
    if (!rows.every((seen) => this.#isOfToday(seen))) return;
    const packed = rows.map(({ kind, row }) => ({ kind: kind as PackedKind, row })); // Of these three.
    if (!this.#keys.put(region, keyId, packed, hasGrants)) return;
    // Material of several Regions stands behind the key of each: those that are not packed yet would have it verified again.
    const others = isMultiRegion(keyId) ? [...key, ...keyPolicy] : rows;
    for (const seen of others) this.#rows.forget(seen);
  }

  /** Of rows that were verified for somebody who goes through all of them, those of keys in here need not be known beside. */
  forget(rows: readonly SeenRow[]): void {
    for (const seen of rows) {
      const member = (name: string): unknown => seen.row[memberNames(seen.kind).indexOf(name)];
      const keyId = isPacked(seen.kind) ? parseKeyId(String(member('keyId'))) : undefined;
      // Material of several Regions is known beside, as above.
      const region = String(member(seen.kind === 'backingKey' ? 'regions' : 'region'));
      if (keyId !== undefined && this.has(region, keyId)) this.#rows.forget(seen);
    }
  }

  /** Keys of which some rows are about to be replaced are packed no more: what was verified of them is known as of others. */
  foresee({ rows }: Pick<Replaced, 'rows'>): void {
    for (const { kind, row } of rows.replaced) this.#changed(kind, (name) => row[memberNames(kind).indexOf(name)]);
  }

  /** What a transaction has put into the place of what, once it is on disk. To be told before the rows are. */
  follow({ rows }: Pick<Replaced, 'rows'>): void {
    for (const { kind, row } of rows.replaced) this.#changed(kind, (name) => row[memberNames(kind).indexOf(name)]);
    for (const { kind, columns } of rows.put) this.#changed(kind, (name) => columns[name]);
  }

  #changed(kind: RecordKind, member: (name: string) => unknown): void {
    if (kind === 'grant') {
      const keyId = parseKeyId(String(member('keyId')));
      if (keyId !== undefined) this.#keys.noteGrants(String(member('region')), keyId);
    } else if (isPacked(kind)) this.#take(member('keyId'));
  }

  /** @param text As it stands in a row, whatever somebody has put there: some texts have the digits of a key's id and are none. */
  #take(text: unknown): void {
    const keyId = typeof text === 'string' ? parseKeyId(text) : undefined;
    if (keyId !== undefined) for (const row of this.#keys.take(keyId)) this.#rows.know(row);
  }

  #isOfToday({ kind, row }: SeenRow): boolean {
    return Number(row[memberNames(kind).length]) === newestFormat(this.#formats[kind]);
  }
}

/** Of one that was verified when it was packed. */
function recordOf<Kind extends PackedKind>(kind: Kind, row: UnpackedRow['row']): MetadataRecords[Kind] {
  const parsed = fromColumns(kind, row);
  if ('badColumn' in parsed) throw new TypeError(`a packed ${kind} has a ${parsed.badColumn} that was not packed`);
  return parsed.record;
}

function isPacked(kind: RecordKind): kind is PackedKind {
  return kind === 'key' || kind === 'keyPolicy' || kind === 'backingKey';
}
