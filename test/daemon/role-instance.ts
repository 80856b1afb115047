/** A daemon with roles in the test's process, over a token of its own, and unmodified clients of STS and KMS over its loopback listener. */

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KMS } from '@aws-sdk/client-kms';
import { AssumeRoleCommand, type AssumeRoleCommandInput, STSClient } from '@aws-sdk/nested-clients/sts';
import { readAuditEvents } from '../../src/audit/read-audit-log.ts';
import type { Configuration } from '../../src/config/configuration-schema.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Daemon, startDaemon } from '../../src/daemon/daemon.ts';
import { createInstance } from '../../src/daemon/new-instance.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { send } from '../end-to-end/support/wire.ts';
import { softHsm2 } from '../support/tokens.ts';
import { allow, document, iam, roleArn, user } from './assume-role-answers.ts';

const region = 'us-east-1';

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface Policies {
  readonly [name: string]: { readonly AttachedTo: readonly string[]; readonly Statement: readonly object[] };
}

export class RoleInstance {
  readonly #stack: AsyncDisposableStack;
  readonly #daemon: Daemon;
  readonly #path: string;
  readonly #written: string;
  readonly #configuration: Configuration;
  /** Of the daemon's own account: root. */
  readonly root: KMS;
  /** What the log has complained of since the roles were set last. */
  readonly problems: string[];

  private constructor(stack: AsyncDisposableStack, parts: Parts) {
    this.#stack = stack;
    this.#daemon = parts.daemon;
    this.#path = parts.path;
    this.#written = parts.written;
    this.#configuration = parts.configuration;
    this.problems = parts.problems;
    this.root = kmsOver(parts.daemon.regions[0].socketPath);
    stack.defer(() => this.root.destroy());
  }

  static async start(roles: object, policies: Policies): Promise<RoleInstance> {
    const stack = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-roles-'));
    stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    chmodSync(folder, 0o755); // Other users reach the socket.
    const token = softHsm2.create();
    stack.defer(() => token.remove());
    const path = join(folder, 'drawbridge.yaml');
    const pinFile = join(folder, 'pin');
    writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
    const { profile, library, label, environment } = token;
    const problems: string[] = [];
    const error = (fields: object) => void problems.push(String((fields as { problem?: string }).problem));
    const log = { debug() {}, info() {}, warn() {}, error };
    const keyStore = await createInstance(
      path,
      {
        ...{ region, account: '000000000000', dataDir: join(folder, 'data'), root: [process.getuid?.() ?? 0] },
        socket: { path: join(folder, 'kms.sock'), mode: '0666' },
        keyStore: { profile, library, token: { label }, pinFile, environment },
      },
      {},
      log,
    );
    stack.defer(() => keyStore.close());
    const policyFolder = join(folder, 'policies');
    mkdirSync(policyFolder, { mode: 0o700 });
    for (const [name, { AttachedTo, Statement }] of Object.entries(policies)) {
      const file = { AttachedTo, PolicyDocument: { Version: '2012-10-17', Statement } };
      writeFileSync(join(policyFolder, `${name}.json`), JSON.stringify(file));
    }
    const written = readFileSync(path, 'utf8').replace(/^identity:\n/m, `identity:\n  policies: ${policyFolder}\n`);
    writeFileSync(path, `${written}\nroles: ${JSON.stringify(roles)}\n`);
    const readConfiguration = async (): Promise<Configuration> => {
      const { regions, ...others } = await loadConfiguration(path);
      return { ...others, regions: [{ ...regions[0], loopback: { host: '127.0.0.1', port: 0 } }] };
    };
    const configuration = await readConfiguration();
    const daemon = await startDaemon({
      configuration,
      environment: {},
      log,
      openKeyStores: [keyStore],
      readConfiguration,
    });
    stack.defer(() => daemon.stop());
    return new RoleInstance(stack, { daemon, path, written, configuration, problems });
  }

  get endpoint(): string {
    return this.#daemon.regions[0].endpoint ?? '';
  }

  get socketPath(): string {
    return this.#daemon.regions[0].socketPath;
  }

  stop(): Promise<void> {
    return this.#stack.disposeAsync();
  }

  /** As an operator who edits the file and sends SIGHUP. */
  async use(roles: object): Promise<void> {
    writeFileSync(this.#path, `${this.#written}\nroles: ${JSON.stringify(roles)}\n`);
    this.problems.length = 0;
    await this.#daemon.reload?.();
  }

  async asRoot(method: string, path: string, body = ''): Promise<Record<string, string>> {
    return JSON.parse((await send(this.socketPath, { method, path, body })).body) as Record<string, string>;
  }

  /** A new access key of the user. */
  async person(name: string): Promise<Credentials> {
    const made = await this.asRoot('POST', '/access-keys', JSON.stringify({ Principal: user(name) }));
    return { accessKeyId: made['AccessKeyId'] ?? '', secretAccessKey: made['SecretAccessKey'] ?? '' };
  }

  kmsOf(credentials: Credentials): KMS {
    const client = new KMS({ region, endpoint: this.endpoint, credentials, maxAttempts: 1 });
    this.#stack.defer(() => client.destroy());
    return client;
  }

  async assume(by: Credentials, role: string, more: Partial<AssumeRoleCommandInput> = {}) {
    const sts = new STSClient({ region, endpoint: this.endpoint, credentials: by, maxAttempts: 1 });
    this.#stack.defer(() => sts.destroy());
    const input = { RoleArn: roleArn(role), RoleSessionName: 'work', ...more };
    const output = await sts.send(new AssumeRoleCommand(input));
    const { AccessKeyId = '', SecretAccessKey = '', SessionToken = '' } = output.Credentials ?? {};
    const credentials = { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: SessionToken };
    return { output, credentials, kms: this.kmsOf(credentials) };
  }

  /** A key that the account may use, with these statements beside. */
  async newKey(...statements: readonly object[]): Promise<string> {
    const Policy = document(allow(`${iam}:root`), ...statements);
    return (await this.root.createKey({ Policy })).KeyMetadata?.KeyId ?? '';
  }

  /** GetCallerIdentity, signed by the SDK's own signer. */
  async whoAmI(credentials: Credentials): Promise<string> {
    const { host, hostname } = new URL(this.endpoint);
    const signer = (await this.kmsOf(credentials).config.signer()) as unknown as {
      sign(request: object, options: object): Promise<{ headers: Record<string, string> }>;
    };
    const query = { Action: 'GetCallerIdentity', Version: '2011-06-15' };
    const request = { method: 'GET', protocol: 'http:', hostname, path: '/', query, headers: { host }, body: '' };
    const { headers } = await signer.sign(request, { signingService: 'sts' });
    return (await fetch(`${this.endpoint}/?${new URLSearchParams(query)}`, { headers })).text();
  }

  /** Events of this name in the audit log, oldest first. */
  async events(eventName: string): Promise<readonly Record<string, unknown>[]> {
    const found: Record<string, unknown>[] = [];
    for await (const event of readAuditEvents(this.#configuration.audit.folder)) {
      if (event.eventName === eventName) found.push(event);
    }
    return found;
  }
}

interface Parts {
  readonly daemon: Daemon;
  readonly path: string;
  readonly written: string;
  readonly configuration: Configuration;
  readonly problems: string[];
}

/** `ok`, or what the client was told. */
export async function outcome(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt;
    return 'ok';
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
}

export function encrypt(kms: KMS, KeyId: string): Promise<string> {
  return outcome(kms.encrypt({ KeyId, Plaintext: Buffer.from('x') }));
}
