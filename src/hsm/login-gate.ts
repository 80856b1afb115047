/**
 * Logins to one token: one at a time, and none after a refused PIN. Whoever connects the token anew has the same gate.
 *
 * A token locks itself after a few wrong PINs (often three), so the hosts of a key store must not find out together that
 * the PIN is wrong. INVARIANT: after `pinRefused` nothing here logs in until `reset`, a human's act. The price of taking
 * turns: a host that hangs while it connects holds up the connection of others, for `openDeadlineMs` at most.
 */

import { HostOpenError } from './hsm-host.ts';

export class LoginGate {
  #turn: Promise<unknown> = Promise.resolve();
  #refusal: HostOpenError | null = null;
  #told: HostOpenError | null = null;

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
      try {
        return await login();
      } catch (error) {
        if (error instanceof HostOpenError && error.kind === 'pinRefused') this.#refusal = error;
        throw error;
      }
    });
    this.#turn = turn.catch(() => undefined); // The next one's turn comes however this one ended.
    return turn;
  }

  reset(): void {
    this.#refusal = null;
  }
}
