/** Keys of one Region that nobody can use, because a record of theirs did not verify or is missing. */

import { type KeyId, parseKeyId } from '../kms/names.ts';
import type { QuarantinedRecord } from '../store/quarantined-record.ts';

export class DamagedKeys {
  /** Those with a record that did not verify stay so until the next start. */
  readonly #refused = new Set<KeyId>();
  readonly #damaged = new Set<KeyId>();

  get size(): number {
    return this.#damaged.size;
  }

  /** So many of them. */
  first(count: number): readonly KeyId[] {
    return [...this.#damaged].slice(0, count);
  }

  has(keyId: KeyId): boolean {
    return this.#damaged.has(keyId);
  }

  /** A record of it did not verify. */
  refuse(keyId: KeyId): void {
    this.#refused.add(keyId);
    this.#damaged.add(keyId);
  }

  /** Its records cannot be used as they are. */
  add(keyId: KeyId): void {
    this.#damaged.add(keyId);
  }

  /** Its records can be used now. */
  mend(keyId: KeyId): void {
    if (!this.#refused.has(keyId)) this.#damaged.delete(keyId);
  }
}

/** The key that a record which did not verify belongs to, as far as its row says, where it cannot do without. */
export function keyThatLacks({ kind, id, keyId = id }: QuarantinedRecord): KeyId | undefined {
  return kind === 'key' || kind === 'keyPolicy' || kind === 'backingKey' ? parseKeyId(keyId) : undefined;
}
