/**
 * Key stores: tokens behind HSM hosts, as `key-store.ts` promises them.
 *
 * `openKeyStore` connects and gives back a key store that stays usable for as long as the process lives: hosts that crash,
 * hang or lose their token are replaced behind it (`host-supervisor.ts`), and what becomes of calls meanwhile is decided
 * in `call-dispatcher.ts`. The story of a host's life is in `README.md`.
 */

import type { Logger } from '../kms/logger.ts';
import type { Pin } from '../secrets/secret-bytes.ts';
import type { HostSettings } from './calls.ts';
import { connectionError } from './connection-error.ts';
import { HostOpenError } from './hsm-host.ts';
import type { KeyStore, KeyStoreError } from './key-store.ts';
import { defaultLimits, type KeyStoreLimits } from './key-store-limits.ts';
import type { LoginGate } from './login-gate.ts';
import { type ConnectionEvents, PipeKeyStore } from './pipe-key-store.ts';
import type { ConnectionProof } from './token-connection.ts';

export interface OpenKeyStoreOptions {
  /** For logs, errors and `status()`. */
  readonly name: string;
  readonly settings: HostSettings;
  /** How many host processes. Each logs in once. */
  readonly hosts: number;
  /** As the vendor profile says (`sessionsAreParallel`); `true` unless given. */
  readonly sessionsAreParallel?: boolean;
  /** Read anew for each host, which owns the result and wipes it. */
  readonly pin: () => Promise<Pin>;
  /** Variables for the hosts, such as `SOFTHSM2_CONF`, beside the few that they inherit. */
  readonly environment: Readonly<Record<string, string>>;
  readonly limits?: Partial<KeyStoreLimits>;
  /** Told of what becomes of the connection, for as long as the key store is open. */
  readonly events?: ConnectionEvents;
  /** Is asked over each connection before it serves; none serves for which it throws. */
  readonly admit?: ConnectionProof;
  /** Of the token, for whoever connects it more than once; one of its own unless given. */
  readonly gate?: LoginGate;
  readonly log: Logger;
  /** Does what the library prints go into the log, with PIN and plaintexts if it prints these? `false` unless given. */
  readonly isLibraryLogged?: boolean;
}

/** A key store whose token is being connected. */
export interface BegunKeyStore {
  /** Is closed by whoever began it, however `connected` ends. Its calls fail with `unavailable` until then. */
  readonly keyStore: KeyStore;
  /**
   * Resolves when the token is connected by its first host. Further hosts join it when they are ready; one that cannot be
   * connected is tried again later. Rejects with a KeyStoreError (`unavailable`) when it will not be connected.
   */
  readonly connected: Promise<void>;
}

/** As that, of one token. */
export interface BegunToken extends BegunKeyStore {
  /** Asks over each connection that serves whether the token is ours. Rejects as `admit` does. */
  readonly proveAgain: () => Promise<void>;
}

/**
 * Connects the first host and resolves then.
 * @throws KeyStoreError (`unavailable`) when that cannot be done; nothing is left running then.
 */
export async function openKeyStore(options: OpenKeyStoreOptions): Promise<KeyStore> {
  const { keyStore, connected } = beginKeyStore(options);
  try {
    await connected;
    return keyStore;
  } catch (error) {
    await keyStore.close();
    throw error;
  }
}

/**
 * As `openKeyStore`, for whoever can wait for a token.
 * @param isWaitedFor Is told why an attempt failed, whenever another one may succeed, and says whether to make it. What no further
 * attempt mends (a refused PIN, a library that is none) is never waited for, nor is anything if this is absent.
 */
export function beginKeyStore(
  options: OpenKeyStoreOptions,
  isWaitedFor: (reason: KeyStoreError) => boolean = () => false,
): BegunToken {
  const { name, hosts, settings } = options;
  if (!Number.isInteger(hosts) || hosts < 1 || !Number.isInteger(settings.lanes) || settings.lanes < 1)
    throw new RangeError(`key store \`${name}\`: at least one host and one lane`);
  const keyStore = new PipeKeyStore({
    ...options,
    sessionsAreParallel: options.sessionsAreParallel ?? true,
    isLibraryLogged: options.isLibraryLogged ?? false,
    limits: { ...defaultLimits, ...options.limits },
  });
  const connected = keyStore
    .connect((error) => isWaitedFor(connectionError(name, settings, error)))
    .catch((error: unknown) => {
      throw error instanceof HostOpenError ? connectionError(name, settings, error) : error;
    });
  connected.catch(() => undefined); // Whoever waits for it is told.
  return { keyStore, connected, proveAgain: () => keyStore.proveAgain() };
}
