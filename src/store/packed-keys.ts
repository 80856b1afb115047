/**
 * What is on record of KMS keys, verified and packed: a line for each key of a Region, some 200 bytes (`packed-rows.ts`), in blocks of
 * memory that are no objects to whoever collects those. A key that is asked for again is put together from its line, without the
 * database and without the HSM.
 *
 * A line says what the database says: what is written to one of its rows takes the line out. It is found by the digits of the key's id, in
 * an open table of numbers. Lines begin at multiples of 16 bytes; a place that is free again is for one that takes as many of them.
 *
 *     u32     of the lowest bits the first eight: how many times 16 bytes it has; the next one: there are grants of the key; the
 *             next one: its id begins with `mrk-`; the last sixteen: the number of its Region (`common-texts.ts`)
 *     4 u32   the digits of the key's id
 *     then its rows
 */

import { isMultiRegion, type KeyId } from '../kms/names.ts';
import { CommonTexts } from './common-texts.ts';
import { PackedRows, type RowToPack, type UnpackedRow } from './packed-rows.ts';

const unit = 16;
const wordsPerUnit = unit / 4;
const headBytes = 20;
/** Of a line. */
const fewestBytes = 2 * unit;
/** Longer ones, of a key with a long policy of its own or much material, are read from the database. */
const maxLineBytes = 63 * unit;
const blockBytes = 1024 * 1024;
const unitsPerBlock = blockBytes / unit;
const smallest = 1024;

const unitsOf = (head: number): number => head & 0xff;
const grantsFlag = 0x100;
const multiRegionFlag = 0x200;
const regionShift = 16;
/** What names a key, of the first word. */
const naming = 0xffff0000 | multiRegionFlag;

export interface UnpackedKey {
  readonly rows: readonly UnpackedRow[];
  readonly hasGrants: boolean;
}

interface Block {
  readonly bytes: Buffer;
  readonly words: Uint32Array;
}

export class PackedKeys {
  readonly #texts = new CommonTexts();
  readonly #rows = new PackedRows(this.#texts, maxLineBytes - headBytes);
  readonly #maxBytes: number;
  readonly #blocks: Block[] = [];
  /** Units of the last block that are in use. */
  #used = unitsPerBlock;
  /** By how many units they have, places that are free again. */
  readonly #free: number[][] = Array.from({ length: maxLineBytes / unit + 1 }, () => []);
  /** Where lines begin, in units from the first block on, and one more; 0 for none. There are a power of two. */
  #table: Uint32Array;
  #count = 0;
  /** Regions that there are or were lines of, and their numbers. */
  readonly #regions = new Map<string, number>();
  /** What is looked for, as it stands at the beginning of a line. */
  readonly #wanted = new Uint32Array(5);

  /**
   * @param maxBytes All lines together take no more.
   * @param expected So many there will be, roughly: for more the table grows, which takes a tenth of a second with half a million.
   */
  constructor(maxBytes: number, expected = 0) {
    this.#maxBytes = maxBytes;
    const most = Math.min(expected, Math.floor(maxBytes / fewestBytes));
    let places = smallest;
    while (places < 2 * most) places *= 2;
    this.#table = new Uint32Array(places);
  }

  get count(): number {
    return this.#count;
  }

