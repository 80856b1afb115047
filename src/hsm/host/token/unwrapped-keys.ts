/**
 * The wrapped keys that a lane has unwrapped: session objects, kept until room is needed.
 *
 * A part of `key-table.ts`. A call brings its wrapped key along (`wrapped-key.ts`), so nothing here is ever missed: what is not there is
 * unwrapped. Bounded, because session objects take the library's or the device's memory (SoftHSM2 2.6.1: 9 to 12 KB each) and make its
 * searches slow; what goes is what was not used since it was last considered (second chance), which costs a use no more than a flag.
 */

import type { Handle } from './cryptoki.ts';
import { destroySessionObject, type Unwrapped } from './key-wrapping.ts';
import type { KeyFacts } from './object-facts.ts';
import type { TokenSession } from './token-session.ts';

/** As many as there are session copies at most. */
export const maxUnwrappedKeys = 1024;

interface Kept extends Unwrapped {
  wasUsed: boolean;
}

export class UnwrappedKeys {
  readonly #session: TokenSession;
  readonly #max: number;
  /** In the order in which they are considered. */
  readonly #kept = new Map<string, Kept>();

  constructor(session: TokenSession, max = maxUnwrappedKeys) {
    this.#session = session;
    this.#max = max;
  }

  get count(): number {
    return this.#kept.size;
  }

  /** The handle of a key that is there. */
  find(name: string): Handle | undefined {
    const kept = this.#kept.get(name);
    if (kept === undefined) return undefined;
    kept.wasUsed = true;
    return kept.handle;
  }

  keep(name: string, unwrapped: Unwrapped): Handle {
    this.drop(name);
    while (this.#kept.size >= this.#max) this.#evict();
    this.#kept.set(name, { ...unwrapped, wasUsed: false });
    return unwrapped.handle;
  }

  /** What the record says of a key that is there: what it may be used for is what it was unwrapped for. */
  facts(name: string): KeyFacts | undefined {
    return this.#kept.get(name)?.facts;
  }

  drop(name: string): void {
    const kept = this.#kept.get(name);
    if (kept === undefined) return;
    this.#kept.delete(name);
    destroySessionObject(this.#session, kept.handle);
  }

  /** After a new session: they went with the old one. */
  forgetAll(): void {
    this.#kept.clear();
  }

  #evict(): void {
    for (const [name, kept] of this.#kept) {
      if (!kept.wasUsed) {
        this.drop(name);
        return;
      }
      kept.wasUsed = false;
      this.#kept.delete(name);
      this.#kept.set(name, kept);
    }
  }
}
