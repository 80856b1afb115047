/**
 * One number over all records, of which a change costs as much as it changes, however many others there are.
 *
 *     element  of a record: AES-256-CBC-MAC of its MAC, which is two blocks of 16 bytes
 *     sum      of all elements, modulo 2^128
 *     hash     HMAC-SHA-256 of the sum, under another key; only this is ever written or shown
 *
 * A record's MAC binds its kind, its id and all that it says (`record-mac.ts`), so the elements stand for the records. Removing one,
 * putting a former one back or adding a copy changes the sum by elements that are pseudorandom for whoever lacks the key, in the
 * manner of MSet-Add-Hash; he meets the sum that was there with a probability of 2^-128 for each try, and a try is a start of
 * the daemon. The sum itself is never in the clear: the differences of two sums would be elements, and of enough known elements
 * another set with the same sum can be put together (generalised birthdays), which is why sums that are public have thousands
 * of bits. What is shown tells only whether two sums are equal.
 *
 * AES in lists of many records, since a start adds up all of them: an HMAC for each takes 10 times as long (measured).
 * CBC-MAC is a pseudorandom function for messages of one length.
 *
 * Sources: Clarke, Devadas, van Dijk, Gassend, Suh, "Incremental Multiset Hash Functions and Their Application to Memory Integrity
 * Checking" (ASIACRYPT 2003), section 5; Bellare, Kilian, Rogaway, "The Security of the Cipher Block Chaining Message
 * Authentication Code" (JCSS 61, 2000).
 */

import { createCipheriv, createHmac, createSecretKey, type KeyObject } from 'node:crypto';

const wordsPerBlock = 4;
const modulus = 2n ** 128n;
/** As it stands in a row. */
export const storedMac = /^[0-9a-f]{64}$/;

export class RecordSums {
  readonly #elementKey: Buffer;
  readonly #hashKey: KeyObject;

  /** @param key 32 bytes, used for nothing else. */
  constructor(key: Buffer) {
    this.#elementKey = subkey(key, 'element');
    this.#hashKey = createSecretKey(subkey(key, 'hash'));
  }

  /**
   * @param macs As they stand in the file. What is no MAC of ours counts nothing: a record with such a one is refused by itself, and
   * its own is missing in the sum.
   */
  sumOf(macs: readonly unknown[]): bigint {
    return this.sumOfDigits(macs.filter((mac) => typeof mac === 'string' && storedMac.test(mac)).join(''));
  }

  /** @param digits MACs of ours, one behind the other. */
  sumOfDigits(digits: string): bigint {
    return this.sumOfMacs(Buffer.from(digits, 'hex'));
  }

  /** @param macs Of 32 bytes each, one behind the other. They are left as they are. */
  sumOfMacs(macs: Buffer): bigint {
    // The first blocks of all records, and then the second ones, each beside what the first one has become.
    const [firsts, seconds] = blocksOf(macs);
    const chained = wordsIn(this.#encrypt(bytesOf(firsts)));
    for (let at = 0; at < seconds.length; at++) seconds[at] = (seconds[at] as number) ^ (chained[at] as number); // As long.
    return addedUp(this.#encrypt(bytesOf(seconds)));
  }

  /** What may be known of a sum: 64 hexadecimal digits. */
  hashOf(sum: bigint): string {
    return createHmac('sha256', this.#hashKey).update(sum.toString(16)).digest('hex');
  }

  #encrypt(blocks: Buffer): Buffer {
    const cipher = createCipheriv('aes-256-ecb', this.#elementKey, null).setAutoPadding(false);
    return cipher.update(blocks);
  }
}

/** @returns The sum in which one part has taken the place of another. */
export function replacedInSum(sum: bigint, removed: bigint, put: bigint): bigint {
  return (((sum - removed + put) % modulus) + modulus) % modulus;
}

/** A key of its own for each use. */
export function subkey(key: Buffer, use: string): Buffer {
  return createHmac('sha256', key).update(use).digest();
}

/** Of each record of two blocks the first one, and the second one. */
function blocksOf(macs: Buffer): readonly [Uint32Array, Uint32Array] {
  const words = wordsIn(macs);
  const [firsts, seconds] = [new Uint32Array(words.length / 2), new Uint32Array(words.length / 2)];
  for (let from = 0, to = 0; from < words.length; from += 2 * wordsPerBlock) {
    for (let word = 0; word < wordsPerBlock; word++, to++) {
      firsts[to] = words[from + word] as number; // There are twice as many.
      seconds[to] = words[from + wordsPerBlock + word] as number;
    }
  }
  return [firsts, seconds];
}

/** Column by column, of 32 bits each: no number here gets larger than 2^53 with fewer than 2^21 blocks. */
function addedUp(blocks: Buffer): bigint {
  const words = wordsIn(blocks.swap32()); // Numbers here are big-endian, and those of a processor little-endian.
  let [first, second, third, fourth] = [0, 0, 0, 0];
  for (let at = 0; at < words.length; at += wordsPerBlock) {
    first += words[at] as number;
    second += words[at + 1] as number;
    third += words[at + 2] as number;
    fourth += words[at + 3] as number;
  }
  return [first, second, third, fourth].reduce((sum, column) => (sum << 32n) + BigInt(column), 0n) % modulus;
}

/** The same bytes; where they do not begin at a word of memory, a copy. */
function wordsIn(bytes: Buffer): Uint32Array {
  const aligned = bytes.byteOffset % Uint32Array.BYTES_PER_ELEMENT === 0 ? bytes : new Uint8Array(bytes);
  return new Uint32Array(aligned.buffer, aligned.byteOffset, bytes.length / Uint32Array.BYTES_PER_ELEMENT);
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
