/**
 * Which records are known to be genuine: a set of hashes of their canonical forms.
 *
 * A record that is read again long after it was verified was verified then, if its form is in here, and costs no call to the HSM. What
 * takes its place puts the new form in here and takes the former one out, which has to be the one that is known (`over-known.ts`).
 * Whether a record is in force is another question (`macs-in-force.ts`).
 *
 * A hash is keyed with what nobody else knows and no other start has: nobody who edits a row can aim at a form that is known.
 */

import { hash, randomBytes } from 'node:crypto';
import { HashSet } from './hash-set.ts';

const keyBytes = 32;

/** @param arePacked Are most of so many records known otherwise, as those of packed keys are? */
export function formsToExpect(records: number, arePacked: boolean): number {
  return arePacked ? Math.ceil(records / 8) : records;
}

export class KnownForms {
  readonly #hashes: HashSet;
  /** The key, and behind it the form that is being hashed. */
  #input = randomBytes(4096);

  /** @param expected How many there will be. */
  constructor(expected = 0) {
    this.#hashes = new HashSet(expected);
  }

  /**
   * @param form The canonical form of a record, which says its kind and its id. It is read now.
   * @returns A character for each byte. As a buffer it would take three times as long (Node.js 24).
   */
  hashOf(form: Buffer): string {
    const bytes = keyBytes + form.length;
    if (bytes > this.#input.length) this.#input = Buffer.concat([this.#input.subarray(0, keyBytes)], 2 * bytes);
    // The key is of one length, so what follows it cannot be taken for a part of it.
    this.#input.set(form, keyBytes);
    return hash('sha256', this.#input.subarray(0, bytes), 'binary');
  }

  has(hashed: string): boolean {
    return this.#hashes.has(wordAt(hashed, 0), wordAt(hashed, 4), wordAt(hashed, 8));
  }

  add(hashed: string): void {
    this.#hashes.add(wordAt(hashed, 0), wordAt(hashed, 4), wordAt(hashed, 8));
  }

  delete(hashed: string): void {
    this.#hashes.delete(wordAt(hashed, 0), wordAt(hashed, 4), wordAt(hashed, 8));
  }
}

function wordAt(hashed: string, at: number): number {
  const high = (hashed.charCodeAt(at + 3) << 8) | hashed.charCodeAt(at + 2);
  return ((high << 16) | (hashed.charCodeAt(at + 1) << 8) | hashed.charCodeAt(at)) >>> 0;
}
