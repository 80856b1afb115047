/**
 * Dev mode: a complete instance in one folder, over a software token that it makes itself.
 *
 *     DIR/drawbridge.yaml   its configuration, as `init` would write it
 *     DIR/kms.sock          open to every user of the machine: policies decide, and the kernel says who calls
 *     DIR/REGION.sock       the same for each further Region
 *     DIR/pin               the token's PIN, for the daemon's user alone
 *     DIR/token/, DIR/data/ the token; metadata and audit log
 *
 * A folder that already holds an instance of this user or root is started as it is; a temporary one is removed at the
 * end. Whoever starts it is the account's root, over the socket and with the one access key of the loopback listener,
 * which is made anew at each start and is nowhere but in memory and in the line that is printed.
 */

import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Configuration, RegionConfiguration } from '../config/configuration-schema.ts';
import { ConfigurationError, loadTrustedConfiguration } from '../config/load.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { assertSocketPathFits } from '../http/unix-socket.ts';
import { accessKeyIdBytes, lastingAccessKeyId } from '../identity/access-key-id.ts';
import { ScopedKeys } from '../identity/scoped-keys.ts';
import { secretAccessKeyBytes } from '../identity/secret-access-key.ts';
import type { SigningKey } from '../identity/signing-key.ts';
import type { Logger } from '../kms/logger.ts';
import { type Account, rootArn } from '../kms/names.ts';
import { makeFolder } from '../secrets/make-folder.ts';
import { Secret } from '../secrets/secret-bytes.ts';
import { secretMemory } from '../secrets/secret-memory.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { createLog } from './log.ts';
import { createInstanceWithToken, exists } from './new-instance.ts';
import { assertWayIsSafe } from './own-paths.ts';
import type { NewTokenKind } from './token-kinds.ts';

export interface DevOptions {
  /** A temporary folder if not given. */
  readonly dir?: string | undefined;
  readonly tcp?: { readonly host: string; readonly port: number } | undefined;
  /** Of a new instance; SoftHSM2 if not given. One that exists has to be of this kind. */
  readonly token?: NewTokenKind | undefined;
  /** A folder of identity policies. */
  readonly policies?: string | undefined;
  /** Further Regions. */
  readonly regions?: readonly string[] | undefined;
  readonly environment: NodeJS.ProcessEnv;
}

/** The line that `drawbridge dev` prints when it is ready. Its members are a contract with those who parse it. */
export interface DevLine {
  readonly socket: string;
  readonly endpoint: string | null;
  readonly region: string;
  readonly account: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly dir: string;
}

export interface DevInstance {
  readonly line: DevLine;
  readonly daemon: Daemon;
  readonly log: Logger;
}

export async function startDev(options: DevOptions): Promise<DevInstance> {
  const isTemporary = options.dir === undefined;
  const dir = options.dir === undefined ? await mkdtemp(join(tmpdir(), 'drawbridge-dev-')) : resolve(options.dir);
  await using started = new AsyncDisposableStack();
  if (isTemporary) started.defer(() => rm(dir, { recursive: true, force: true }));
  const log = createLog('info');
  // A configuration names the library that is loaded: whoever made a folder at a place that he foresaw, such as `/tmp/kms`, must not
  // choose it for others.
  await assertWayIsSafe(dir);
  const configurationFile = join(dir, 'drawbridge.yaml');
  let keyStore: KeyStore | undefined;
  if (!(await exists(configurationFile))) {
    const created = await createDevInstance(dir, configurationFile, options, log);
    started.defer(() => created.close());
    keyStore = created;
  }
  const readConfiguration = async () => withChoices(await loadTrustedConfiguration(configurationFile), dir, options);
  const configuration = await readConfiguration();
  assertTokenKind(configuration, options.token, dir);

  const { account } = configuration;
  const accessKeyId = lastingAccessKeyId(randomBytes(accessKeyIdBytes));
  const secretAccessKey = randomBytes(secretAccessKeyBytes).toString('base64');
  const key = rootKey(secretAccessKey, { account });
  const daemon = await startDaemon({
    configuration,
    environment: options.environment,
    log,
    readConfiguration,
    openKeyStores: keyStore === undefined ? [] : [keyStore],
    findFixedKey: (id) => (id === accessKeyId ? key : undefined),
  });
  started.defer(() => daemon.stop());

  const hasMoreToRead =
    options.policies !== undefined ||
    Object.keys(configuration.roles).length > 0 ||
    configuration.regions.some(hasMoreThanKeys);
  const running = started.move();
  // Whoever parses the line is told of one Region, and of the first where there are several.
  const [{ region, socketPath: socket, endpoint }] = daemon.regions;
  const stop = (): Promise<void> => running.disposeAsync();
  return {
    line: { socket, endpoint, region, account, accessKeyId, secretAccessKey, dir },
    // Without anything to read again a SIGHUP ends it, as when its terminal is closed.
    daemon: { ...daemon, stop, reload: hasMoreToRead ? daemon.reload : undefined },
    log,
  };
}

