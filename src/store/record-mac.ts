/**
 * The canonical form of a record, over which its MAC is computed, and the comparison.
 *
 * The form holds exactly what the row's columns hold, so that any edit of any column shows:
 *
 *     string  `drawbridge/metadata-record`     keeps this MAC apart from any other use of the same key
 *     u32     format of the record (`recordFormat`)
 *     string  kind of the record: `key`, `backingKey`, `keyPolicy`, `alias`
 *     u32     number of members
 *     then, for each member in the order of their names' code units:
 *     string  name
 *     u8      1: a text follows as string; 2: a whole number follows as u64
 *
 * A `string` is its length in bytes as u32, then its UTF-8. Numbers are big-endian. Every part says its own length and
 * the format says the members, so two different records never share a form. The kind keeps a row from being moved to
 * another table, the primary key (a member like any other) from standing in for another row.
 *
 * The format is stored beside each MAC. A later version that adds members gives them a new format and keeps reading the
 * old one, in which an added member can only have its default value; rows are rewritten as they change. Migrations
 * themselves cannot compute a MAC: they run before the HSM is connected.
 *
 * WHAT IT DOES NOT STOP: whoever can write the file can put back an older version of a row, or of the whole file, and can
 * delete rows; each of these verifies, since each was once true. A policy, an alias or a key's state can so be set back to
 * what an administrator had chosen before, and `reservedEncryptions` to a smaller count, which weakens the limit of
 * SP 800-38D. The audit log, which has every change, shows the difference. No one can get a permission that nobody gave.
 */

import { timingSafeEqual } from 'node:crypto';
import type { RecordKind } from './metadata-store.ts';
import type { Columns } from './record-columns.ts';

export const recordFormat = 1;
export const macBytes = 32;

const domain = 'drawbridge/metadata-record';

export function canonicalRecord(kind: RecordKind, columns: Columns): Buffer {
  const names = Object.keys(columns).sort();
  const parts: Buffer[] = [string(domain), u32(recordFormat), string(kind), u32(names.length)];
  for (const name of names) {
    const value = columns[name];
    if (value === undefined) throw new TypeError(`member ${name} is missing`);
    parts.push(string(name));
    if (typeof value === 'string') parts.push(Buffer.of(1), string(value));
    else parts.push(Buffer.of(2), u64(value));
  }
  return Buffer.concat(parts);
}

/** Compares in constant time, digit by digit. `stored` is what the file says: of any type and length. */
export function isMacEqual(computed: Buffer, stored: unknown): boolean {
  if (typeof stored !== 'string') return false;
  const storedDigits = Buffer.from(stored, 'utf8');
  const computedDigits = Buffer.from(computed.toString('hex'), 'utf8');
  return storedDigits.length === computedDigits.length && timingSafeEqual(storedDigits, computedDigits);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

function string(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  return Buffer.concat([u32(bytes.length), bytes]);
}
