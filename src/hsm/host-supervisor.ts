/**
 * Keeps one HSM host running, for ever and without an operator.
 *
 * When a host ends, for whatever reason, another is started: at once if it had been stable, else after a pause that
 * doubles (half of it random, so that many do not knock on the token together). Each host reads the PIN anew. A refused
 * PIN alone stops the circle: it goes on when `wake` is called, which is what a human's `reconnect` does.
 */

import type { Logger } from '../kms/logger.ts';
import type { Pin } from '../secrets/secret-bytes.ts';
import type { CallDispatcher } from './call-dispatcher.ts';
import type { HostSettings, OpenSettings } from './calls.ts';
import { watchGrowth } from './host-growth.ts';
import { HostOpenError, HsmHost } from './hsm-host.ts';
import type { KeyStoreCapabilities } from './key-store.ts';
import { type KeyStoreLimits, pauseMs } from './key-store-limits.ts';
import type { LoginGate } from './login-gate.ts';
import type { ConnectionProof } from './token-connection.ts';
import { loadVendorProfile, type VendorProfile, VendorProfileError } from './vendor-profile.ts';

export interface SupervisorOptions {
  readonly keyStore: string;
  readonly settings: HostSettings;
  /** Of each of its hosts: is the first lane one that never generates? */
  readonly hasPromptLane: boolean;
  readonly environment: Readonly<Record<string, string>>;
  readonly pin: () => Promise<Pin>;
  readonly limits: KeyStoreLimits;
  readonly log: Logger;
  /** Does what the library prints go there as well? */
  readonly isLibraryLogged: boolean;
  readonly dispatcher: CallDispatcher;
  readonly gate: LoginGate;
  /** Is asked over each connection before it serves; none serves for which it throws. */
  readonly admit?: ConnectionProof | undefined;
  /** What the last host of the key store to connect found, and the next one may take over, if any did. */
  readonly formerly: () => OpenSettings['formerly'];
  readonly events: SupervisorEvents;
}

interface SupervisorEvents {
  connected(capabilities: KeyStoreCapabilities): void;
  /** A host was lost, or could not be connected; another will be. */
  failed(reason: string): void;
  pinRefused(refusal: HostOpenError): void;
}

export class HostSupervisor {
  readonly #options: SupervisorOptions;
  #host: HsmHost | undefined;
  /** All that live: that one, the one that is to take its place, and those whose place was taken. */
  readonly #alive = new Set<HsmHost>();
  #isAway = false;
  #isConnected = false;
  #isStarted = false;
  #isStopped = false;
  /** Ends the pause before the next attempt. */
  #endPause: () => void = () => undefined;
  #attemptEnded = signal();
  #running: Promise<void> = Promise.resolve();

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** The host, once all its lanes serve calls. */
  get connectedHost(): HsmHost | undefined {
    return this.#isConnected ? this.#host : undefined;
  }

  /** Has the last attempt to connect failed? */
  get isAway(): boolean {
    return this.#isAway;
  }

  /** The process, connected or connecting. */
  get pid(): number | undefined {
    return this.#host?.pid;
  }

  /** Starts the circle. Resolves when the first host is connected; rejects, the circle going on, when it cannot be. */
  start(): Promise<void> {
    this.#isStarted = true;
    const first = this.nextAttempt();
    this.#running = this.#run();
    return first;
  }

  /** Ends as the attempt does that is being made, or is made after the present pause; rejects when there will be none. */
  nextAttempt(): Promise<void> {
    return this.#attemptEnded.promise;
  }

