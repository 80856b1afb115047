/**
 * The canonical form of a record, over which its MAC is computed, and the comparison.
 *
 * The form holds exactly what the row's columns hold, so that any edit of any column shows:
 *
 *     string  `drawbridge/metadata-record`     keeps this MAC apart from any other use of the same key
 *     u32     format of the record
 *     string  kind of the record: `key`, `keyPolicy`, `grant`, …
 *     u32     number of members
 *     then, for each member in the order of their names' code units:
 *     string  name
 *     u8      1: a text follows as string; 2: a whole number follows as u64
 *
 * A `string` is its length in bytes as u32, then its UTF-8. Numbers are big-endian. Every part says its own length and
 * the format says the members, so two different records never share a form. The kind keeps a row from being moved to
 * another table, the primary key (a member like any other) from standing in for another row.
 *
 * The format is stored beside each MAC. Whoever adds members to a kind gives it the next format (`recordFormats`) and
 * keeps reading the former ones, in which an added member can only have the value that its migration gave it. A format
 * that once wrote a row is never changed. Migrations themselves cannot compute a MAC: they run before the HSM is
 * connected; `load` writes such rows anew.
 *
 * WHAT IT DOES NOT STOP by itself: whoever can write the file can put back an older version of a row, and can delete rows; each of
 * these verifies, since each was once true. The root tells (`signed-root.ts`), and the audit log tells of an older root. Where all that
 * could tell was put back together, a policy, an alias, a grant, a revoked access key or a key's state is what an administrator had
 * chosen before, and `reservedEncryptions`, or the count of starts, is a smaller one, which weakens the limit of SP 800-38D. A backing key that is set
 * back to the intent to make it, and its KMS key with it, is taken for one that was not finished, and the next start destroys its
 * material; of the one without the other that start says so and destroys nothing. A KMS key that is set back to a deletion that
 * was cancelled since is deleted when the daemon has run for 24 hours, in which its status says so; at once, where the row of an
 * operator's confirmation of the same deletion is put back beside it. Rows of a key that was deleted are known by its tombstone,
 * unless that is removed too, and its material does not come back. No one can get a permission that nobody gave.
 */

import { timingSafeEqual } from 'node:crypto';
import type { ColumnValue } from './column-member.ts';
import type { Columns } from './record-columns.ts';
import type { RecordKind } from './records/records.ts';

export const macBytes = 32;

/** The formats of a kind: each member that did not stand in the first, the format that brought it, and its column in older rows. */
export type KindFormats = Readonly<Record<string, { readonly format: number; readonly column: ColumnValue }>>;
export type RecordFormats = Readonly<Record<RecordKind, KindFormats>>;

/** Of the time before there were Regions: `load` gives such a record that of the daemon. */
const regional: KindFormats = { region: { format: 2, column: '' }, version: { format: 2, column: 1 } };

export const recordFormats: RecordFormats = {
  key: {
    ...regional,
    deletionDateMs: { format: 2, column: 0 },
    keyManager: { format: 3, column: 'CUSTOMER' },
    rotationPeriodDays: { format: 3, column: 0 },
    nextRotationDateMs: { format: 3, column: 0 },
    primaryRegion: { format: 4, column: '' },
    deletionWindowDays: { format: 4, column: 0 },
  },
  backingKey: {
    publicKey: { format: 2, column: '' },
    version: { format: 3, column: 1 },
    owner: { format: 3, column: '' },
    rotationType: { format: 4, column: '' },
    rotatedAtMs: { format: 4, column: 0 },
    importedMaterialId: { format: 4, column: '' },
    materialDescription: { format: 4, column: '' },
    validToMs: { format: 4, column: 0 },
    wrappedKey: { format: 5, column: '' },
    domainKeyId: { format: 5, column: '' },
    wrappedKeySpec: { format: 5, column: '' },
    wrappedKeyUsage: { format: 5, column: '' },
    regions: { format: 6, column: '' },
    formerDomainKeyIds: { format: 7, column: '' },
  },
  keyPolicy: regional,
  alias: regional,
  grant: regional,
  accessKey: { version: { format: 2, column: 1 } },
  tombstone: { domainKeyIds: { format: 2, column: '' } },
  lastUse: {},
  wrappingKey: {},
  customKeyStore: { refusals: { format: 2, column: '[]' } },
  milestone: {},
  upkeepWait: {},
  domainKey: { proof: { format: 2, column: '' } },
  remnant: {},
  member: {},
};

