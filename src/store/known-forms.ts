/**
 * Which records are known to be genuine: a set of hashes of their canonical forms.
 *
 * A record that is read again long after it was verified was verified then, if its form is in here, and costs no call to the HSM. What
 * takes its place puts the new form in here and takes the former one out. Whether a record is in force is another question
 * (`macs-in-force.ts`).
 *
 * A hash is keyed with what nobody else knows and no other start has: nobody who edits a row can aim at a form that is known.
 */

import { hash, randomBytes } from 'node:crypto';
import { HashSet } from './hash-set.ts';

export class KnownForms extends HashSet {
  readonly #key = randomBytes(32);

  /** @param form The canonical form of a record, which says its kind and its id. */
  hashOf(form: Buffer): Buffer {
    // Of one length before, so what follows it cannot be taken for a part of the key.
    return hash('sha256', Buffer.concat([this.#key, form]), 'buffer');
  }
}
