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

const blockBytes = 16;
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
    const message = Buffer.from(digits, 'hex');
    const chained = this.#encrypt(message);
    const last = Buffer.alloc(message.length / 2);
    for (let at = 0; at < last.length; at++) {
      const first = at + (at & ~(blockBytes - 1)); // The first block of each record, of two.
      last[at] = (chained[first] as number) ^ (message[first + blockBytes] as number); // Both are as long.
    }
    return addedUp(this.#encrypt(last));
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

/** Column by column, of 32 bits each: no number here gets larger than 2^53 with fewer than 2^21 blocks. */
function addedUp(blocks: Buffer): bigint {
  let [first, second, third, fourth] = [0, 0, 0, 0];
  for (let at = 0; at < blocks.length; at += blockBytes) {
    first += blocks.readUInt32BE(at);
    second += blocks.readUInt32BE(at + 4);
    third += blocks.readUInt32BE(at + 8);
    fourth += blocks.readUInt32BE(at + 12);
  }
  return [first, second, third, fourth].reduce((sum, column) => (sum << 32n) + BigInt(column), 0n) % modulus;
}
