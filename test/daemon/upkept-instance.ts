/** An instance in the test's process whose clocks are the test's: for what becomes of keys in years, over stops and starts. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { readAuditEvents } from '../../src/audit/read-audit-log.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { openStore } from '../../src/daemon/data-folder.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import type { Clocks } from '../../src/daemon/upkeep/clocks.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import type { Residency } from '../../src/kms/residencies.ts';
import type { LoadedMetadata } from '../../src/store/metadata-store.ts';
import type { Change } from '../../src/store/records/changes.ts';
import { Turns } from '../../src/store/turns.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import type { TestToken } from '../support/tokens.ts';

export const account = '000000000000';
export const region = 'us-east-1';

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface Running {
  readonly daemon: Daemon;
  readonly kms: KMS;
  readonly socketPath: string;
  stop(): Promise<void>;
}

export interface UpkeptInstance {
  readonly folder: string;
  readonly configurationFile: string;
  /** Open as long as the instance is, and the same for every run. */
  readonly keyStore: KeyStore;
  /** Of all runs. */
  readonly log: readonly LogLine[];
  /**
   * @param keyStore What the daemon gets instead of the real one.
   * @param residency Of new keys, where the configuration has been changed.
   * @param keysInMemory Of more the rest is read when it is asked for.
   */
  start(clocks: Clocks, keyStore?: KeyStore, residency?: Residency, keysInMemory?: number): Promise<Running>;
  /** While it is stopped: what is on record, and changes of it that no request makes. */
  records(change?: (loaded: LoadedMetadata, nodeId: string) => readonly Change[]): Promise<LoadedMetadata>;
  /** The labels of the objects in the token that are no service keys. */
  objects(): Promise<readonly string[]>;
  /** Events of this name in the audit log, oldest first. */
  events(eventName: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
  remove(): Promise<void>;
}

/** @param residency Of new keys. */
export async function createUpkeptInstance(token: TestToken, residency: Residency = 'token'): Promise<UpkeptInstance> {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-upkept-'));
  const configurationFile = join(folder, 'drawbridge.yaml');
  const pinFile = join(folder, 'pin');
  writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
  const { profile, library, label, environment, libraryParameters } = token;
  const dataDir = join(folder, 'data');
  const log: LogLine[] = [];
  const line = (level: string) => (fields: object, message: string) =>
    void log.push({ level, message, fields: { ...fields } });
  const logger = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
  const parameters = libraryParameters === null ? {} : { libraryParameters };
  const keyStore = await createInstance(
    configurationFile,
    {
      ...{ region, account, dataDir, root: [process.getuid?.() ?? 0] },
      socket: { path: join(folder, 'kms.sock'), mode: '0600' },
      keyStore: { profile, library, token: { label }, pinFile, environment, ...parameters },
    },
    {},
    logger,
  );
  const written = readFileSync(configurationFile, 'utf8');
  writeFileSync(configurationFile, written.replace('# residency: token', `residency: ${residency}`));
  const configuration = await loadConfiguration(configurationFile);
  return {
    folder,
    configurationFile,
    keyStore,
    log,
    async start(clocks, given = keyStore, of = residency, keysInMemory = configuration.budgets.memory.keysInMemory) {
      const { budgets } = configuration;
      const memory = { ...budgets.memory, keysInMemory };
      const keyStores = new Map([...configuration.keyStores].map(([name, each]) => [name, { ...each, residency: of }]));
      const options = {
        configuration: { ...configuration, keyStores, budgets: { ...budgets, memory } },
        environment: {},
        log: logger,
        openKeyStores: [given],
        clocks,
      };
      const daemon = await startDaemon(options);
      const [{ socketPath }] = daemon.regions;
      const kms = kmsOver(socketPath);
      return {
        daemon,
        kms,
        socketPath,
        async stop() {
          kms.destroy();
          await daemon.stop();
        },
      };
    },
    async records(change = () => []) {
      const { store, useServiceKey } = await openStore({ dataDir, region });
      try {
        await useServiceKey(keyStore);
        const loaded = await store.load();
        await new Turns(store).take(() => ({ changes: change(loaded, store.nodeId), response: undefined }));
        return await store.load();
      } finally {
        await store.close();
      }
    },
    async objects() {
      const labels = (await keyStore.listKeys()).map((key) => key.label);
      return labels.filter((each) => !each.startsWith('drawbridge:service:')).sort();
    },
    async events(eventName) {
      const found: Readonly<Record<string, unknown>>[] = [];
      for await (const event of readAuditEvents(configuration.audit.folder)) {
        if (event.eventName === eventName) found.push(event);
      }
      return found;
    },
    async remove() {
      await keyStore.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