const domain = 'drawbridge/metadata-record';

/** The format in which a kind is written. */
export function newestFormat(formats: KindFormats): number {
  const known = newestFormats.get(formats);
  if (known !== undefined) return known;
  const newest = Math.max(1, ...Object.values(formats).map(({ format }) => format));
  newestFormats.set(formats, newest);
  return newest;
}

/** It is asked for with each record. */
const newestFormats = new WeakMap<KindFormats, number>();

/** Is this a format in which records of the kind are read? */
export function isKnownFormat(formats: KindFormats, format: number): boolean {
  return Number.isInteger(format) && format >= 1 && format <= newestFormat(formats);
}

/**
 * @returns The columns that a row of this format has, or `undefined` when one of those that came later has another value
 * than its migration gave it, which no MAC of this format covers.
 */
export function columnsOfFormat(formats: KindFormats, columns: Columns, format: number): Columns | undefined {
  if (format === newestFormat(formats)) return columns;
  const covered: Record<string, ColumnValue> = { ...columns };
  for (const [name, added] of Object.entries(formats)) {
    if (added.format <= format) continue;
    if (covered[name] !== added.column) return undefined;
    delete covered[name];
  }
  return covered;
}

/** @param columns Those of the format. */
export function canonicalRecord(kind: RecordKind, columns: Columns, format: number): Buffer {
  return new CanonicalForm(kind, Object.keys(columns), format).of(Object.values(columns));
}

/**
 * The canonical form of the records of one kind and format: what is the same in all of them is put together once, since at a start
 * there are as many forms as records.
 */
export class CanonicalForm {
  readonly #head: Buffer;
  /** In the order of the form: the bytes of the name, and where the member's value stands. */
  readonly #members: readonly { readonly name: Buffer; readonly index: number }[];

  /** @param names Of the members, in the order in which their values will come. */
  constructor(kind: RecordKind | 'root', names: readonly string[], format: number) {
    form.begin();
    form.string(domain);
    form.u32(format);
    form.string(kind);
    form.u32(names.length);
    this.#head = form.end();
    this.#members = [...names].sort().map((name) => {
      form.begin();
      form.string(name);
      return { name: form.end(), index: names.indexOf(name) };
    });
  }

  /** @param values Texts, and whole numbers from 0 to 2^53 - 1. More than there are members are none of them. */
  of(values: readonly unknown[]): Buffer {
    this.#write(values);
    return form.end();
  }

  /** The same as a view, for whoever reads it before the next form is made, which takes its place. */
  passing(values: readonly unknown[]): Buffer {
    this.#write(values);
    return form.view();
  }

  #write(values: readonly unknown[]): void {
    form.begin();
    form.raw(this.#head);
    for (const { name, index } of this.#members) {
      form.raw(name);
      const value = values[index];
      if (typeof value === 'string') {
        form.u8(1);
        form.string(value);
      } else {
        form.u8(2);
        form.u64(Number(value));
      }
    }
  }
}

/** Longer texts are quicker to write by Node.js than by a loop. */
const shortCharacters = 64;

/** Bytes that are put together in memory which is there already: at a start there are as many forms as records. */
class FormWriter {
  #bytes = Buffer.alloc(64 * 1024);
  #used = 0;

  begin(): void {
    this.#used = 0;
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#used++] = value;
  }

  u32(value: number): void {
    this.#reserve(4);
    this.#used = this.#bytes.writeUInt32BE(value, this.#used);
  }

