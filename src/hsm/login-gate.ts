/**
 * Logins to one token: one at a time, and none after a refused PIN. Whoever connects the token anew has the same gate.
 *
 * A token locks itself after a few wrong PINs (often three), so the hosts of a key store must not find out together that
 * the PIN is wrong. INVARIANT: after `pinRefused` nothing here logs in until `reset`, a human's act. The price of taking
 * turns: a host that hangs while it connects holds up the connection of others, for `openDeadlineMs` at most.
 *
 * A process can be ended before it knows of a refusal, and begin anew. Whoever keeps the PIN may note each attempt, so that the next
 * process knows as well (`LoginNotes`).
 */

import { HostOpenError } from './hsm-host.ts';

/** Attempts to log in, noted where they outlive the process. */
export interface LoginNotes {
  /** Resolves when it is on disk that a PIN is about to be presented; when it rejects, none is. */
  about(): Promise<void>;
  /** The token has taken the PIN, or has not been asked, or has not judged it. Never rejects. */
  settled(): Promise<void>;
}

const noNotes: LoginNotes = { about: async () => undefined, settled: async () => undefined };

export class LoginGate {
  readonly #notes: LoginNotes;
  #turn: Promise<unknown> = Promise.resolve();
  #refusal: HostOpenError | null = null;
  #told: HostOpenError | null = null;

  constructor(notes: LoginNotes = noNotes) {
    this.#notes = notes;
  }

  /** The refusal after which the gate closed, or `null`. */
  get refusal(): HostOpenError | null {
    return this.#refusal;
  }

  /** Was it not told yet? From now on it is. */
  isNews(refusal: HostOpenError): boolean {
    const isNews = this.#told !== refusal;
    this.#told = refusal;
    return isNews;
  }

  /** Runs `login` when it is its turn. Rejects with the former refusal, not having run it, when the gate is closed. */
  pass<Result>(login: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(async () => {
      if (this.#refusal !== null) throw this.#refusal;
      await this.#note();
      try {
        const result = await login();
        await this.#notes.settled();
        return result;
      } catch (error) {
        const isRefusal = error instanceof HostOpenError && error.kind === 'pinRefused';
        if (isRefusal) this.#refusal = error;
        else if (!(error instanceof HostOpenError && error.isUnanswered)) await this.#notes.settled();
        throw error;
      }
    });
    this.#turn = turn.catch(() => undefined); // The next one's turn comes however this one ended.
    return turn;
  }

  async #note(): Promise<void> {
    try {
      await this.#notes.about();
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new HostOpenError('failed', `cannot note that its PIN is about to be presented: ${why}`, { cause });
    }
  }

  reset(): void {
    this.#refusal = null;
  }
}
