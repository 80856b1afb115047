/**
 * One session with the token, and what is done when it fails: the place where return values become decisions.
 *
 * A lane has exactly one and uses it alone, from one thread. INVARIANT: `C_Logout` is never called and the session that
 * logged in (`open-token.ts`) is never closed, so a session that is lost can be opened again without the PIN, which this
 * process no longer has.
 */

import type { ReturnValueMeaning } from '../../vendor-profile.ts';
import { type Cryptoki, constant, type Handle, returnValueOf } from './cryptoki.ts';
import { type FailureName, HostFailure } from './failures.ts';
import { type ReturnValues, returnValueName } from './return-values.ts';

/** What is left to say to the API process once nothing more can be tried. */
const failureOf: Readonly<Record<ReturnValueMeaning, FailureName>> = {
  callersFault: 'ciphertextInvalid',
  keyUnavailable: 'keyUnavailable',
  resolveAgain: 'keyUnavailable',
  reopenSession: 'tokenGone',
  tokenGone: 'tokenGone',
  restartHost: 'tokenGone',
  busy: 'busy',
  unsupported: 'unsupported',
  tokenFull: 'tokenFull',
  pinRefused: 'pinRefused',
  internal: 'internal',
};

export class TokenSession {
  readonly cryptoki: Cryptoki;
  readonly slot: Handle;
  /** What is being done, for the meaning of a return value: `C_GenerateRandom`, `CKM_AES_GCM C_Decrypt`. */
  step = '';
  readonly #returnValues: ReturnValues;
  #handle: Handle;
  #openedInMs = 0;
  #number = 1;

  /** Opens the session. Throws `HostFailure`. */
  constructor({ cryptoki, slot, returnValues }: { cryptoki: Cryptoki; slot: Handle; returnValues: ReturnValues }) {
    this.cryptoki = cryptoki;
    this.slot = slot;
    this.#returnValues = returnValues;
    this.#handle = this.#open();
  }

  get handle(): Handle {
    return this.#handle;
  }

  /** How long `C_OpenSession` took: a way to the token and back, and hardly more. */
  get openedInMs(): number {
    return this.#openedInMs;
  }

  /** Counts the sessions that this has been. Session objects of an earlier number are gone, and their handles may mean others. */
  get number(): number {
    return this.#number;
  }

  /** Opens another session in place of this one. Its session objects are gone. Throws `HostFailure`. */
  reopen(): void {
    this.close();
    this.#number++;
    this.#handle = this.#open();
  }

  close(): void {
    try {
      this.cryptoki.C_CloseSession(this.#handle);
    } catch (error) {
      // It is closed because it is dead or not needed any more, so a library that cannot close it changes nothing.
      if (returnValueOf(error) === undefined) throw error;
    }
  }

  /**
   * Throws `HostFailure` (`tokenGone`) when the token no longer knows that we logged in. To such a session every private
   * object is simply absent, so whoever misses a key asks this before calling it unavailable. So is any object of a token of SoftHSM2 whose
   * folder was taken out: the login is there, and the token does not say any more what it is.
   */
  assertLoggedIn(): void {
    this.step = 'C_GetSessionInfo';
    const { state } = this.cryptoki.C_GetSessionInfo(this.#handle);
    if (state !== constant('CKS_RW_USER_FUNCTIONS')) throw new HostFailure('tokenGone', 'the token has logged us out');
    this.step = 'C_GetTokenInfo';
    try {
      this.cryptoki.C_GetTokenInfo(this.slot);
    } catch (cause) {
      const code = returnValueOf(cause);
      if (code === undefined) throw cause;
      const message = `C_GetTokenInfo: ${returnValueName(code)}: the token may have been taken out`;
      throw new HostFailure('tokenGone', message, { cause });
    }
  }

  /** The meaning of an error of the library in the current `step`. An error that is not the library's is thrown on. */
  meaningOf(error: unknown): ReturnValueMeaning {
    const code = returnValueOf(error);
    if (code === undefined) throw error;
    return this.#returnValues.meaning(code, this.step);
  }

  /** The failure to answer with. An error that is not the library's is returned as it is. */
  failureFrom(error: unknown): unknown {
    const code = returnValueOf(error);
    if (code === undefined) return error;
    const meaning = this.#returnValues.meaning(code, this.step);
    return new HostFailure(failureOf[meaning], `${this.step}: ${returnValueName(code)}`, { cause: error });
  }

  /** For trials: what comes of it, or why it failed. An error that is not the library's is thrown on. */
  attempt<Result>(work: () => Result): Result | HostFailure {
    try {
      return work();
    } catch (error) {
      const failure = this.failureFrom(error);
      if (failure instanceof HostFailure) return failure;
      throw failure;
    }
  }

  /** Runs what needs no key; a dead session is reopened, and `call` repeated, once. */
  run<Result>(call: () => Result): Result {
    try {
      return call();
    } catch (error) {
      if (error instanceof HostFailure) throw error;
      if (this.meaningOf(error) !== 'reopenSession') throw this.failureFrom(error);
    }
    this.reopen();
    try {
      return call();
    } catch (error) {
      throw this.failureFrom(error);
    }
  }

  #open(): Handle {
    this.step = 'C_OpenSession';
    const beganAtMs = performance.now();
    try {
      return this.cryptoki.C_OpenSession(this.slot, constant('CKF_SERIAL_SESSION') | constant('CKF_RW_SESSION'));
    } catch (error) {
      throw this.failureFrom(error);
    } finally {
      this.#openedInMs = performance.now() - beganAtMs;
    }
  }
}