  /** @throws TypeError for what is no whole number from 0 to 2^53 - 1. */
  u64(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`${value} has no canonical form`);
    this.#reserve(8);
    this.#used = this.#bytes.writeUInt32BE(Math.floor(value / 2 ** 32), this.#used);
    this.#used = this.#bytes.writeUInt32BE(value % 2 ** 32, this.#used);
  }

  raw(bytes: Buffer): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** Its length in bytes, then its UTF-8. */
  string(value: string): void {
    const lengthBytes = this.#writeShort(value) ?? this.#writeLong(value);
    this.#bytes.writeUInt32BE(lengthBytes, this.#used);
    this.#used += 4 + lengthBytes;
  }

  /** A copy of what was written. */
  end(): Buffer {
    return Buffer.from(this.view());
  }

  view(): Buffer {
    return this.#bytes.subarray(0, this.#used);
  }

  /** Behind the four bytes of its length. @returns How many bytes; `undefined` for what is long, or more than ASCII. */
  #writeShort(value: string): number | undefined {
    if (value.length > shortCharacters) return undefined;
    this.#reserve(4 + shortCharacters);
    const start = this.#used + 4;
    for (let index = 0; index < value.length; index++) {
      const code = value.charCodeAt(index);
      if (code > 0x7f) return undefined;
      this.#bytes[start + index] = code;
    }
    return value.length;
  }

  #writeLong(value: string): number {
    const lengthBytes = Buffer.byteLength(value, 'utf8');
    this.#reserve(4 + lengthBytes);
    return this.#bytes.write(value, this.#used + 4, 'utf8');
  }

  #reserve(bytes: number): void {
    if (this.#used + bytes <= this.#bytes.length) return;
    const larger = Buffer.alloc(Math.max(this.#bytes.length * 2, this.#used + bytes));
    this.#bytes.copy(larger, 0, 0, this.#used);
    this.#bytes = larger;
  }
}

const form = new FormWriter();

/**
 * Forms that go to the HSM together: one behind the other in memory of their own. In pieces of Node.js's pool, they kept 8 KB each of what
 * others had put there, for as long as the HSM takes.
 */
export class FormsOfCall {
  #used = 0;
  readonly #ends: number[] = [];

  /** @param passing A view, which is read now. */
  add(passing: Buffer): void {
    const end = this.#used + passing.length;
    if (end > collected.length) {
      const larger = Buffer.alloc(Math.max(2 * collected.length, end));
      collected.copy(larger, 0, 0, this.#used);
      collected = larger;
    }
    collected.set(passing, this.#used);
    this.#used = end;
    this.#ends.push(end);
  }

  /** INVARIANT: others are collected after this and not before: until then all of it is done in one turn. */
  end(): readonly Buffer[] {
    // Every byte is written.
    const own = Buffer.allocUnsafeSlow(this.#used);
    collected.copy(own, 0, 0, this.#used);
    let from = 0;
    return this.#ends.map((end) => {
      const one = own.subarray(from, end);
      from = end;
      return one;
    });
  }
}

let collected = Buffer.alloc(64 * 1024);

/** What a derived key is the MAC of: begins with another domain than any record, so it is no record's MAC. */
export function derivedKeyInput(purpose: string): Buffer {
  form.begin();
  form.string('drawbridge/derived-key');
  form.u32(1);
  form.string(purpose);
  return form.end();
}

const computedDigits = Buffer.alloc(2 * macBytes);
const storedDigits = Buffer.alloc(2 * macBytes);

/** Compares in constant time, digit by digit. `stored` is what the file says: of any type and length. */
export function isMacEqual(computed: Buffer, stored: unknown): boolean {
  if (typeof stored !== 'string' || computed.length !== macBytes || stored.length !== storedDigits.length) return false;
  // Of a text of as many units that has more than ASCII, some bytes are no digits; or the last one has no room, and another's would stay.
  if (storedDigits.write(stored, 'utf8') !== storedDigits.length) return false;
  for (let at = 0; at < macBytes; at++) {
    const byte = computed[at] ?? 0;
    computedDigits[2 * at] = digitOf(byte >> 4);
    computedDigits[2 * at + 1] = digitOf(byte & 0xf);
  }
  return timingSafeEqual(storedDigits, computedDigits);
}

/** Without a look-up and without a branch. */
function digitOf(value: number): number {
  return 0x30 + value + (((9 - value) >> 31) & 0x27);
}
