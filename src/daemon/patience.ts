/**
 * How a start waits for tokens that are not there: an HSM behind a network that comes up later, a card that nobody has put in.
 *
 * Whatever may be otherwise in a while is tried again, with growing pauses, until it works, somebody stops the daemon, or something
 * turns out that no waiting mends. Whoever has no patience has one attempt.
 */

import { KeyStoreError, type KeyStoreFailure } from '../hsm/key-store.ts';
import type { BegunKeyStore } from '../hsm/open-key-store.ts';
import type { Logger } from '../kms/logger.ts';

/** After which a token that is still being connected is one that is waited for: systemd has told its user nothing for that long. */
const maxSilenceMs = 10_000;
/** Between attempts to open what the tokens hold; doubles. Connections to tokens have pauses of their own. */
const firstPauseMs = 500;
const maxPauseMs = 30_000;

/** A key store that a start needs. */
interface AwaitedKeyStore extends Pick<BegunKeyStore, 'connected'> {
  readonly keyStore: Pick<BegunKeyStore['keyStore'], 'status'>;
}

export class Patience {
  readonly #isPatient: boolean;
  readonly #log: Logger;
  readonly #began = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #isOver = false;
  #reason: string | null = null;
  /** What a start does that was not heard of for long, or goes on after it waited. */
  #about = 'the token is being connected';
  #isUnderWay = false;

  constructor(isPatient: boolean, log: Logger) {
    this.#isPatient = isPatient;
    this.#log = log;
  }

  /** Resolves when something is waited for; never, if nothing is. */
  get began(): Promise<void> {
    return this.#began.promise;
  }

  /** What is waited for, for operators; `null` while that is nothing. */
  get reason(): string | null {
    return this.#reason !== null && this.#isUnderWay ? this.#about : this.#reason;
  }

  /** Has somebody stopped the daemon? */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Is there to be another attempt, after one that failed for this reason? */
  goesOn({ message }: { readonly message: string }): boolean {
    if (!this.#isPatient || this.#isOver) return false;
    if (this.#reason !== message) this.#log.warn({ reason: message }, 'the start waits for its key stores');
    this.#reason = message;
    this.#isUnderWay = false;
    this.#began.resolve();
    return true;
  }

  /** What the start is doing, once nothing is waited for: for operators, where it takes long. */
  tell(what: string): void {
    this.#about = what;
    this.#isUnderWay = true;
  }

  /** Ends the pause that there may be, and all further attempts. */
  end(): void {
    this.#isOver = true;
    this.#ended.resolve();
  }

  /**
   * Has `open` run once all key stores are connected, and again when it failed for want of a token.
   * @throws what key stores and `open` reject with when it is to be waited no longer.
   */
  async open<Opened>(keyStores: readonly AwaitedKeyStore[], open: () => Promise<Opened>): Promise<Opened> {
    const silence = setTimeout(() => this.#breakSilence(), maxSilenceMs).unref();
    try {
      await Promise.all(keyStores.map(({ connected }) => connected));
      this.tell('the records are being read');
      for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(maxPauseMs, 2 * pauseMs)) {
        try {
          const opened = await open();
          this.#reason = null;
          return opened;
        } catch (error) {
          const isHopeless = keyStores.some(({ keyStore }) => keyStore.status().state === 'pinRefused');
          if (isHopeless || !isForWantOfToken(error) || !this.goesOn(error)) throw error;
        }
        await this.#pause(pauseMs);
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #breakSilence(): void {
    if (!this.#isUnderWay) this.goesOn({ message: this.#about });
    if (!this.#isPatient || this.#isOver || !this.#isUnderWay) return;
    this.#log.info({ about: this.#about }, 'the start takes long');
    this.#reason ??= this.#about;
    this.#began.resolve();
  }

  async #pause(forMs: number): Promise<void> {
    const waiting = Promise.withResolvers<void>();
    const timer = setTimeout(waiting.resolve, forMs);
    await Promise.race([waiting.promise, this.#ended.promise]);
    clearTimeout(timer);
  }
}

const passing: ReadonlySet<KeyStoreFailure> = new Set(['unavailable', 'away', 'timeout', 'busy']);

/** Whoever was told by a key store may have told it on in his own words. */
function isForWantOfToken(error: unknown): error is Error {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof KeyStoreError && passing.has(cause.failure)) return true;
  return false;
}
