/**
 * A real instance for tests: `drawbridge dev` as a child process, over a token of its own, in a folder of its own.
 *
 * Whoever starts one stops it (`stop()`, or `await using`). After `kill9()` the folder is still there and `restart()`
 * starts the same instance again, with the same keys. `log()` is what the daemon and its hosts wrote to stderr so far.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { KMSClient, type KMSClientConfig } from '@aws-sdk/client-kms';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { DevLine } from '../../src/daemon/dev.ts';
import { program } from './program.ts';
import { nssSoftoken, softHsm2, type TestToken } from './tokens.ts';

export interface InstanceOptions {
  /** `softhsm2` if not given. */
  readonly token?: 'softhsm2' | 'nss';
  /** A token that there is already, instead of a new one; whoever made it removes it. */
  readonly over?: TestToken;
  /** Listen on the loopback address too, at a free port. */
  readonly tcp?: boolean;
  /** A folder of identity policies. */
  readonly policies?: string;
  /** Further Regions; the socket of each is `REGION.sock` in the instance's folder. */
  readonly regions?: readonly string[];
  /** Beside this process's own. */
  readonly env?: Readonly<Record<string, string>>;
  /** The folder of an instance that there is already; it is not removed by `stop`. */
  readonly dir?: string;
}

export interface Instance {
  readonly socket: string;
  /** `http://127.0.0.1:PORT`, or `null` without `tcp`. */
  readonly endpoint: string | null;
  readonly region: string;
  readonly account: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly dir: string;
  /** Of the API process. */
  readonly pid: number;
  /** An unmodified SDK client over the Unix socket, or over the loopback listener. Destroyed by `stop` and `kill9`. */
  sdkClient(options?: { over?: 'unix' | 'tcp' } & Partial<KMSClientConfig>): KMSClient;
  log(): string;
  /** Ends it as an operator would (SIGTERM), waits, and removes the folder. The exit code, or the signal that ended it. */
  stop(): Promise<number | NodeJS.Signals>;
  /** Ends the API process at once. The folder stays. */
  kill9(): Promise<void>;
  /** A new process over the same folder, after `kill9`. */
  restart(): Promise<Instance>;
  [Symbol.asyncDispose](): Promise<void>;
}

const startTimeoutMs = 170_000;
const stopTimeoutMs = 30_000;

/** What this machine lacks for an instance (`no softhsm2-util`), or `null`. */
export function missingForInstance(token: 'softhsm2' | 'nss' = 'softhsm2'): string | null {
  return (token === 'softhsm2' ? softHsm2 : nssSoftoken).missing;
}

