/**
 * Assembles a daemon and takes it apart again.
 *
 * Starting is a list of steps, each of which relies on those before: core dumps off, identity policies read, secrets checked,
 * data folder locked, token connected, service key checked, records verified and reconciled with the HSM, audit log open, sockets listening.
 * A step that fails undoes the earlier ones and ends the start; nothing listens before everything works. Stopping is the
 * same list backwards: no new requests, answers out, audit log synced, records closed, HSM hosts ended.
 */

import { openAuditLog } from '../audit/open-audit-log.ts';
import { parsePolicyDocument } from '../authorization/language/policy-document.ts';
import type { Configuration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import type { LoopbackAddress } from '../config/loopback-address.ts';
import { assertPinIsPrivate, assertSecurityOfficerPinIsPrivate } from '../config/secrets.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { accessSource } from '../http/access-questions.ts';
import { createHttpServer, type HttpServer } from '../http/server.ts';
import { assertSocketPathFits } from '../http/unix-socket.ts';
import { peerFacts } from '../identity/peer-facts.ts';
import type { FindSigningKey } from '../identity/signing-key.ts';
import { assertUnixMapping, findUnknownNames, type UnixMapping } from '../identity/unix-caller.ts';
import { openKeys, settleUnfinished } from '../keys/life/open-keys.ts';
import type { Logger } from '../kms/logger.ts';
import { type PrincipalArn, parsePrincipalArn } from '../kms/names.ts';
import { conditionVocabulary } from '../pipeline/condition-key-table.ts';
import { defaultShareLimits, generationLimits, shareFairly } from '../pipeline/fair-shares.ts';
import { createKmsService } from '../pipeline/pipeline.ts';
import { whileProven } from '../pipeline/proven-still.ts';
import { disableCoreDumps } from '../secrets/core-dumps.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import { Turns } from '../store/turns.ts';
import { keyStoreControl, openConfiguredKeyStore } from './configured-key-stores.ts';
import { openCredentials } from './credential-source.ts';
import { assertTokenIsFresh, hasMetadata, openStore } from './data-folder.ts';
import { IdentityPolicyFolder } from './identity-policy-folder.ts';
import { statusSource } from './status.ts';

/** How long a daemon that stops waits for what it has begun. With the end of the HSM hosts (6 s) that is under the 30 s of `serve --help`. */
export interface DrainLimits {
  /**
   * For keys that are being generated, which may take minutes. Nobody waits so long for a service to stop: these requests are
   * then given up and fail, as ones that can be retried, and what they began is undone.
   */
  readonly generationsMs: number;
  /**
   * For all requests: longer than a call to an HSM may take by default, and than it takes to connect another host after
   * `generationsMs` and undo. What cannot be undone by then is undone at the next start.
   */
  readonly requestsMs: number;
}

const defaultDrainLimits: DrainLimits = { generationsMs: 12_000, requestsMs: 20_000 };

export interface DaemonOptions {
  readonly configuration: Configuration;
  readonly environment: NodeJS.ProcessEnv;
  readonly log: Logger;
  /** Where the loopback listener is, instead of where the configuration says. */
  readonly loopback?: LoopbackAddress | undefined;
  /** The default key store, where it is open already. The daemon does not close it, and has to be stopped before it is closed. */
  readonly keyStore?: KeyStore | undefined;
  /** An access key beside those of the store. */
  readonly findFixedKey?: FindSigningKey | undefined;
  readonly drain?: DrainLimits | undefined;
}

export interface Daemon {
  readonly socketPath: string;
  /** `http://HOST:PORT`, where there is a loopback listener. */
  readonly endpoint: string | null;
  /** Reads the identity policies again, at SIGHUP. Never rejects; what is wrong is in the log, and nothing changes. */
  readonly reload: (() => Promise<void>) | undefined;
  stop(): Promise<void>;
}

/** Rejects, with a message for operators, when anything is not as it has to be. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { configuration, environment, log, findFixedKey } = options;
  const loopback = options.loopback ?? configuration.listen.tcp;
  const { region, account, dataDir } = configuration;
  const realm = { region, account };
  assertSocketPathFits(configuration.socket.path);
  const mapping = unixMapping(configuration, log);
  const keyStoreConfiguration = configuration.keyStores.default;
  await using started = new AsyncDisposableStack();

  disableCoreDumps();
  const policies = await IdentityPolicyFolder.open(configuration.identity.policies, realm, log);
  await assertPinIsPrivate(keyStoreConfiguration.pin, environment);
  await assertSecurityOfficerPinIsPrivate(keyStoreConfiguration.environment);
  const isInitialised = await hasMetadata(dataDir);
  const opened = isInitialised ? await openStore(configuration) : undefined;
  if (opened !== undefined) started.defer(() => opened.store.close());

  let { keyStore } = options;
  if (keyStore === undefined) {
    const ours = await openConfiguredKeyStore('default', keyStoreConfiguration, environment, log);
    started.defer(() => ours.close());
    keyStore = ours;
  }
  if (opened === undefined) {
    await assertTokenIsFresh(dataDir, keyStore);
    throw new ConfigurationError(`\`${dataDir}\` has no metadata; run \`drawbridge init\` first`);
  }
  await opened.useServiceKey(keyStore);

  const keyStores = new Map([['default', keyStore]]);
  const compilePolicy = (document: string) => parsePolicyDocument(document, realm, conditionVocabulary);
  const { store } = opened;
  const loaded = await store.load((written, total) => log.info({ written, total }, 'records are written anew'));
  assertRegionIsServed(loaded, region);
  const turns = new Turns(store);
  const keys = { realm, store, turns, keyStores, defaultKeyStore: 'default', compilePolicy, log };
  const metadata = await settleUnfinished(keys, loaded);
  const { directory, life } = await openKeys(keys, metadata);
  const { source: credentials, findKey } = await openCredentials({
    realm,
    store,
    turns,
    keyStore,
    accessKeys: metadata.accessKey,
    mapping,
    findFixedKey,
  });
  const audit = await openAuditLog({ ...configuration.audit, region, log });
  started.defer(() => audit.close());

  const operations = createKmsService({
    directory,
    life,
    turns,
    audit,
    log,
    identityPolicies: () => policies.current(),
    peerFacts,
  });
  const service = shareFairly(whileProven(operations), defaultShareLimits, generationLimits(keyStore.status().lanes));
  const status = statusSource({ configuration, keyStores, directory, audit });
  const access = accessSource({ directory, mapping, identityPolicies: () => policies.current() });
  const control = keyStoreControl(keyStores);
  const servers: HttpServer[] = [];
  started.defer(() => drain(servers, keyStores, options.drain ?? defaultDrainLimits));
  const unix = await createHttpServer({
    service,
    status,
    credentials,
    keyStores: control,
    access,
    log,
    listener: { kind: 'unix', ...configuration.socket, mapping },
  });
  servers.push(unix);
  let endpoint: string | null = null;
  if (loopback !== undefined) {
    const listener = { kind: 'tcp', realm, findKey, ...loopback } as const;
    const tcp = await createHttpServer({ service, status, credentials, keyStores: control, access, log, listener });
    servers.push(tcp);
    endpoint = tcp.address;
  }

  const running = started.move();
  log.info({ socket: unix.address, endpoint, ...directory.counts() }, 'ready');
  return {
    socketPath: unix.address,
    endpoint,
    reload: () => policies.reload(log),
    stop: () => running.disposeAsync(),
  };
}

/** Keys of another Region would seem to be gone; whoever renamed the Region has to know that their ARNs would be others. */
function assertRegionIsServed({ key }: LoadedMetadata, region: string): void {
  const other = key.find((record) => record.region !== region);
  if (other === undefined) return;
  throw new ConfigurationError(
    `the metadata has keys of the Region \`${other.region}\`, and the configuration serves \`${region}\`; set \`region: ${other.region}\``,
  );
}

/**
 * All listeners at once: what came over one is not served for longer because another one has requests as well, and not cut off
 * because another one could not be closed.
 */
async function drain(
  servers: readonly HttpServer[],
  keyStores: ReadonlyMap<string, KeyStore>,
  { generationsMs, requestsMs }: DrainLimits,
): Promise<void> {
  const giveUp = setTimeout(() => {
    for (const keyStore of keyStores.values())
      keyStore.stopGenerating(`the daemon stops, and does not wait longer than ${generationsMs} ms for new keys`);
  }, generationsMs);
  const stopped = await Promise.allSettled(servers.map((server) => server.stop(requestsMs)));
  clearTimeout(giveUp);
  for (const outcome of stopped) if (outcome.status === 'rejected') throw outcome.reason;
}

/** @throws UnixMappingError for a mapping to what no caller can be. */
function unixMapping({ region, account, identity }: Configuration, log: Logger): UnixMapping {
  const { root: roots } = identity;
  const [users, groups] = [principals(identity.users), principals(identity.groups)];
  const mapping = { realm: { region, account }, roots, users, groups };
  assertUnixMapping(mapping);
  const unknown = findUnknownNames(mapping);
  if (unknown.length > 0)
    log.warn({ unknown }, 'the configuration names users or groups that this machine does not have');
  return mapping;
}

function principals(mapping: Readonly<Record<string, string>>): Record<string, PrincipalArn> {
  return Object.fromEntries(
    Object.entries(mapping).map(([name, text]) => {
      const arn = parsePrincipalArn(text);
      if (arn === undefined) throw new ConfigurationError(`\`identity\`: \`${text}\` is not the ARN of a principal`);
      return [name, arn];
    }),
  );
}
