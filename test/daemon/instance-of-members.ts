/**
 * An instance whose default key store has several members, for tests: tokens of SoftHSM2 with the same keys, because the folder of
 * the first was copied when it had them; each has a label and a folder of its own, as HSMs of one domain have.
 *
 * The daemon is in this process, from a configuration file as an operator writes it; its hosts are processes of their own.
 */

import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { parse, stringify } from 'yaml';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import type { Clocks } from '../../src/daemon/upkeep/clocks.ts';
import type { KeyStoreStatus, MemberStatus } from '../../src/hsm/key-store.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { send } from '../end-to-end/support/wire.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';

export interface MembersOptions {
  readonly names: readonly string[];
  /** Of new keys; `wrapped` unless given. */
  readonly residency?: 'token' | 'wrapped';
  /** The members of another key store, `annex`, with the same keys: the two are one domain. */
  readonly annex?: readonly string[];
  /** A Region beside the first one. */
  readonly furtherRegion?: string;
  /** What is said of each member beside its token. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Run while the one token is served, before it is copied; it makes what is to be in all members. */
  readonly prepare?: (kms: KMS) => Promise<void>;
}

/** A token's folder, and what becomes of it. */
export class MemberFolder {
  readonly name: string;
  readonly folder: string;
  readonly pinFile: string;

  constructor(parent: string, name: string) {
    this.name = name;
    this.folder = join(parent, name);
    this.pinFile = join(parent, `${name}.pin`);
  }

  get tokens(): string {
    return join(this.folder, 'tokens');
  }

  get environment() {
    return { SOFTHSM2_CONF: join(this.folder, 'softhsm2.conf') };
  }

  take(token: TestToken): void {
    mkdirSync(this.folder, { mode: 0o700 });
    cpSync(join(token.folder, 'tokens'), this.tokens, { recursive: true });
    const conf = `directories.tokendir = ${this.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`;
    writeFileSync(join(this.folder, 'softhsm2.conf'), conf, { mode: 0o600 });
    writeFileSync(this.pinFile, `${token.pin}\n`, { mode: 0o600 });
  }

  /** Its token is pulled out. */
  pull(): void {
    renameSync(this.tokens, `${this.tokens}.out`);
    mkdirSync(this.tokens);
  }

  plug(): void {
    rmSync(this.tokens, { recursive: true });
    renameSync(`${this.tokens}.out`, this.tokens);
  }
}

interface Written {
  keyStores: Record<string, object>;
  defaultKeyStore?: string;
  regions?: object[];
}

export class InstanceOfMembers {
  readonly folder: string;
  readonly configurationFile: string;
  readonly socket: string;
  readonly members: readonly MemberFolder[];
  readonly token: TestToken;
  readonly logged: string[] = [];
  /** How many hosts of each member had been replaced before something was done to it. */
  readonly restartsBefore = new Map<string, number>();
  /** That upkeep tells the time by; the machine's unless set before it is started. */
  clocks: Clocks | undefined;
  #daemon: Daemon | undefined;
  #kms: KMS | undefined;

  private constructor(folder: string, token: TestToken, names: readonly string[]) {
    this.folder = folder;
    this.token = token;
    this.configurationFile = join(folder, 'drawbridge.yaml');
    this.socket = join(folder, 'kms.sock');
    this.members = names.map((name) => new MemberFolder(folder, name));
  }

  /** Makes it; nothing of it runs yet. */
  static async create(options: MembersOptions): Promise<InstanceOfMembers> {
    const { names, residency = 'wrapped', annex, furtherRegion, settings, prepare } = options;
    const token = softHsm2.create();
    const made = new InstanceOfMembers(mkdtempSync(join(tmpdir(), 'drawbridge-members-')), token, names);
    const { profile, library, label, environment } = token;
    const pinFile = join(made.folder, 'pin');
    writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
    const keyStore = await createInstance(
      made.configurationFile,
      {
        ...{ region: 'us-east-1', account: '000000000000', dataDir: join(made.folder, 'data') },
        root: [process.getuid?.() ?? 0],
        socket: { path: made.socket, mode: '0666' },
        keyStore: { profile, library, token: { label }, pinFile, environment },
      },
      {},
      made.#log(),
    );
    await keyStore.close();
    made.#edit((configuration) => {
      Object.assign(present(configuration.keyStores['default']), { residency, hosts: 1, lanes: 1 });
    });
    await made.start();
    await prepare?.(made.kms);
    await made.stop();
    const settingsOf = (member: MemberFolder) => {
      member.take(token);
      return {
        ...{ name: member.name, profile, library, token: { label }, pin: { file: member.pinFile } },
        ...{ environment: member.environment, hosts: 1, lanes: 1, ...settings },
      };
    };
    const members = made.members.map(settingsOf);
    const others = (annex ?? []).map((name) => settingsOf(new MemberFolder(made.folder, name)));
    made.#edit((configuration) => {
      configuration.keyStores['default'] = { residency, members };
      if (others.length > 0) {
        configuration.keyStores['annex'] = { residency, members: others };
        configuration.defaultKeyStore = 'default';
      }
      if (furtherRegion === undefined) return;
      configuration.regions = [{ region: furtherRegion, socket: { path: made.socketIn(furtherRegion), mode: '0600' } }];
    });
    return made;
  }

  /** Of the further Region. */
  socketIn(region: string): string {
    return join(this.folder, `${region}.sock`);
  }

  get kms(): KMS {
    if (this.#kms === undefined) throw new Error('it is not started');
    return this.#kms;
  }

  member(name: string): MemberFolder {
    return present(this.members.find((member) => member.name === name));
  }

  async start(waitForTokens = false): Promise<void> {
    const configuration = await loadConfiguration(this.configurationFile);
    const { clocks } = this;
    this.#daemon = await startDaemon({ configuration, environment: {}, log: this.#log(), waitForTokens, clocks });
    this.#kms = kmsOver(this.socket);
  }

  async stop(): Promise<void> {
    this.#kms?.destroy();
    await this.#daemon?.stop();
    this.#daemon = undefined;
  }

  async ask(path: string) {
    const { status, body } = await send(this.socket, { method: 'GET', path });
    return { status, body: JSON.parse(body) as Record<string, unknown> };
  }

  async status(): Promise<KeyStoreStatus> {
    const { keyStores } = (await this.ask('/status')).body as { keyStores: KeyStoreStatus[] };
    return present(keyStores.find(({ name }) => name === 'default'));
  }

  async statusOf(name: string): Promise<MemberStatus> {
    return present((await this.status()).members?.find((member) => member.name === name));
  }

  async states(): Promise<Record<string, string>> {
    return Object.fromEntries(((await this.status()).members ?? []).map(({ name, state }) => [name, state]));
  }

  async reconnect(path: string) {
    const { status, body } = await send(this.socket, { path: `/key-stores/${path}/reconnect` });
    return { status, body: JSON.parse(body) as Record<string, string> };
  }

  async remove(): Promise<void> {
    await this.stop();
    this.token.remove();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #edit(change: (configuration: Written) => void): void {
    const configuration = parse(readFileSync(this.configurationFile, 'utf8'));
    change(configuration);
    writeFileSync(this.configurationFile, stringify(configuration), { mode: 0o600 });
  }

  #log() {
    const note = (members: object, message: string): void => {
      this.logged.push(JSON.stringify({ ...members, message }));
    };
    return { debug: note, info: note, warn: note, error: note };
  }
}
