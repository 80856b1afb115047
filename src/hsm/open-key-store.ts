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
import type { KeyStore } from './key-store.ts';
import { defaultLimits, type KeyStoreLimits } from './key-store-limits.ts';
import { PipeKeyStore } from './pipe-key-store.ts';

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
  readonly log: Logger;
}

/**
 * Resolves when the token is connected by its first host. Further hosts join it when they are ready; one that cannot be
 * connected is tried again later.
 * @throws KeyStoreError (`unavailable`) when the first host cannot be connected; nothing is left running then.
 */
export async function openKeyStore(options: OpenKeyStoreOptions): Promise<KeyStore> {
  const { name, hosts, settings } = options;
  if (!Number.isInteger(hosts) || hosts < 1 || !Number.isInteger(settings.lanes) || settings.lanes < 1)
    throw new RangeError(`key store \`${name}\`: at least one host and one lane`);
  const keyStore = new PipeKeyStore({
    ...options,
    sessionsAreParallel: options.sessionsAreParallel ?? true,
    limits: { ...defaultLimits, ...options.limits },
  });
  try {
    await keyStore.connect();
    return keyStore;
  } catch (error) {
    await keyStore.close();
    if (error instanceof HostOpenError) throw connectionError(name, settings, error);
    throw error;
  }
}