  /** Makes the next attempt now. Resolves when it succeeded, or a host is connected already; rejects when it failed. */
  async wake(): Promise<void> {
    if (this.#isConnected) return;
    // The first host's attempt was the only one, and nothing was to follow it.
    if (!this.#isStarted) return this.start();
    const next = this.#attemptEnded.promise;
    this.#endPause();
    await next;
  }

  /** A key was destroyed through some lane. Resolves when no lane here uses it any more. */
  async keyDestroyed(backingKeyId: Buffer): Promise<void> {
    await Promise.all([...this.#alive].map((host) => host.keyDestroyed(backingKeyId)));
  }

  /** Asks over each connection that serves whether the token is ours. Rejects as `admit` does. */
  async proveAgain(): Promise<void> {
    await Promise.all([...this.#alive].map((host) => host.proveAgain()));
  }

  /** No further host; the present one ends after what it has to do. Resolves when its process is gone. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endPause();
    for (const host of this.#alive) host.end();
    await this.#running;
    await Promise.all([...this.#alive].map(({ ended }) => ended));
  }

  async #run(): Promise<void> {
    const { limits, events, gate } = this.#options;
    let failures = 0;
    while (!this.#isStopped) {
      if (failures > 0) await this.#pause(pauseMs(failures - 1, limits.firstPauseMs, limits.maxPauseMs));
      if (this.#isStopped) break;
      try {
        const host = await gate.pass(() => this.#connect());
        const connectedAtMs = performance.now();
        this.#host = host;
        this.#isConnected = true;
        this.#isAway = false;
        this.#endAttempt(null);
        const reason = await this.#lastEnd(host);
        this.#forgetHost();
        if (this.#isStopped) break;
        events.failed(reason);
        failures = performance.now() - connectedAtMs >= limits.stableAfterMs ? 0 : failures + 1;
      } catch (cause) {
        this.#forgetHost();
        // Told to end while it connected: nothing has failed.
        if (this.#isStopped) break;
        const error = cause instanceof HostOpenError ? cause : this.#unexpected(cause);
        failures++;
        this.#isAway = true;
        if (error.kind === 'pinRefused') {
          events.pinRefused(error);
          const woken = this.#pause(null);
          this.#endAttempt(error);
          await woken;
          failures = 0;
        } else {
          events.failed(error.message);
          this.#endAttempt(error);
        }
      }
    }
    this.#endAttempt(new HostOpenError('failed', 'the key store was closed'));
  }

  /**
   * Why the host ended, or whichever took its place: one that has outgrown its bound is replaced when the next one serves, so that
   * nobody notices.
   */
  async #lastEnd(first: HsmHost): Promise<string> {
    const { keyStore, log, limits, dispatcher } = this.#options;
    for (let host = first; ; ) {
      const growth = watchGrowth(host.pid, limits);
      const end = await Promise.race([host.ended, growth.outgrown]);
      growth.stop();
      if (typeof end === 'string') return end;
      const successor = await this.#successor();
      if (successor === undefined) continue;
      const grownMb = Math.round(end);
      log.info({ keyStore, pid: host.pid, grownMb }, 'an HSM host has grown too large, and another has its place');
      this.#host = successor;
      dispatcher.retire(host);
      host = successor;
    }
  }

  /** `undefined` when there is none to be had: the present host then serves on, and is to be replaced when it has grown as much again. */
  async #successor(): Promise<HsmHost | undefined> {
    const { keyStore, gate, log, events } = this.#options;
    try {
      return await gate.pass(() => this.#connect());
    } catch (cause) {
      if (cause instanceof HostOpenError && cause.kind === 'pinRefused') events.pinRefused(cause);
      const reason = cause instanceof Error ? cause.message : String(cause);
      if (!this.#isStopped) log.warn({ keyStore, reason }, 'an HSM host that has grown too large cannot be replaced');
      return undefined;
    }
  }

  #forgetHost(): void {
    this.#host = undefined;
    this.#isConnected = false;
  }

  /** Starts a host and has it open the token. Rejects with `HostOpenError`; the process is gone then. */
  async #connect(): Promise<HsmHost> {
    const { keyStore, settings, hasPromptLane, environment, limits, log, isLibraryLogged, dispatcher, admit } =
      this.#options;
    if (this.#isStopped) throw new HostOpenError('failed', 'the key store was closed');
    const vendorProfile = this.#readProfile();
    const pin = await this.#readPin();
    const { openDeadlineMs } = limits;
    const { lanes } = settings;
    const parts = { lanes, hasPromptLane, environment, owner: dispatcher, keyStore, openDeadlineMs, admit };
    const host = new HsmHost({ ...parts, log, isLibraryLogged });
    this.#host ??= host;
    this.#alive.add(host);
    void host.ended.then(() => this.#alive.delete(host));
    if (this.#isStopped) host.end();
    const { events } = this.#options;
    const formerly = this.#options.formerly();
    const openSettings = { ...settings, vendorProfile, ...(formerly && { formerly }) };
    const capabilities = await host.open(openSettings, pin, openDeadlineMs);
    events.connected(capabilities);
    return host;
  }

  /** A mistake of ours: loud, and no reason to leave callers without a token. */
  #unexpected(cause: unknown): HostOpenError {
    this.#options.log.error({ keyStore: this.#options.keyStore, err: cause }, 'the supervision of an HSM host failed');
    return new HostOpenError('failed', cause instanceof Error ? cause.message : String(cause), { cause });
  }

  #readProfile(): VendorProfile {
    try {
      return loadVendorProfile(this.#options.settings.profile);
    } catch (error) {
      if (!(error instanceof VendorProfileError)) throw error;
      throw new HostOpenError('misconfigured', error.message, { cause: error });
    }
  }

  async #readPin(): Promise<Pin> {
    try {
      return await this.#options.pin();
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new HostOpenError('failed', `cannot read the PIN: ${why}`, { cause });
    }
  }

  /** Waits that long, or (`null`) until it is woken. */
  #pause(forMs: number | null): Promise<void> {
    return new Promise((resolve) => {
      const timer = forMs === null ? undefined : setTimeout(resolve, forMs);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #endAttempt(error: HostOpenError | null): void {
    const ended = this.#attemptEnded;
    this.#attemptEnded = signal();
    if (error === null) ended.resolve();
    else ended.reject(error);
  }
}

interface Signal {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** A promise to be settled from outside; that nobody waits for it is no mistake. */
function signal(): Signal {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
