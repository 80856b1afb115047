/**
 * The same attributes of many objects, each time with one call of `C_GetAttributeValue` into memory that is there already.
 *
 * pkcs11js asks twice, for the lengths and for the values, and makes a buffer of each value: 27 µs for 13 attributes of an object of
 * SoftHSM2, where this takes 3. What is read here is read after every unwrapping (`key-wrapping.ts`), so it is worth the second way to
 * the library. It is never the only way: whatever the library answers other than `CKR_OK` is left to the first, which knows what it
 * means.
 *
 * Almost all answers are the same bytes: keys of one kind differ in their values, which nobody reads. So what was found right is kept,
 * and an answer that is the same to the last byte, lengths included, need not be taken apart again.
 *
 * INVARIANT: what is compared and returned was written by the call that `ask` made. The memory is what it was at the beginning before
 * each, and a length that the library did not set to one that has room counts as an attribute that is not told.
 *
 * Source: PKCS#11 3.1, sections 3.2 (CK_ATTRIBUTE) and 5.7.5 (C_GetAttributeValue); on 64-bit Linux, little-endian.
 */

import { type Cryptoki, constant, type Handle } from './cryptoki.ts';
import { type DirectFunctions, directFunctionsOf, handleNumber } from './direct-functions.ts';
import { FixedMemory } from './fixed-memory.ts';
import { libraryPathOf } from './loaded-libraries.ts';

const ok = constant('CKR_OK');
/** A CK_ATTRIBUTE: type, pointer, length, each of 8 bytes. */
const attributeBytes = 24;
/** More than a number or a flag. */
const roomBytes = 16;
/** More than a modulus of 4,096 bits with a zero byte before it, and curves with all their parameters. */
const longRoomBytes = 520;

interface Attribute {
  readonly name: string;
  /** Where its `CK_ATTRIBUTE` and its value begin. */
  readonly at: number;
  readonly valueAt: number;
  readonly roomBytes: number;
}

export class AttributeReader {
  readonly #attributes: readonly Attribute[];
  /** The array of `CK_ATTRIBUTE`, and behind it the values. */
  readonly #memory: Buffer;
  readonly #address: number;
  /** What it is before each call. */
  readonly #blank: Buffer;
  readonly #functions: DirectFunctions | null;
  /** What it was after a call whose answer was right. */
  #familiar: Buffer | null = null;

  /**
   * @param names Of numbers and flags.
   * @param longNames Of attributes whose values have less than 520 bytes.
   */
  constructor(cryptoki: Cryptoki, names: readonly string[], longNames: readonly string[] = []) {
    const all = [...names.map((name) => [name, roomBytes] as const), ...longNames.map(longRoom)];
    let valueAt = all.length * attributeBytes;
    this.#attributes = all.map(([name, bytes], index) => {
      const attribute = { name, at: index * attributeBytes, valueAt, roomBytes: bytes };
      valueAt += bytes;
      return attribute;
    });
    const { bytes: memory, address } = new FixedMemory(valueAt);
    this.#memory = memory;
    this.#address = address;
    for (const { name, at, valueAt: offset, roomBytes: bytes } of this.#attributes) {
      this.#memory.writeBigUInt64LE(BigInt(constant(name)), at);
      this.#memory.writeBigUInt64LE(BigInt(address + offset), at + 8);
      this.#memory.writeBigUInt64LE(BigInt(bytes), at + 16);
    }
    this.#blank = Buffer.from(this.#memory);
    const path = libraryPathOf(cryptoki);
    this.#functions = path === undefined ? null : directFunctionsOf(path);
  }

  /** Whether the library answered `CKR_OK`; if not, the caller asks in the other way, and hears why. */
  ask(session: Handle, object: Handle): boolean {
    if (this.#functions === null) return false;
    this.#memory.set(this.#blank);
    const [inSession, objectNumber] = [handleNumber(session), handleNumber(object)];
    const code = this.#functions.getAttributeValue(inSession, objectNumber, this.#address, this.#attributes.length);
    return code === ok;
  }

  /** Is the answer the one that was last remembered, byte for byte? */
  isFamiliar(): boolean {
    return this.#familiar?.equals(this.#memory) === true;
  }

  /** The answer is right, whatever key it is of. */
  remember(): void {
    this.#familiar = Buffer.from(this.#memory);
  }

  /** The answer by the names of attributes, views that are valid until the next call; one that is not told is `undefined`. */
  values(): ReadonlyMap<string, Buffer | undefined> {
    return new Map(this.#attributes.map((attribute) => [attribute.name, this.#value(attribute)]));
  }

  #value({ at, valueAt, roomBytes: bytes }: Attribute): Buffer | undefined {
    const lengthBytes = this.#memory.readBigUInt64LE(at + 16);
    if (lengthBytes >= bytes) return undefined;
    return this.#memory.subarray(valueAt, valueAt + Number(lengthBytes));
  }
}

function longRoom(name: string): readonly [name: string, roomBytes: number] {
  return [name, longRoomBytes];
}
