/**
 * The key stores that the records of a backup name, opened for as long as it is tried whether it could be given back.
 *
 * That of the service keys has to be there. Any other one may be away, as it may when a daemon starts: then it is said why, and what is in it
 * stays unproven. A custom key store is opened with its password as the backup has it sealed, where its HSM is configured, by one host,
 * which logs in once.
 *
 * INVARIANT: a password that may have been refused is not presented again. Whether it was is known from what the record says, and from the file
 * that an attempt leaves behind which was refused or killed (`presented-passwords.ts`), this one's or a daemon's. Whoever knows that it is good
 * by now removes the file.
 */

import { rmdir, stat } from 'node:fs/promises';
import type { Configuration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { assertPinsArePrivate } from '../config/secrets.ts';
import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import { LoginGate } from '../hsm/login-gate.ts';
import { openFailureOf } from '../hsm/open-failure.ts';
import { openKeyStore } from '../hsm/open-key-store.ts';
import type { PasswordVault } from '../keys/custom-key-store.ts';
import { cloudHsmClusterIdOf } from '../kms/cluster-id.ts';
import { type ConnectionErrorCode, isPasswordRefusal } from '../kms/connection-states.ts';
import type { Logger } from '../kms/logger.ts';
import { isCustomKeyStoreId } from '../kms/names.ts';
import type { CustomKeyStoreRecord } from '../store/records/records.ts';
import { openConfiguredKeyStore, tokenOptions } from './configured-key-stores.ts';
import { createDataFolder } from './data-folder.ts';
import { PresentedPasswordFiles } from './presented-passwords.ts';

export interface RestoredKeyStoresParts {
  readonly configuration: Configuration;
  readonly environment: NodeJS.ProcessEnv;
  readonly log: Logger;
}

/** What is needed of a backup whose records verify. */
export interface CustomKeyStoresOfBackup {
  readonly records: readonly CustomKeyStoreRecord[];
  readonly vault: Pick<PasswordVault, 'unseal'>;
}

export class RestoredKeyStores {
  /** Those that are open, by name or id. */
  readonly opened = new Map<string, KeyStore>();
  /** Why others are not, in words for operators. */
  readonly unopened = new Map<string, string>();
  readonly #parts: RestoredKeyStoresParts;

  constructor(parts: RestoredKeyStoresParts) {
    this.#parts = parts;
  }

  /**
   * One that the configuration names, without which nothing can be tried.
   * @throws ConfigurationError, KeyStoreError
   */
  async required(name: string): Promise<KeyStore> {
    const { configuration, environment, log } = this.#parts;
    const known = this.opened.get(name);
    if (known !== undefined) return known;
    const settings = configuration.keyStores.get(name);
    if (settings === undefined) throw new ConfigurationError(`the key store \`${name}\` is not configured`);
    await assertPinsArePrivate(settings, environment);
    const keyStore = await openConfiguredKeyStore(name, configuration.keyStores, environment, log);
    this.opened.set(name, keyStore);
    return keyStore;
  }

  /** Opens it, or notes why it is not. @throws ConfigurationError for one that the configuration should name. */
  async open(name: string, { records, vault }: CustomKeyStoresOfBackup): Promise<void> {
    if (this.opened.has(name) || this.unopened.has(name)) return;
    try {
      if (isCustomKeyStoreId(name)) {
        const record = records.find(({ customKeyStoreId }) => customKeyStoreId === name);
        this.opened.set(name, await this.#openCustom(record, vault));
      } else await this.required(name);
    } catch (error) {
      if (!(error instanceof KeyStoreError || error instanceof NotOpened)) throw error;
      this.unopened.set(name, error.message);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.opened.values()].map((keyStore) => keyStore.close()));
  }

  async #openCustom(
    record: CustomKeyStoreRecord | undefined,
    vault: CustomKeyStoresOfBackup['vault'],
  ): Promise<KeyStore> {
    const { configuration, log } = this.#parts;
    if (record === undefined) throw new NotOpened('there is no record of its custom key store that verifies');
    const { customKeyStoreId: id, name, cloudHsmClusterId } = record;
    const called = `the custom key store \`${name}\``;
    const hsms = [...(configuration.hsms ?? [])];
    const [, hsm] =
      hsms.find(([hsmName]) => cloudHsmClusterIdOf(configuration.account, hsmName) === cloudHsmClusterId) ?? [];
    if (hsm === undefined)
      throw new NotOpened(
        `${called} is of the HSM ${cloudHsmClusterId}, which the configuration does not have as one without a \`pin\` (see \`drawbridge doctor\`)`,
      );
    const why = whyNotPresented(record);
    if (why !== null) throw new NotOpened(`${called}: its password is not presented: ${why}`);
    const options = whatOpens(called, () => tokenOptions(id, hsm, log));
    const attempt = await this.#begin(called, record);
    try {
      const gate = new LoginGate({ about: async () => undefined, settled: () => attempt.end() });
      return await openKeyStore({ ...options, hosts: 1, pin: () => vault.unseal(record), gate });
    } catch (error) {
      if (openFailureOf(error) === 'tokenAbsent') throw new NotOpened(`${called} is away: ${messageOf(error)}`);
      const again = attempt.isOver ? '' : `, which is not presented again while \`${attempt.path}\` is there`;
      throw new NotOpened(`${called} could not be opened with its password${again}: ${messageOf(error)}`);
    }
  }

  /** Notes that the password is about to be presented. @throws NotOpened when it was before. */
  async #begin(called: string, record: CustomKeyStoreRecord) {
    const { dataDir } = this.#parts.configuration;
    const isNew = (await stat(dataDir).catch(() => undefined)) === undefined;
    await createDataFolder(dataDir);
    const presented = new PresentedPasswordFiles(dataDir);
    const path = presented.pathOf(record);
    if (!(await presented.addNew(record)))
      throw new NotOpened(
        `${called}: its password was presented before and was not taken, as far as is known; if it is the right one by now, remove \`${path}\` and try again`,
      );
    return {
      path,
      isOver: false,
      /** Never rejects: what is left where it should not be is told of. */
      async end(): Promise<void> {
        await presented.remove(record).then(
          () => {
            this.isOver = true;
          },
          () => undefined,
        );
        // It stays where something else is in it by now.
        if (isNew) await rmdir(dataDir).catch(() => undefined);
      },
    };
  }
}

/** A custom key store that cannot be opened, or is not to be. */
class NotOpened extends Error {}

/** Found before it is noted that the password is presented: where there is no library, or no such profile, it is to nobody. */
function whatOpens<Options>(called: string, find: () => Options): Options {
  try {
    return find();
  } catch (error) {
    throw new NotOpened(`${called} could not be opened: ${messageOf(error)}`);
  }
}

/** With these the HSM was not asked. */
const unasked: ReadonlySet<ConnectionErrorCode> = new Set(['INSUFFICIENT_CLOUDHSM_HSMS', 'CLUSTER_NOT_FOUND']);

/** As far as a daemon knew it. `null`: nothing speaks against another attempt. */
function whyNotPresented({ connection, connectionErrorCode: code }: CustomKeyStoreRecord): string | null {
  if (isPasswordRefusal(code)) return `the HSM had refused it when the backup was made (${code})`;
  const isUnknown = connection === 'FAILED' && (code === null || !unasked.has(code));
  if (connection !== 'CONNECTING' && !isUnknown) return null;
  return 'when the backup was made, it had been presented and nobody knew what the HSM said; connect the key store in the daemon, and make another backup';
}

function messageOf(error: unknown): string {
  return String(error instanceof Error ? error.message : error);
}
