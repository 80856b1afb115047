/**
 * The wrapped keys that a lane has unwrapped: session objects, kept until room is needed.
 *
 * A part of `key-table.ts`. A call brings its wrapped key along (`wrapped-key.ts`), so nothing here is ever missed: what is not there is
 * unwrapped. Bounded, because session objects take the library's or the device's memory (SoftHSM2 2.6.1: 9 to 12 KB each) and make its
 * searches slow; which of them go, `kept-keys.ts` decides.
 */

import { KeptKeys, maxUnwrappedKeys } from '../../kept-keys.ts';
import type { Handle } from './cryptoki.ts';
import { destroySessionObject, type Unwrapped } from './key-wrapping.ts';
import type { KeyFacts } from './object-facts.ts';
import type { TokenSession } from './token-session.ts';

export class UnwrappedKeys {
  readonly #session: TokenSession;
  readonly #kept: KeptKeys<Unwrapped>;

  constructor(session: TokenSession, max = maxUnwrappedKeys) {
    this.#session = session;
    this.#kept = new KeptKeys(max);
  }

  get count(): number {
    return this.#kept.count;
  }

  /** The handle of a key that is there. */
  find(name: string): Handle | undefined {
    return this.#kept.use(name)?.handle;
  }

  /** One that is not there. */
  keep(name: string, unwrapped: Unwrapped): Handle {
    const gone = this.#kept.keep(name, unwrapped);
    if (gone !== undefined) destroySessionObject(this.#session, gone.handle);
    return unwrapped.handle;
  }

  /** What the record says of a key that is there: what it may be used for is what it was unwrapped for. */
  facts(name: string): KeyFacts | undefined {
    return this.#kept.get(name)?.facts;
  }

  drop(name: string): void {
    const unwrapped = this.#kept.drop(name);
    if (unwrapped !== undefined) destroySessionObject(this.#session, unwrapped.handle);
  }

  /** After a new session: they went with the old one. */
  forgetAll(): void {
    this.#kept.clear();
  }
}
