/**
 * Assembles a daemon and takes it apart again.
 *
 * Starting is a list of steps, each of which relies on those before: core dumps off, identity policies read, secrets checked,
 * data folder locked, tokens connected, service key checked, records verified, audit log open and compared with them, records
 * reconciled with the HSMs, the keys of each Region taken up, sockets listening, upkeep begun.
 * A step that fails undoes the earlier ones and ends the start; nothing listens before everything works. Stopping is the
 * same list backwards: no new upkeep, no new requests, answers out, audit log synced, records closed, HSM hosts ended.
 */

import { openAuditLog } from '../audit/open-audit-log.ts';
import type { Configuration, RegionConfiguration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { assertPinIsPrivate, assertSecurityOfficerPinIsPrivate } from '../config/secrets.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { Admission } from '../http/admission/admission.ts';
import type { HttpServer } from '../http/server.ts';
import { assertSocketPathFits } from '../http/unix-socket.ts';
import type { FindSigningKey } from '../identity/signing-key.ts';
import { assertUnixMapping, findUnknownNames, type UnixMapping } from '../identity/unix-caller.ts';
import { settleUnfinished } from '../keys/life/open-keys.ts';
import { serviceKeyPurposes } from '../keys/life/service-keys.ts';
import type { Logger } from '../kms/logger.ts';
import { type PrincipalArn, parsePrincipalArn } from '../kms/names.ts';
import { Intents } from '../pipeline/intents.ts';
import { ProcessorTurns } from '../pipeline/processor-turns.ts';
import { RefusalRecords } from '../pipeline/refusal-records.ts';
import { disableCoreDumps } from '../secrets/core-dumps.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import { Turns } from '../store/turns.ts';
import { keyStoreControl, openConfiguredKeyStore } from './configured-key-stores.ts';
import { openCredentials } from './credential-source.ts';
import { assertTokenIsFresh, hasMetadata, openStore } from './data-folder.ts';
import { IdentityPolicyFolder } from './identity-policy-folder.ts';
import { ManagedKeys } from './managed-keys.ts';
import { reachMilestone } from './milestones.ts';
import { assertPathsAreOurs } from './own-paths.ts';
import { type ListeningRegion, type OpenRegion, openRegion, serveRegion } from './region.ts';
import { closeIntents } from './standing.ts';
import { statusSources } from './status.ts';
import { type Clocks, machineClocks } from './upkeep/clocks.ts';
import { openUpkeep } from './upkeep/open-upkeep.ts';

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

/** For the last uses of keys that are not on disk yet; what a stuck HSM keeps from that is lost. */
const lastUsesAtStopMs = 3_000;

const defaultDrainLimits: DrainLimits = { generationsMs: 12_000, requestsMs: 20_000 };

export interface DaemonOptions {
  readonly configuration: Configuration;
  readonly environment: NodeJS.ProcessEnv;
  readonly log: Logger;
  /** Configured key stores that are open already. The daemon does not close them, and has to be stopped before they are closed. */
  readonly openKeyStores?: readonly KeyStore[] | undefined;
  /** An access key beside those of the store. */
  readonly findFixedKey?: FindSigningKey | undefined;
  readonly drain?: DrainLimits | undefined;
  /** What upkeep tells the time by; those of this machine unless given. */
  readonly clocks?: Clocks | undefined;
  /** The configuration as it is written now: SIGHUP takes the AWS managed keys of it. Absent: they stay as they are. */
  readonly readConfiguration?: (() => Promise<Configuration>) | undefined;
}

export interface Daemon {
  /** In the order of the configuration. */
  readonly regions: readonly [ListeningRegion, ...ListeningRegion[]];
  /** Reads identity policies and AWS managed keys again, at SIGHUP. Never rejects; what is wrong is in the log, and nothing changes. */
  readonly reload: (() => Promise<void>) | undefined;
  stop(): Promise<void>;
}

/** Rejects, with a message for operators, when anything is not as it has to be. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { configuration, environment, log, findFixedKey } = options;
  const { regions, account, dataDir } = configuration;
  for (const { socket } of regions) assertSocketPathFits(socket.path);
  const mapping = unixMapping(configuration, log);
  await using started = new AsyncDisposableStack();

  disableCoreDumps();
  await assertPathsAreOurs(configuration);
  const policies = await IdentityPolicyFolder.open(configuration.identity.policies, configuration, log);
  for (const keyStore of configuration.keyStores.values()) {
    await assertPinIsPrivate(keyStore.pin, environment);
    await assertSecurityOfficerPinIsPrivate(keyStore.environment);
  }
  const isInitialised = await hasMetadata(dataDir);
  const opened = isInitialised ? await openStore({ dataDir, region: regions[0].region }) : undefined;
  if (opened !== undefined) started.defer(() => opened.store.close());

  const keyStores = new Map<string, KeyStore>();
  for (const name of configuration.keyStores.keys()) {
    const theirs = options.openKeyStores?.find((keyStore) => keyStore.name === name);
    const keyStore = theirs ?? (await openConfiguredKeyStore(name, configuration.keyStores, environment, log));
    if (theirs === undefined) started.defer(() => keyStore.close());
    keyStores.set(name, keyStore);
  }
  if (opened === undefined) {
    for (const keyStore of keyStores.values()) await assertTokenIsFresh(dataDir, keyStore);
    throw new ConfigurationError(`\`${dataDir}\` has no metadata; run \`drawbridge init\` first`);
  }
  const serviceKeyStore = keyStores.get(configuration.serviceKeyStore);
  if (serviceKeyStore === undefined) {
    throw new ConfigurationError(
      `the key store of the service keys, \`${configuration.serviceKeyStore}\`, is not configured`,
    );
  }
  await opened.useServiceKey(serviceKeyStore);

  const { store } = opened;
  const loaded = await store.load((written, total) => log.info({ written, total }, 'records are written anew'));
  assertRegionsAreServed(loaded, regions);
  assertKeyStoresAreConfigured(loaded, keyStores);
  const audit = await openAuditLog({
    ...configuration.audit,
    reserveBytes: configuration.budgets.audit.reserveBytes,
    log,
  });
  started.defer(() => audit.close());
  await closeIntents({ audit, loaded, account, log });
  const intents = new Intents({ audit, account, log });
  started.defer(() => intents.stop());
  const turns = new Turns(store, {
    own: intents.own,
    foldFailed: (error) => log.error({ err: error }, 'a change is on disk and not in memory; restart the daemon'),
  });
  const metadata = await settleUnfinished({ store, turns, keyStores, log }, loaded);
  const { reachedAtMs: usageTrackedSinceMs } = await reachMilestone('usage-tracking', turns, metadata, Date.now());
  const { clocks = machineClocks } = options;
  const expiryClocks = clocks;
  const { budgets } = configuration;
  const foundations = { account, store, turns, keyStores, metadata, usageTrackedSinceMs, expiryClocks, budgets, log };
  const open: OpenRegion[] = [];
  for (const region of regions) open.push(await openRegion(region, foundations));
  const credentials = await openCredentials({
    account,
    store,
    turns,
    keyStore: serviceKeyStore,
    accessKeys: metadata.accessKey,
    mapping,
    findFixedKey,
  });
  const refusals = new RefusalRecords({
    audit,
    account,
    budget: configuration.budgets.refusals,
    lines: configuration.budgets.audit,
    log,
  });
  started.defer(() => refusals.close());

  // Once no request runs any more, and while the HSM still computes MACs.
  started.defer(async () => {
    await Promise.all(open.map(({ directory }) => directory.lastUses.close(lastUsesAtStopMs)));
  });
  const since = await reachMilestone('upkeep', turns, metadata, Math.floor(clocks.now().wallMs));
  const upkeep = openUpkeep({ regions: open, turns, metadata, since, audit, intents, clocks, log });

  const managedKeys = new ManagedKeys({ regions: open, turns, audit, intents, log });
  started.defer(() => managedKeys.stop());
  await managedKeys.use(regions);

  const admission = new Admission(configuration.budgets.connections, log);
  started.defer(() => admission.close());
  const servers: HttpServer[] = [];
  started.defer(async () => {
    // Work that is in progress ends while answers go out; nothing new begins.
    const upkept = upkeep.stop();
    await drain(servers, keyStores, options.drain ?? defaultDrainLimits);
    await upkept;
  });
  const services = {
    turns,
    audit,
    intents,
    refusals,
    processor: new ProcessorTurns(),
    credentials,
    mapping,
    identityPolicies: () => policies.current(),
    keyStores: keyStoreControl(keyStores),
    upkeep,
    admission,
    log,
  };
  const serviceKeys = serviceKeyPurposes.flatMap((purpose) => {
    const backingKeyId = store.serviceKey(purpose);
    return backingKeyId === undefined ? [] : { purpose, backingKeyId };
  });
  const statusOf = statusSources({ configuration, keyStores, regions: open, audit, upkeep, serviceKeys });
  const listening: ListeningRegion[] = [];
  for (const region of open) listening.push(await serveRegion(region, services, statusOf(region), servers));
  const [first, ...others] = listening;
  if (first === undefined) throw new TypeError('a configuration has one Region at least');
  upkeep.start();

  const running = started.move();
  for (const [at, { socketPath: socket, endpoint, region }] of listening.entries()) {
    log.info({ region, socket, endpoint, ...open[at]?.directory.counts() }, 'ready');
  }
  return {
    regions: [first, ...others],
    async reload() {
      await policies.reload(log);
      if (options.readConfiguration !== undefined) await managedKeys.reload(options.readConfiguration);
    },
    stop: () => running.disposeAsync(),
  };
}

/** Keys of another Region would seem to be gone; whoever renamed the Region has to know that their ARNs would be others. */
function assertRegionsAreServed({ key }: LoadedMetadata, regions: readonly RegionConfiguration[]): void {
  const served = regions.map(({ region }) => region);
  const other = key.find((record) => !served.includes(record.region));
  if (other === undefined) return;
  const names = served.map((region) => `\`${region}\``).join(', ');
  throw new ConfigurationError(
    `the metadata has keys of the Region \`${other.region}\`, and the configuration serves ${names}; set \`region: ${other.region}\``,
  );
}

/** Whoever gave a key store another name would find none of its keys usable. */
function assertKeyStoresAreConfigured({ backingKey }: LoadedMetadata, keyStores: ReadonlyMap<string, KeyStore>): void {
  const other = backingKey.find(({ keyStore }) => !keyStores.has(keyStore));
  if (other === undefined) return;
  const names = [...keyStores.keys()].map((name) => `\`${name}\``).join(', ');
  throw new ConfigurationError(
    `the metadata has keys in the key store \`${other.keyStore}\`, and the configuration names ${names}; a key store that has keys keeps its name`,
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
function unixMapping({ account, identity }: Configuration, log: Logger): UnixMapping {
  const { root: roots } = identity;
  const [users, groups] = [principals(identity.users), principals(identity.groups)];
  const mapping = { account, roots, users, groups };
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
