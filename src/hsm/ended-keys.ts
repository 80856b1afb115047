/**
 * Which wrapped keys have ended, for whoever holds one: told once, without anybody knowing who they are.
 *
 * A key that is not in memory may still be in the hands of a request that read it. So what ends is noted on the last page of a chain, and each
 * holder reads from the page on that was the last one when he got his key, and was empty then. Pages that nobody reads from any more are
 * collected with all that is on them. Nothing is kept of keys that do not end, where a `WeakRef` of each would have it outlive its request by
 * far: V8 lets go of what such a reference leads to with old objects only.
 */

import type { BackingKeyId } from '../kms/names.ts';
import type { PageOfEnded, WrappedKeyOutline } from './wrapped-key.ts';

class Page implements PageOfEnded {
  readonly ended = new Map<BackingKeyId, WrappedKeyOutline | undefined>();
  next: Page | undefined;
}

/** The last page is kept whether somebody reads from it or not. */
const maxPerPage = 256;

export class EndedKeys {
  #last = new Page();

  /** Where whoever gets a key now begins to read. */
  get end(): PageOfEnded {
    if (this.#last.ended.size > 0) this.#turn();
    return this.#last;
  }

  /** @param now What it is wrapped to from now on; `undefined`: nothing. */
  note(backingKeyId: BackingKeyId, now: WrappedKeyOutline | undefined): void {
    // A second note would cover the first, which somebody has not read yet.
    if (this.#last.ended.size >= maxPerPage || this.#last.ended.has(backingKeyId)) this.#turn();
    this.#last.ended.set(backingKeyId, now);
  }

  #turn(): void {
    const page = new Page();
    this.#last.next = page;
    this.#last = page;
  }
}
