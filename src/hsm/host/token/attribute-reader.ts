/**
 * The same attributes of many objects, each time with one call of `C_GetAttributeValue` into memory that is there already.
 *
 * pkcs11js asks twice, for the lengths and for the values, and makes a buffer of each value: 27 µs for 13 attributes of an object of
 * SoftHSM2, where this takes 4. What is read here is read after every unwrapping (`key-wrapping.ts`), so it is worth the second way to
 * the library. It is never the only way: whatever the library answers other than `CKR_OK` is left to the first, which knows what it
 * means.
 *
 * INVARIANT: what `read` returns was written by the call that it made. The memory is zeroed before, and a length that the library did
 * not set to one that has room counts as an attribute that is not told.
 *
 * Source: PKCS#11 3.1, sections 3.6 (CK_FUNCTION_LIST), 3.2 (CK_ATTRIBUTE) and 5.7.5 (C_GetAttributeValue); on 64-bit Linux.
 */

import koffi from 'koffi';
import { type Cryptoki, constant, type Handle, libraryPathOf } from './cryptoki.ts';

/** Behind the version, which is padded to 8 bytes; 24 functions are before it. */
const offsetOfGetAttributeValue = 8 + 24 * 8;
/** A CK_ATTRIBUTE: type, pointer, length, each of 8 bytes. */
const attributeBytes = 24;
/** More than a modulus of 4,096 bits with a zero byte before it, and curves with all their parameters: a length that a library leaves is none. */
const roomBytes = 520;

type GetAttributeValue = (session: bigint, object: bigint, template: Buffer, count: number) => number;

const getFunctionList = 'unsigned long C_GetFunctionList(_Out_ void **list)';
const getAttributeValue = koffi.proto('unsigned long', ['uint64_t', 'uint64_t', 'void *', 'unsigned long']);

export class AttributeReader {
  readonly #names: readonly string[];
  readonly #template: Buffer;
  readonly #values: Buffer;
  #call: GetAttributeValue | null;

  /** @param names Of attributes whose values have less than 520 bytes. */
  constructor(cryptoki: Cryptoki, names: readonly string[]) {
    this.#names = names;
    this.#values = Buffer.alloc(names.length * roomBytes);
    this.#template = Buffer.alloc(names.length * attributeBytes);
    const address = BigInt(koffi.address(this.#values));
    for (const [index, name] of names.entries()) {
      this.#template.writeBigUInt64LE(BigInt(constant(name)), index * attributeBytes);
      this.#template.writeBigUInt64LE(address + BigInt(index * roomBytes), index * attributeBytes + 8);
    }
    this.#call = functionOf(cryptoki);
  }

  /**
   * The values by their names, views that are valid until the next call; one that is not told is `undefined`.
   * @returns `null` where the library did not answer `CKR_OK`: the caller asks in the other way, and hears why.
   */
  read(session: Handle, object: Handle): ReadonlyMap<string, Buffer | undefined> | null {
    if (this.#call === null) return null;
    this.#values.fill(0);
    for (let at = 16; at < this.#template.length; at += attributeBytes) {
      this.#template.writeUInt32LE(roomBytes, at);
      this.#template.writeUInt32LE(0, at + 4);
    }
    const code = this.#call(session.readBigUInt64LE(), object.readBigUInt64LE(), this.#template, this.#names.length);
    // A library that gives each caller a list of functions of his own: this one's was never initialised.
    if (code === constant('CKR_CRYPTOKI_NOT_INITIALIZED')) this.#call = null;
    return code === constant('CKR_OK') ? new Map(this.#names.map((name, index) => [name, this.#value(index)])) : null;
  }

  #value(index: number): Buffer | undefined {
    const lengthBytes = this.#template.readBigUInt64LE(index * attributeBytes + 16);
    if (lengthBytes >= roomBytes) return undefined;
    return this.#values.subarray(index * roomBytes, index * roomBytes + Number(lengthBytes));
  }
}

const functions = new Map<string, GetAttributeValue>();

/** Of the library that pkcs11js has loaded. */
function functionOf(cryptoki: Cryptoki): GetAttributeValue | null {
  const path = libraryPathOf(cryptoki);
  if (path === undefined) return null;
  let call = functions.get(path);
  if (call === undefined) {
    const list: [unknown] = [null];
    if (koffi.load(path).func(getFunctionList)(list) !== constant('CKR_OK')) return null;
    // Safe: `getAttributeValue` declares these parameters.
    call = koffi.decode(
      koffi.decode(list[0], offsetOfGetAttributeValue, 'void *'),
      getAttributeValue,
    ) as GetAttributeValue;
    functions.set(path, call);
  }
  return call;
}
