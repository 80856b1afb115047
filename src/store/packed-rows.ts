/**
 * The rows of one KMS key in as few bytes as say the same: some 200, where the records that they become take 3,500.
 *
 *     u8      number of rows
 *     then, for each: u8 its kind, and for each member, in the order of `memberNames`, what begins with one of
 *     0       a whole number: seven bits in each byte, the last ones first, the highest bit set in all but the last byte
 *     1       the id of the key
 *     2       32 hexadecimal digits: 16 bytes
 *     3       the text that was the first to begin with 2
 *     4       canonical base64: its number of bytes, and these
 *     5, 6    a text: its number of bytes, and these in Latin-1, or in UTF-8
 *     7, 8    the numbers 0 and 1
 *     9       a text that many rows have (`common-texts.ts`): its number
 *     10 …    the same, if the number is so much less 10
 *
 * What comes out is what went in, to the letter.
 */

import type { CommonTexts } from './common-texts.ts';
import { memberNames } from './record-columns.ts';

/** In the order of their numbers. */
const kinds = ['key', 'keyPolicy', 'backingKey'] as const;
export type PackedKind = (typeof kinds)[number];

/** A row of today's format: its columns in the order of `memberNames`, and whatever follows them. */
export interface RowToPack {
  readonly kind: PackedKind;
  readonly row: readonly unknown[];
}

export interface UnpackedRow extends RowToPack {
  readonly row: readonly (string | number)[];
}

/** Members of which there are few values. */
const ofFew: ReadonlySet<string> = new Set([
  ...['region', 'regions', 'state', 'keySpec', 'keyUsage', 'origin', 'keyManager', 'primaryRegion', 'keyStore'],
  ...['residency', 'owner', 'rotationType', 'domainKeyId', 'formerDomainKeyIds', 'wrappedKeySpec', 'wrappedKeyUsage'],
]);
const written: ReadonlySet<string> = new Set(['document', 'tags']);
const ofBytes: ReadonlySet<string> = new Set(['wrappedKey', 'publicKey']);

const tag = {
  number: 0,
  keyId: 1,
  digits: 2,
  digitsAgain: 3,
  base64: 4,
  latin1: 5,
  utf8: 6,
  zero: 7,
  one: 8,
  common: 9,
  fewest: 10,
};
const maxFewest = 0xff - tag.fewest;
const digits = /^[0-9a-f]{32}$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: all of Latin-1 is meant.
const latin1 = /^[\u0000-\u00ff]*$/;

export class PackedRows {
  readonly #texts: CommonTexts;
  /** Where rows are packed. */
  readonly #bytes: Buffer;
  #at = 0;
  #keyId = '';
  #firstDigits = '';
  /** What is read. */
  #read: Buffer;

  /** @param maxBytes What takes more is not packed. */
  constructor(texts: CommonTexts, maxBytes: number) {
    this.#texts = texts;
    this.#bytes = Buffer.alloc(maxBytes);
    this.#read = this.#bytes;
  }

