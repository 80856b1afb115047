/**
 * An instance with several key stores, for tests: a daemon in this process, from a configuration file as an operator writes it.
 *
 * The default key store is a token of SoftHSM2 that outlives the daemon, so that a restart is quick; the others are what the test adds.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { KMS } from '@aws-sdk/client-kms';
import { stringify } from 'yaml';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import type { Clocks } from '../../src/daemon/upkeep/clocks.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';

export const account = '000000000000';

export class InstanceOfStores {
  readonly folder: string;
  readonly configurationFile: string;
  readonly socket: string;
  /** What the daemon said, one JSON text for each line of its log. */
  readonly logged: string[] = [];
  readonly #token: TestToken;
  #keyStore: KeyStore | undefined;
  /** That upkeep tells the time by; the machine's unless set before it is started. */
  clocks: Clocks | undefined;
  #daemon: Daemon | undefined;
  #kms: KMS | undefined;

  private constructor(folder: string, token: TestToken) {
    this.folder = folder;
    this.configurationFile = join(folder, 'drawbridge.yaml');
    this.socket = join(folder, 'kms.sock');
    this.#token = token;
  }

  /** @param others Key stores beside `default`, as members of `keyStores`. */
  static async create(others: Readonly<Record<string, object>>): Promise<InstanceOfStores> {
    const token = softHsm2.create();
    const made = new InstanceOfStores(mkdtempSync(join(tmpdir(), 'drawbridge-stores-')), token);
    const pinFile = made.#file('pin', token.pin);
    const { profile, library, label, environment } = token;
    made.#keyStore = await createInstance(
      made.configurationFile,
      {
        ...{ region: 'us-east-1', account, dataDir: join(made.folder, 'data'), root: [process.getuid?.() ?? 0] },
        socket: { path: made.socket, mode: '0666' },
        keyStore: { profile, library, token: { label }, pinFile, environment },
      },
      {},
      made.#log(),
    );
    const more = stringify(others)
      .split('\n')
      .map((line) => `  ${line}\n`)
      .join('');
    const written = readFileSync(made.configurationFile, 'utf8');
    writeFileSync(
      made.configurationFile,
      written.replace('\nidentity:', `\n${more}\ndefaultKeyStore: default\n\nidentity:`),
    );
    return made;
  }

  /** A member of `keyStores` for a token, with the place of its PIN. */
  static settingsOf(token: TestToken, pinFile: string | undefined): Record<string, unknown> {
    const { profile, library, label, environment, libraryParameters } = token;
    return {
      ...{ profile, library, token: { label }, environment, hosts: 1, lanes: 2 },
      ...(libraryParameters === null ? {} : { libraryParameters }),
      ...(pinFile === undefined ? {} : { pin: { file: pinFile } }),
    };
  }

  /** Of `default`. */
  get token(): TestToken {
    return this.#token;
  }

  get kms(): KMS {
    if (this.#kms === undefined) throw new Error('it is not started');
    return this.#kms;
  }

  get daemon(): Daemon {
    if (this.#daemon === undefined) throw new Error('it is not started');
    return this.#daemon;
  }

  async start(): Promise<void> {
    const configuration = await loadConfiguration(this.configurationFile);
    const openKeyStores = this.#keyStore === undefined ? [] : [this.#keyStore];
    const { clocks } = this;
    this.#daemon = await startDaemon({ configuration, environment: {}, log: this.#log(), openKeyStores, clocks });
    this.#kms = kmsOver(this.socket);
  }

  async stop(): Promise<void> {
    this.#kms?.destroy();
    await this.#daemon?.stop();
    this.#daemon = undefined;
  }

  /** Stops it and lets its token go, for a daemon in another process. */
  async release(): Promise<void> {
    await this.stop();
    await this.#keyStore?.close();
    this.#keyStore = undefined;
  }

  /** Asks whoever listens at the socket. */
  ask(): void {
    this.#kms = kmsOver(this.socket);
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** What somebody does to its database while it is stopped. */
  async edit(statement: string, ...values: readonly (string | number)[]): Promise<void> {
    await this.stop();
    const database = new DatabaseSync(join(this.folder, 'data', 'metadata.db'));
    database.prepare(statement).run(...values);
    database.close();
    await this.start();
  }

  async remove(): Promise<void> {
    await this.stop();
    await this.#keyStore?.close();
    this.#token.remove();
    rmSync(this.folder, { recursive: true });
  }

  #file(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, `${text}\n`, { mode: 0o600 });
    return path;
  }

  #log() {
    const note = (members: object, message: string): void => {
      this.logged.push(JSON.stringify({ ...members, message }));
    };
    return { debug: note, info: note, warn: note, error: note };
  }
}