export async function startInstance(options: InstanceOptions = {}): Promise<Instance> {
  const isOurs = options.dir === undefined;
  const dir = options.dir ?? newFolder();
  if (isOurs && options.over !== undefined) initializeOver(options.over, dir);
  // As it would become by itself, which takes a start of Node.js.
  const child = spawn(process.execPath, ['--max-semi-space-size=4', program, ...argumentsOf(options, dir)], {
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const logged: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => logged.push(text));
  const log = (): string => logged.join('');
  const removeFolder = (): void => {
    if (isOurs) rmSync(join(dir, '..'), { recursive: true, force: true });
  };
  // A test run that ends early leaves no daemon behind.
  const killAtExit = (): void => void child.kill('SIGKILL');
  process.once('exit', killAtExit);
  child.once('exit', () => process.off('exit', killAtExit));

  let line: DevLine;
  try {
    line = await firstLine(child);
  } catch (error) {
    await end(child, 'SIGKILL');
    removeFolder();
    throw new Error(`the instance did not start:\n${log()}`, { cause: error });
  }
  const clients: KMSClient[] = [];
  const destroyClients = (): void => {
    for (const client of clients) client.destroy();
  };
  const instance: Instance = {
    ...line,
    pid: child.pid ?? -1,
    sdkClient({ over = 'unix', ...configuration } = {}) {
      const client = new KMSClient({ ...connection(line, over), ...configuration });
      clients.push(client);
      return client;
    },
    log,
    async stop() {
      destroyClients();
      const outcome = await end(child, 'SIGTERM');
      removeFolder();
      return outcome;
    },
    async kill9() {
      destroyClients();
      await end(child, 'SIGKILL');
    },
    async restart() {
      // The folder is this instance's, so whoever stops the new one, or the one after it, is done with it.
      return stoppingWith(removeFolder, await startInstance({ ...options, dir }));
    },
    async [Symbol.asyncDispose]() {
      await this.stop();
    },
  };
  return instance;
}

/** The same instance, and those that it is restarted as, doing something more when they are stopped. */
function stoppingWith(andThen: () => void, instance: Instance): Instance {
  return {
    ...instance,
    stop: () => instance.stop().finally(andThen),
    restart: async () => stoppingWith(andThen, await instance.restart()),
  };
}

/** Other Unix users, whom some tests are about, have to be able to reach the socket in it. */
function newFolder(): string {
  const parent = mkdtempSync(join(tmpdir(), 'drawbridge-test-'));
  chmodSync(parent, 0o755);
  return join(parent, 'instance');
}

/** What `drawbridge init` makes for an operator who has a token. */
function initializeOver(token: TestToken, dir: string): void {
  const pinFile = join(token.folder, 'pin');
  writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
  const choices = {
    config: join(dir, 'drawbridge.yaml'),
    dir,
    socket: join(dir, 'kms.sock'),
    profile: token.profile,
    library: token.library,
    'token-label': token.label,
    'pin-file': pinFile,
  };
  execFileSync(
    process.execPath,
    [program, 'init', ...Object.entries(choices).flatMap(([name, value]) => [`--${name}`, value])],
    { env: { ...process.env, ...token.environment }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
}

function argumentsOf({ token, tcp, policies, regions = [] }: InstanceOptions, dir: string): string[] {
  const choices = [
    ...(token === undefined ? [] : ['--token', token]),
    ...(tcp ? ['--tcp', '127.0.0.1:0'] : []),
    ...(policies === undefined ? [] : ['--policies', policies]),
    ...regions.flatMap((region) => ['--region', region]),
  ];
  return ['dev', '--dir', dir, ...choices];
}

function connection(line: DevLine, over: 'unix' | 'tcp'): KMSClientConfig {
  const { region, accessKeyId, secretAccessKey, endpoint } = line;
  const common = { region, credentials: { accessKeyId, secretAccessKey }, maxAttempts: 1 };
  if (over === 'tcp') {
    if (endpoint === null) throw new Error('this instance has no loopback listener: start it with `tcp`');
    return { ...common, endpoint };
  }
  const httpAgent = new Agent({ keepAlive: true, socketPath: line.socket } as ConstructorParameters<typeof Agent>[0]);
  return { ...common, endpoint: 'http://kms', requestHandler: new NodeHttpHandler({ httpAgent }) };
}

async function firstLine(child: ChildProcess): Promise<DevLine> {
  if (child.stdout === null) throw new Error('the instance has no stdout');
  const signal = AbortSignal.timeout(startTimeoutMs);
  const lines = createInterface({ input: child.stdout });
  const exited = once(child, 'exit', { signal }).then(() => Promise.reject(new Error('it ended')));
  const line = once(lines, 'line', { signal });
  line.catch(() => undefined); // Reported through the race.
  const [text] = await Promise.race([line, exited]);
  exited.catch(() => undefined); // It ends some day.
  return JSON.parse(String(text)) as DevLine;
}

async function end(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<number | NodeJS.Signals> {
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit');
    child.kill(signal);
    const forced = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
    await exited;
    clearTimeout(forced);
  }
  return child.exitCode ?? child.signalCode ?? 0;
}