  /**
   * @param keyId Of all of them.
   * @returns A view that holds until the next call; `undefined` where they take too many bytes, or somebody edited them.
   */
  pack(keyId: string, rows: readonly RowToPack[]): Buffer | undefined {
    [this.#at, this.#keyId, this.#firstDigits] = [0, keyId, ''];
    if (!this.#hasRoom(1) || rows.length > 0xff) return undefined;
    this.#bytes[this.#at++] = rows.length;
    for (const { kind, row } of rows) if (!this.#putRow(kind, row)) return undefined;
    return this.#bytes.subarray(0, this.#at);
  }

  /** @param at Where they begin. */
  unpack(keyId: string, bytes: Buffer, at: number): readonly UnpackedRow[] {
    [this.#read, this.#at, this.#keyId, this.#firstDigits] = [bytes, at, keyId, ''];
    const rows: UnpackedRow[] = [];
    for (let left = this.#byte(); left > 0; left--) {
      const kind = kinds[this.#byte()] as PackedKind; // Only such are put.
      const row = new Array<string | number>(memberNames(kind).length);
      for (let index = 0; index < row.length; index++) row[index] = this.#value();
      rows.push({ kind, row });
    }
    return rows;
  }

  #putRow(kind: PackedKind, row: readonly unknown[]): boolean {
    if (!this.#hasRoom(1)) return false;
    this.#bytes[this.#at++] = kinds.indexOf(kind);
    for (const [index, name] of memberNames(kind).entries()) {
      const value = row[index];
      const isPut = typeof value === 'string' ? this.#putText(name, value) : this.#putNumber(Number(value));
      if (!isPut) return false;
    }
    return true;
  }

  #putNumber(value: number): boolean {
    if (value === 0 || value === 1) return this.#putTag(tag.zero + value);
    if (!Number.isSafeInteger(value) || value < 0 || !this.#hasRoom(1 + maxNumberBytes)) return false;
    this.#bytes[this.#at++] = tag.number;
    this.#putCount(value);
    return true;
  }

  #putText(name: string, text: string): boolean {
    if (text === this.#keyId) return this.#putTag(tag.keyId);
    if (text === this.#firstDigits && text !== '') return this.#putTag(tag.digitsAgain);
    if (text === '' || ofFew.has(name)) {
      const number = this.#texts.numberOf(text);
      if (number !== undefined) return this.#putCommon(number);
    } else if (written.has(name)) {
      const number = this.#texts.numberOfWritten(name, text);
      if (number !== undefined) return this.#putCommon(number);
    } else if (digits.test(text)) {
      if (this.#firstDigits === '') this.#firstDigits = text;
      return this.#putBytes(tag.digits, Buffer.from(text, 'hex'));
    } else if (ofBytes.has(name)) {
      const bytes = Buffer.from(text, 'base64');
      if (bytes.toString('base64') === text) return this.#putBytes(tag.base64, bytes);
    }
    return latin1.test(text)
      ? this.#putBytes(tag.latin1, Buffer.from(text, 'latin1'))
      : this.#putBytes(tag.utf8, Buffer.from(text, 'utf8'));
  }

  #putTag(value: number): boolean {
    if (!this.#hasRoom(1)) return false;
    this.#bytes[this.#at++] = value;
    return true;
  }

  #putCommon(number: number): boolean {
    if (number <= maxFewest) return this.#putTag(tag.fewest + number);
    if (!this.#hasRoom(1 + maxNumberBytes)) return false;
    this.#bytes[this.#at++] = tag.common;
    this.#putCount(number);
    return true;
  }

  #putBytes(kind: number, bytes: Buffer): boolean {
    if (!this.#hasRoom(1 + maxNumberBytes + bytes.length)) return false;
    this.#bytes[this.#at++] = kind;
    if (kind !== tag.digits) this.#putCount(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
    return true;
  }

  #putCount(value: number): void {
    let left = value;
    for (; left >= 0x80; left = Math.floor(left / 0x80)) this.#bytes[this.#at++] = 0x80 | (left % 0x80);
    this.#bytes[this.#at++] = left;
  }

  #hasRoom(bytes: number): boolean {
    return this.#at + bytes <= this.#bytes.length;
  }

  #value(): string | number {
    const kind = this.#byte();
    if (kind >= tag.fewest) return this.#texts.textOf(kind - tag.fewest);
    switch (kind) {
      case tag.zero:
      case tag.one:
        return kind - tag.zero;
      case tag.number:
        return this.#count();
      case tag.keyId:
        return this.#keyId;
      case tag.digits: {
        const text = this.#text('hex', 16);
        if (this.#firstDigits === '') this.#firstDigits = text;
        return text;
      }
      case tag.digitsAgain:
        return this.#firstDigits;
      case tag.base64:
        return this.#text('base64', this.#count());
      case tag.latin1:
        return this.#text('latin1', this.#count());
      case tag.utf8:
        return this.#text('utf8', this.#count());
      default:
        return this.#texts.textOf(this.#count());
    }
  }

  #text(encoding: 'hex' | 'base64' | 'latin1' | 'utf8', bytes: number): string {
    const from = this.#at;
    this.#at += bytes;
    return this.#read.toString(encoding, from, this.#at);
  }

  #count(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = this.#byte();
      value += (byte % 0x80) * factor;
      if (byte < 0x80) return value;
    }
  }

  #byte(): number {
    return this.#read[this.#at++] as number; // What was packed ends with its last value.
  }
}

/** Of 2^53 - 1. */
const maxNumberBytes = 8;