function hasMoreThanKeys({ managedKeys, tls }: RegionConfiguration): boolean {
  return tls !== undefined || (managedKeys !== undefined && managedKeys.size > 0);
}

/** What the command line says instead of what the configuration says; its loopback address is the first Region's. */
function withChoices(
  configuration: Configuration,
  dir: string,
  { policies, tcp, regions: named = [] }: DevOptions,
): Configuration {
  const { identity, regions } = configuration;
  const [first, ...others] = regions;
  const known = regions.map(({ region }) => region);
  const further = named
    .filter((region) => !known.includes(region))
    .map((region): RegionConfiguration => {
      const { keyStores, defaultKeyStore } = first;
      return { region, socket: { path: join(dir, `${region}.sock`), mode: '0666' }, keyStores, defaultKeyStore };
    });
  return {
    ...configuration,
    regions: [{ ...first, loopback: tcp ?? first.loopback }, ...others, ...further],
    identity: policies === undefined ? identity : { ...identity, policies: resolve(policies) },
  };
}

function assertTokenKind({ keyStores }: Configuration, kind: NewTokenKind | undefined, dir: string): void {
  const tokens = [...keyStores.values()].flatMap(({ members }) => members);
  const other = tokens.find(({ profile }) => kind !== undefined && profile !== kind);
  if (other === undefined) return;
  throw new ConfigurationError(
    `the instance in \`${dir}\` is over \`${other.profile}\`, not \`${kind}\`; leave --token out, or give another folder`,
  );
}

async function createDevInstance(
  dir: string,
  configurationFile: string,
  options: DevOptions,
  log: Logger,
): Promise<KeyStore> {
  const socket = { path: join(dir, 'kms.sock'), mode: '0666' };
  assertSocketPathFits(socket.path);
  const isNew = options.dir === undefined || (await makeFolder(dir));
  if (isNew) await chmod(dir, 0o755); // Other users have to reach the socket; what is secret has modes of its own.
  return createInstanceWithToken(
    configurationFile,
    {
      kind: options.token ?? 'softhsm2',
      folder: join(dir, 'token'),
      label: 'drawbridge-dev',
      pinFile: join(dir, 'pin'),
    },
    {
      region: 'us-east-1',
      account: '000000000000',
      dataDir: join(dir, 'data'),
      socket,
      root: [...new Set([0, process.getuid?.() ?? 0])],
    },
    options.environment,
    log,
  );
}

function rootKey(secretAccessKey: string, { account }: Account): SigningKey {
  const bytes = secretMemory(Buffer.byteLength(secretAccessKey));
  bytes.write(secretAccessKey);
  return {
    keys: ScopedKeys.of(new Secret(bytes)),
    caller: { type: 'Root', arn: rootArn({ account }), accountId: account },
  };
}
