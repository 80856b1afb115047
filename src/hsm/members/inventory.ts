/** Which of our key objects are in a token, as it was last listed and changed since. */

import type { BackingKeyId } from '../../kms/names.ts';
import { domainKeyLabelPrefix } from '../key-store.ts';

export interface ListedObject {
  readonly backingKeyId: BackingKeyId;
  readonly label: string;
}

export class Inventory {
  readonly #ids: Set<BackingKeyId>;
  readonly #domainKeys: Set<BackingKeyId>;

  constructor(objects: readonly ListedObject[]) {
    this.#ids = new Set(objects.map(({ backingKeyId }) => backingKeyId));
    const domainKeys = objects.filter(({ label }) => label.startsWith(domainKeyLabelPrefix));
    this.#domainKeys = new Set(domainKeys.map(({ backingKeyId }) => backingKeyId));
  }

  has(backingKeyId: BackingKeyId): boolean {
    return this.#ids.has(backingKeyId);
  }

  /** Under which keys are wrapped that live outside of the token. */
  get domainKeys(): ReadonlySet<BackingKeyId> {
    return this.#domainKeys;
  }

  add(backingKeyId: BackingKeyId): void {
    this.#ids.add(backingKeyId);
  }

  remove(backingKeyId: BackingKeyId): void {
    this.#ids.delete(backingKeyId);
    this.#domainKeys.delete(backingKeyId);
  }
}
