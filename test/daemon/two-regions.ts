/** A daemon of two Regions in this process, each of which makes its keys in a token of its own; a test sets its clocks. */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import type { KMS } from '@aws-sdk/client-kms';
import type { Configuration } from '../../src/config/configuration-schema.ts';
import type { KeyStoreConfiguration } from '../../src/config/key-store-schema.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { softHsm2 } from '../support/tokens.ts';

const account = '000000000000';
export const [here, there] = ['us-east-1', 'eu-central-1'] as const;
export type RegionName = typeof here | typeof there;
export const arnIn = (region: string, keyId: string): string => `arn:aws:kms:${region}:${account}:key/${keyId}`;

const logger = { debug() {}, info() {}, warn() {}, error() {} };
const dayMs = 24 * 60 * 60 * 1000;

const configurationFile = 'drawbridge.yaml';

/** Of the instance whose annex stands in this file: for another process, too. */
export async function configurationIn(path: string): Promise<Configuration> {
  const { annexPinFile, label, environment } = JSON.parse(readFileSync(path, 'utf8'));
  const written = await loadConfiguration(join(dirname(path), configurationFile));
  const [first] = written.regions;
  const [name = '', like] = [...written.keyStores][0] ?? [];
  const [member] = present(like).members;
  const pin = { file: annexPinFile };
  const annex: KeyStoreConfiguration = {
    ...present(like),
    members: [{ ...member, name: 'annex', token: { label }, pin, environment }],
  };
  const socket = { path: join(dirname(path), 'there.sock'), mode: '0600' };
  const second = { ...first, region: there, socket, keyStores: [name, 'annex'], defaultKeyStore: 'annex' };
  return { ...written, regions: [first, second], keyStores: new Map([...written.keyStores, ['annex', annex]]) };
}

export class TwoRegions {
  readonly #folder = mkdtempSync(join(tmpdir(), 'drawbridge-two-regions-'));
  readonly #tokens = [softHsm2.create(), softHsm2.create()] as const;
  #keyStore: KeyStore | undefined;
  #configuration: Configuration | undefined;
  #daemon: Daemon | undefined;
  clocks = new SetClocks();
  readonly environment = {};
  kms: Readonly<Record<RegionName, KMS>> | undefined;

  async create(): Promise<void> {
    const [token, annex] = this.#tokens;
    const path = join(this.#folder, configurationFile);
    const { profile, library, label, environment } = token;
    const choices = {
      ...{ region: here, account, dataDir: join(this.#folder, 'data'), root: [process.getuid?.() ?? 0] },
      socket: { path: join(this.#folder, 'here.sock'), mode: '0600' },
      keyStore: { profile, library, token: { label }, pinFile: this.#pinFile('pin', token.pin), environment },
    };
    this.#keyStore = await createInstance(path, choices, {}, logger);
    const annexPinFile = this.#pinFile('annex-pin', annex.pin);
    writeFileSync(this.path, JSON.stringify({ annexPinFile, label: annex.label, environment: annex.environment }));
    this.#configuration = await configurationIn(this.path);
    await this.start();
  }

  async start(): Promise<void> {
    const options = {
      environment: this.environment,
      log: logger,
      openKeyStores: this.#keyStore === undefined ? [] : [this.#keyStore],
      clocks: this.clocks,
    };
    this.#daemon = await startDaemon({ configuration: present(this.#configuration), ...options });
    const [a, b] = this.#daemon.regions.map(({ socketPath }) => kmsOver(socketPath));
    this.kms = { [here]: present(a), [there]: present(b) };
  }

  /** While it is stopped: another process may open the token of the service keys. */
  async release(): Promise<void> {
    await this.#keyStore?.close();
    this.#keyStore = undefined;
  }

  async stop(): Promise<void> {
    for (const client of Object.values(this.kms ?? {})) client.destroy();
    this.kms = undefined;
    await this.#daemon?.stop();
    this.#daemon = undefined;
  }

  async remove(): Promise<void> {
    await this.stop();
    await this.#keyStore?.close();
    for (const token of this.#tokens) token.remove();
    rmSync(this.#folder, { recursive: true });
  }

  /** What `configurationIn` reads. */
  get path(): string {
    return join(this.#folder, 'annex.json');
  }

  get configuration(): Configuration {
    return present(this.#configuration);
  }

  in(region: RegionName): KMS {
    return present(this.kms)[region];
  }

  get auditFolder(): string {
    return this.configuration.audit.folder;
  }

  /** With the daemon stopped: whoever can write to the file does this. */
  edit(sql: string, ...values: readonly SQLInputValue[]): number {
    const database = new DatabaseSync(join(this.#folder, 'data', 'metadata.db'));
    try {
      return Number(database.prepare(sql).run(...values).changes);
    } finally {
      database.close();
    }
  }

  /** Of a copy, while the daemon runs. Another process copies: whoever closes the file in this one ends the daemon's locks on it. */
  rows(sql: string, ...values: readonly SQLInputValue[]): readonly Record<string, unknown>[] {
    const copy = mkdtempSync(join(this.#folder, 'copy-'));
    const files = ['metadata.db', 'metadata.db-wal'].map((name) => join(this.#folder, 'data', name));
    execFileSync('cp', [...files.filter((file) => existsSync(file)), copy]);
    const database = new DatabaseSync(join(copy, 'metadata.db'));
    try {
      return database
        .prepare(sql)
        .all(...values)
        .map((row) => ({ ...row }));
    } finally {
      database.close();
      rmSync(copy, { recursive: true });
    }
  }

  /** Requests have the machine's time, which is behind by now: what came due at once waits for another day of running. */
  async passDays(days: number): Promise<void> {
    await this.clocks.pass(days * dayMs);
    await this.clocks.pass(2 * dayMs);
  }

  #pinFile(name: string, pin: string): string {
    const path = join(this.#folder, name);
    writeFileSync(path, `${pin}\n`, { mode: 0o600 });
    return path;
  }
}