  /** Is there no room for more, whatever they take? */
  get isFull(): boolean {
    const isLastBlock = (this.#blocks.length + 1) * blockBytes > this.#maxBytes;
    return isLastBlock && this.#used + maxLineBytes / unit > unitsPerBlock;
  }

  has(region: string, keyId: KeyId): boolean {
    return this.#isThere(region, keyId);
  }

  get(region: string, keyId: KeyId): UnpackedKey | undefined {
    if (!this.#isThere(region, keyId)) return undefined;
    const line = this.#lineAt(this.#find());
    const hasGrants = (this.#headOf(line) & grantsFlag) !== 0;
    return { rows: this.#rowsOf(line, keyId), hasGrants };
  }

  /**
   * Takes up one that there is no line of.
   * @param rows All that there are, verified.
   * @returns Is there a line of it now?
   */
  put(region: string, keyId: KeyId, rows: readonly RowToPack[], hasGrants: boolean): boolean {
    const packed = this.#rows.pack(keyId, rows);
    const number = this.#regions.get(region) ?? this.#texts.numberOf(region);
    if (packed === undefined || number === undefined) return false;
    this.#regions.set(region, number);
    if (this.#isThere(region, keyId)) return false;
    const units = Math.ceil((headBytes + packed.length) / unit);
    const line = this.#place(units);
    if (line === undefined) return false;
    const { bytes, words } = this.#blockOf(line);
    const at = line % unitsPerBlock;
    words.set(this.#wanted, at * wordsPerUnit);
    words[at * wordsPerUnit] = (this.#wanted[0] as number) | units | (hasGrants ? grantsFlag : 0);
    bytes.set(packed, at * unit + headBytes);
    if ((this.#count + 1) * 2 > this.#table.length) this.#grow();
    this.#table[this.#find()] = line + 1;
    this.#count++;
    return true;
  }

  /** From now on there are grants of it. */
  noteGrants(region: string, keyId: KeyId): void {
    if (!this.#isThere(region, keyId)) return;
    const line = this.#lineAt(this.#find());
    const { words } = this.#blockOf(line);
    words[(line % unitsPerBlock) * wordsPerUnit] = this.#headOf(line) | grantsFlag;
  }

  /** Takes out what there is of this id in all Regions; nothing of it stays in memory, as a blob that was destroyed. @returns What it said. */
  take(keyId: KeyId): readonly UnpackedRow[] {
    const taken: UnpackedRow[] = [];
    for (const region of this.#regions.keys()) {
      if (!this.#isThere(region, keyId)) continue;
      const index = this.#find();
      const line = this.#lineAt(index);
      taken.push(...this.#rowsOf(line, keyId));
      const units = unitsOf(this.#headOf(line));
      this.#emptyAt(index);
      const at = (line % unitsPerBlock) * unit;
      this.#blockOf(line).bytes.fill(0, at, at + units * unit);
      this.#free[units]?.push(line);
    }
    return taken;
  }

  #isThere(region: string, keyId: KeyId): boolean {
    const number = this.#regions.get(region);
    if (number === undefined) return false;
    const isOfSeveral = isMultiRegion(keyId);
    this.#wanted[0] = (number << regionShift) | (isOfSeveral ? multiRegionFlag : 0);
    let at = isOfSeveral ? 'mrk-'.length : 0;
    for (let word = 1; word < this.#wanted.length; word++) {
      let value = 0;
      for (let left = 8; left > 0; at++) {
        const code = keyId.charCodeAt(at);
        if (code === hyphen) continue;
        value = (value << 4) | (code <= nine ? code - zero : code - a + 10);
        left--;
      }
      this.#wanted[word] = value;
    }
    return this.#table[this.#find()] !== 0;
  }

  /** Where in the table the line of what is looked for is named, or would be. */
  #find(): number {
    const wanted = this.#wanted;
    const head = (wanted[0] as number) & naming;
    const mask = this.#table.length - 1;
    for (let index = homeIn(mask, wanted, 0); ; index = (index + 1) & mask) {
      const line = (this.#table[index] as number) - 1;
      if (line < 0) return index;
      const { words } = this.#blockOf(line);
      const at = (line % unitsPerBlock) * wordsPerUnit;
      if (
        words[at + 1] === wanted[1] &&
        words[at + 2] === wanted[2] &&
        words[at + 3] === wanted[3] &&
        words[at + 4] === wanted[4] &&
        ((words[at] as number) & naming) === head
      )
        return index;
    }
  }

  #lineAt(index: number): number {
    return (this.#table[index] as number) - 1;
  }

  #blockOf(line: number): Block {
    return this.#blocks[Math.floor(line / unitsPerBlock)] as Block; // A line is in one.
  }

  #headOf(line: number): number {
    return this.#blockOf(line).words[(line % unitsPerBlock) * wordsPerUnit] as number;
  }

  #rowsOf(line: number, keyId: KeyId): readonly UnpackedRow[] {
    return this.#rows.unpack(keyId, this.#blockOf(line).bytes, (line % unitsPerBlock) * unit + headBytes);
  }

  /** A place of so many units. */
  #place(units: number): number | undefined {
    const free = this.#free[units]?.pop();
    if (free !== undefined) return free;
    if (this.#used + units > unitsPerBlock) {
      if (this.isFull) return undefined;
      const bytes = Buffer.alloc(blockBytes);
      this.#blocks.push({ bytes, words: new Uint32Array(bytes.buffer, bytes.byteOffset, blockBytes / 4) });
      this.#used = 0;
    }
    const line = (this.#blocks.length - 1) * unitsPerBlock + this.#used;
    this.#used += units;
    return line;
  }

  /** What stands behind it moves up, so that a search never ends before what it is for. */
  #emptyAt(index: number): void {
    const mask = this.#table.length - 1;
    let hole = index;
    for (let next = (hole + 1) & mask; this.#table[next] !== 0; next = (next + 1) & mask) {
      const home = this.#homeOf(this.#lineAt(next), mask);
      const isBehindHole = hole <= next ? home <= hole || home > next : home <= hole && home > next;
      if (!isBehindHole) continue;
      this.#table[hole] = this.#table[next] as number;
      hole = next;
    }
    this.#table[hole] = 0;
    this.#count--;
  }

  #homeOf(line: number, mask: number): number {
    return homeIn(mask, this.#blockOf(line).words, (line % unitsPerBlock) * wordsPerUnit);
  }

  #grow(): void {
    const former = this.#table;
    this.#table = new Uint32Array(2 * former.length);
    const mask = this.#table.length - 1;
    for (const entry of former) {
      if (entry === 0) continue;
      let index = this.#homeOf(entry - 1, mask);
      while (this.#table[index] !== 0) index = (index + 1) & mask;
      this.#table[index] = entry;
    }
  }
}

/** Where what stands at the beginning of a line is named in a table, unless another one is there. */
function homeIn(mask: number, words: Uint32Array, at: number): number {
  let mixed = (words[at] as number) >>> regionShift;
  for (let word = at + 1; word <= at + 4; word++) mixed = Math.imul(mixed ^ (words[word] as number), odd);
  return (mixed ^ (mixed >>> 15)) & mask;
}

/** 2^32 divided by the golden ratio: a product of it spreads what differs in any digit. */
const odd = 0x9e3779b1;
const [hyphen, zero, nine, a] = [0x2d, 0x30, 0x39, 0x61];
