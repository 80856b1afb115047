/**
 * One HSM host as the API process sees it: a child process with its lanes, from its start to its end.
 *
 * A host ends in one of three ways. It ends by itself (a crash, a token that is gone, `kill -9`): its lanes reach their
 * end of file, after the replies that were still on the way. It is ended because it cannot be trusted any more (`fail`:
 * silence, nonsense): it is killed with SIGKILL and its lanes are closed at once. Or it is told to end (`end`). `ended`
 * tells why, once the process is no more. It does not outlive us: on an orderly exit we kill it, and however we die, the
 * kernel does (`host/process/parent-death.ts`), even if it hangs in its library.
 *
 * While it opens its token a host is not killed, unless it hangs: C_Login of SoftHSM2 2.6.1 writes the token's own file anew,
 * which is empty for a moment, and a process that is killed in that moment leaves no token behind (measured: 46 of 150).
 * It is told to end instead, by its lanes, which it sees when the token is open.
 *
 * The host gets a minimal environment: what a C library needs to find its way, and what the key store's configuration
 * adds. Nothing of ours that may be secret is inherited.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Logger } from '../kms/logger.ts';
import type { Pin } from '../secrets/secret-bytes.ts';
import { type OpenSettings, replyCodes } from './calls.ts';
import { callOn, HostLane, type LaneOwner } from './host-lane.ts';
import type { KeyStoreCapabilities, KeyStoreFailure } from './key-store.ts';
import { logLines } from './line-log.ts';
import type { PendingCall } from './pending-call.ts';
import { capabilities, nothing } from './replies.ts';
import { type ConnectionProof, connectionOver } from './token-connection.ts';

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const hostProgram = fileURLToPath(new URL(`./host/process/host-main.${extension}`, import.meta.url));
const firstLaneFd = 3;
/** What libraries look for, and where Node.js keeps what it compiled, which halves the start of a host. */
const inheritedVariables = ['PATH', 'HOME', 'USER', 'LOGNAME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'NODE_COMPILE_CACHE'];

/**
 * How the GNU C library keeps memory for what comes next: of each size up to 4,000 pieces that were freed. An object of SoftHSM2 is
 * hundreds of small pieces, and with seven, which it keeps otherwise, they are joined, searched for and cut again each time: to unwrap a
 * key, use it and destroy it took 150 µs, and takes 115 with this. Other C libraries do not look at it.
 */
const memoryTuning = { GLIBC_TUNABLES: 'glibc.malloc.tcache_count=4000' };

/**
 * A call leaves nothing behind that lives, so a host needs little room for what is young: with V8's own 16 MiB it takes 8 MB more for
 * itself than with this, and no less CPU. And it may ask for a collection, as `start-remains.ts` does: 5 MB less for each lane beyond the first.
 */
const hostOptions = ['--max-semi-space-size=1', '--expose-gc'];

/** How long a host may take to exit once its lanes are closed, before it is killed. */
const exitGraceMs = 1_000;
/** How much longer than it may take to open its token a host that nobody ends lives. */
const ownEndSeconds = 5;
/** As `exitGraceMs`, for one that opens its token. */
const openingGraceMs = 15_000;
/** How long lanes may stay open once the process is gone (a process that the library left behind may hold them). */
const laneGraceMs = 200;
/** SIGKILL does not end a process that hangs in the kernel. It is not waited for longer than this. */
const killGraceMs = 5_000;

/** Why a host could not be connected. */
export class HostOpenError extends Error {
  override readonly name = 'HostOpenError';
  /**
   * `pinRefused`: no other attempt until a human says so. `misconfigured`: no first attempt succeeds before the configuration is
   * another one. `failed`: another attempt may succeed.
   */
  readonly kind: 'pinRefused' | 'misconfigured' | 'failed';
  /** Had it the PIN, and ended before it said what became of it? */
  readonly isUnanswered: boolean;

  constructor(
    kind: HostOpenError['kind'],
    message: string,
    { isUnanswered = false, ...options }: ErrorOptions & { readonly isUnanswered?: boolean } = {},
  ) {
    super(message, options);
    this.kind = kind;
    this.isUnanswered = isUnanswered;
  }
}

/** Whoever has the calls that hosts carry out. */
export interface CallOwner {
  /** A lane is ready for calls. */
  laneOpened(host: HsmHost, lane: HostLane, token: KeyStoreCapabilities): void;
  /** Its lanes take no more calls, and lose those that they have soon. */
  hostEnding(host: HsmHost): void;
  replied(): void;
  refused(call: PendingCall, failure: KeyStoreFailure, message: string): void;
  /** @param hung Was it silence that ended the host? */
  lost(calls: readonly PendingCall[], hung: boolean): void;
}

export interface HostStart {
  readonly lanes: number;
  /** Is its first lane one that never generates? */
  readonly hasPromptLane: boolean;
  readonly environment: Readonly<Record<string, string>>;
  readonly owner: CallOwner;
  readonly log: Logger;
  /** Does what the library prints go into the log, with PIN and plaintexts if it prints these? */
  readonly isLibraryLogged: boolean;
  /** For the lines that it prints. */
  readonly keyStore: string;
  /** How long it may take to open its token. */
  readonly openDeadlineMs: number;
  /** Is asked of each of its lanes before that serves; none serves for which it throws. */
  readonly admit?: ConnectionProof | undefined;
}

export class HsmHost implements LaneOwner {
  readonly pid: number;
  readonly lanes: readonly HostLane[];
  readonly hasPromptLane: boolean;
  /** Why it ended; resolves when process and lanes are no more. */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  readonly #owner: CallOwner;
  readonly #admit: ConnectionProof | undefined;
  #resolveEnded: (reason: string) => void = () => undefined;
  #reason: string | undefined;
  #exit: string | undefined;
  #lanesOpen: number;
  #isEnding = false;
  #isOpening = true;
  #hung = false;
  /** The lanes that serve calls, and the keys that were destroyed before all of them did. */
  readonly #serving = new Map<HostLane, KeyStoreCapabilities>();
  readonly #destroyedMeanwhile: Buffer[] = [];
  /** Rejects `open` while it runs. */
  #failOpen: (error: HostOpenError) => void = () => undefined;

  /** Starts the process. Throws `HostOpenError` when the system has no room for another. */
  constructor(start: HostStart) {
    const { lanes, hasPromptLane, environment, owner, log, isLibraryLogged, keyStore, openDeadlineMs, admit } = start;
    this.#owner = owner;
    this.#admit = admit;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    const openingSeconds = Math.ceil(openDeadlineMs / 1000) + ownEndSeconds;
    this.#child = startProcess([lanes, openingSeconds], environment);
    const { pid, stdout, stderr } = this.#child;
    const sockets = this.#child.stdio.slice(firstLaneFd).filter((stream) => stream instanceof Socket);
    if (pid === undefined || stdout === null || stderr === null || sockets.length !== lanes) {
      this.#child.kill('SIGKILL');
      throw new HostOpenError('failed', 'the system cannot start another process');
    }
    this.pid = pid;
    this.#lanesOpen = lanes;
    this.hasPromptLane = hasPromptLane;
    this.lanes = sockets.map((socket) => new HostLane(socket, this));
    logLines(stdout, log, { fields: { keyStore, pid, stream: 'stdout' }, isLibraryLogged });
    logLines(stderr, log, { fields: { keyStore, pid, stream: 'stderr' }, isLibraryLogged });
    this.#child.once('exit', (code, signal) => this.#exited(code, signal));
  }

  /**
   * Opens the first lane with the PIN, which is wiped as soon as it is in the pipe, and then the others; each serves as soon
   * as it is open, because every lane takes a host some 100 ms. Resolves when all do. Rejects with `HostOpenError` when the
   * host has ended instead.
   */
  async open(settings: OpenSettings, pin: Pin, deadlineMs: number): Promise<KeyStoreCapabilities> {
    const deadline = setTimeout(() => this.fail(`it did not open the token within ${deadlineMs} ms`), deadlineMs);
    const refused = new Promise<never>((_resolve, reject) => {
      this.#failOpen = reject;
    });
    try {
      return await Promise.race([this.#openLanes(settings, pin), refused]);
    } catch (error) {
      const reason = await this.ended;
      if (error instanceof HostOpenError) throw error;
      throw new HostOpenError('failed', reason, { cause: error, isUnanswered: this.#isOpening });
    } finally {
      clearTimeout(deadline);
    }
  }

  /** A key was destroyed through some lane. Resolves when no lane of this host uses it any more. */
  async keyDestroyed(backingKeyId: Buffer): Promise<void> {
    if (this.#serving.size < this.lanes.length) this.#destroyedMeanwhile.push(backingKeyId);
    await Promise.all([...this.#serving.keys()].map((lane) => this.#forget(lane, [backingKeyId])));
  }

  /** Rejects as `admit` does for any lane that serves. One that ends meanwhile serves nothing, and is not asked. */
  async proveAgain(): Promise<void> {
    const proofs = [...this.#serving].map(async ([lane, found]) => {
      try {
        await this.#admit?.(connectionOver(lane, found));
      } catch (error) {
        if (lane.isOpen && !this.#isEnding) throw error;
      }
    });
    await Promise.all(proofs);
  }

  /** Kills it now; its calls are lost. Only the first reason counts. */
  fail(reason: string, { hung = false } = {}): void {
    if (this.#exit === undefined) this.#child.kill('SIGKILL');
    this.#reason ??= reason;
    this.#hung ||= hung;
    this.#startEnding();
    for (const lane of this.lanes) lane.destroy();
    setTimeout(() => this.#resolveEnded(`${this.#reason}; it cannot be killed`), killGraceMs).unref();
  }

  /** Closes the lanes; the host answers what it has and exits, or is killed after a while. */
  end(): void {
    this.#reason ??= 'it was told to end';
    const graceMs = this.#isOpening ? openingGraceMs : exitGraceMs;
    this.#startEnding(graceMs);
    for (const lane of this.lanes) lane.end();
    setTimeout(() => this.fail('it did not end'), graceMs).unref();
  }

  replied(): void {
    this.#owner.replied();
  }

  refused(_lane: HostLane, call: PendingCall, code: number, message: string): void {
    const failure = failureByCode.get(code);
    if (failure !== undefined && call.name !== 'open') {
      this.#owner.refused(call, failure, message);
      return;
    }
    // Before the call is handed on: it must not come back to this host.
    this.#startEnding();
    if (call.name === 'open') this.#failOpen(new HostOpenError(openFailures.get(code) ?? 'failed', message));
    else this.#owner.lost([call], false);
    // It ends by itself after such a reply; to be sure, and for the reason, it is ended here.
    this.fail(code === replyCodes.tokenGone ? `it lost its token: ${message}` : message);
  }

  broken(_lane: HostLane, reason: string): void {
    this.fail(`it sent nonsense: ${reason}`);
  }

  lost(lane: HostLane, calls: readonly PendingCall[]): void {
    this.#startEnding();
    if (calls.length > 0) this.#owner.lost(calls, this.#hung);
    if (lane.isOpen || this.#lanesOpen === 0) return;
    this.#lanesOpen = this.lanes.filter((other) => other.isOpen).length;
    this.#settleEnd();
  }

  #startEnding(graceMs = exitGraceMs): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#owner.hostEnding(this);
    setTimeout(() => this.fail('it closed its lanes and did not end'), graceMs).unref();
  }

  #exited(code: number | null, signal: string | null): void {
    liveHosts.delete(this.#child);
    if (liveHosts.size === 0) process.off('exit', killLiveHosts);
    this.#exit = signal === null ? `it exited with code ${code}` : `it was ended by ${signal}`;
    setTimeout(() => {
      for (const lane of this.lanes) lane.destroy();
    }, laneGraceMs).unref();
    this.#settleEnd();
  }

  #settleEnd(): void {
    if (this.#exit !== undefined && this.#lanesOpen === 0) this.#resolveEnded(this.#reason ?? this.#exit);
  }

  async #openLanes(settings: OpenSettings, pin: Pin): Promise<KeyStoreCapabilities> {
    const [first, ...others] = this.lanes;
    if (first === undefined) throw new RangeError('a host has at least one lane');
    const settingsField = Buffer.from(JSON.stringify(settings));
    const opened = this.#openLane(first, [settingsField, pin.reveal()]);
    pin.wipe(); // The lane has a copy, which it wipes once it is written.
    const found = await opened;
    this.#opened();
    await Promise.all(others.map((lane) => this.#openLane(lane, [settingsField, Buffer.alloc(0)])));
    return found;
  }

  /** From here on it may be killed, and is when this process ends. */
  #opened(): void {
    this.#isOpening = false;
    if (this.#exit !== undefined) return;
    if (liveHosts.size === 0) process.on('exit', killLiveHosts);
    liveHosts.add(this.#child);
  }

  async #openLane(lane: HostLane, fields: readonly Uint8Array[]): Promise<KeyStoreCapabilities> {
    const found = await callOn(lane, 'open', fields, capabilities);
    await this.#prove(lane, found);
    // All lanes begin with the keys that the host saw when it opened the token. While this one forgets, more may go.
    for (let told = 0; told < this.#destroyedMeanwhile.length; ) {
      const ids = this.#destroyedMeanwhile.slice(told);
      told += ids.length;
      await this.#forget(lane, ids);
    }
    if (!lane.isOpen || this.#isEnding) throw new HostOpenError('failed', await this.ended);
    this.#serving.set(lane, found);
    this.#owner.laneOpened(this, lane, found);
    return found;
  }

  async #prove(lane: HostLane, found: KeyStoreCapabilities): Promise<void> {
    try {
      await this.#admit?.(connectionOver(lane, found));
    } catch (cause) {
      this.fail(cause instanceof Error ? cause.message : String(cause));
      throw new HostOpenError('failed', await this.ended, { cause });
    }
  }

  /** A lane that cannot forget a destroyed key must not live on. */
  async #forget(lane: HostLane, backingKeyIds: readonly Buffer[]): Promise<void> {
    try {
      await Promise.all(backingKeyIds.map((id) => callOn(lane, 'forgetKey', [id], nothing)));
    } catch (error) {
      this.fail(`it could not forget a destroyed key: ${error instanceof Error ? error.message : error}`);
      await this.ended;
    }
  }
}

const failureByCode: ReadonlyMap<number, KeyStoreFailure> = new Map([
  [replyCodes.ciphertextInvalid, 'ciphertextInvalid'],
  [replyCodes.keyUnavailable, 'keyUnavailable'],
  [replyCodes.unsupported, 'unsupported'],
  [replyCodes.tokenFull, 'tokenFull'],
  [replyCodes.busy, 'busy'],
  [replyCodes.internal, 'internal'],
  [replyCodes.publicKeyInvalid, 'publicKeyInvalid'],
  [replyCodes.materialInvalid, 'materialInvalid'],
]);

const openFailures: ReadonlyMap<number, HostOpenError['kind']> = new Map([
  [replyCodes.pinRefused, 'pinRefused'],
  [replyCodes.misconfigured, 'misconfigured'],
]);

/** Hosts to kill when this process exits while they live: those that have opened their token. */
const liveHosts = new Set<ChildProcess>();

function killLiveHosts(): void {
  for (const child of liveHosts) child.kill('SIGKILL');
}

function startProcess(
  [lanes, openingSeconds]: readonly [number, number],
  environment: Readonly<Record<string, string>>,
): ChildProcess {
  const inherited = inheritedVariables.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  let child: ChildProcess;
  try {
    child = spawn(process.execPath, [...hostOptions, hostProgram, String(lanes), String(openingSeconds)], {
      env: { ...memoryTuning, ...Object.fromEntries(inherited), ...environment },
      stdio: ['ignore', 'pipe', 'pipe', ...Array.from({ length: lanes }, () => 'pipe' as const)],
    });
  } catch (cause) {
    throw new HostOpenError('failed', `cannot start the HSM host: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }
  // A process that could not be started has no pid, which the caller sees; one that could not be killed is given up on.
  child.on('error', () => undefined);
  return child;
}
