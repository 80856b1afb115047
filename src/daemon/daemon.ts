/**
 * Assembles a daemon and takes it apart again.
 *
 * Starting is a list of steps, each of which relies on those before: core dumps off, identity policies and certificates read,
 * secrets checked, data folder locked, audit log open, tokens connected, service key checked, records verified and compared with
 * the audit log, reconciled with the HSMs, the keys of each Region taken up, sockets listening, upkeep begun.
 * A step that fails undoes the earlier ones and ends the start; nothing listens before everything works. There is one exception,
 * for whoever asks for it (`waitForTokens`): while a token is not there, sockets listen at an entrance that is closed
 * (`region-entrance.ts`), so that the daemon is up when the HSM is, and whatever then takes the HSM is tried until it works. Stopping
 * is the same list backwards: no new upkeep, no new requests, answers out, what is owed to the audit log on record, the log synced,
 * HSM hosts ended, records closed.
 */

import type { AuditHead } from '../audit/audit-log.ts';
import { openAuditLog } from '../audit/open-audit-log.ts';
import type { Configuration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { assertPinsArePrivate, assertSecurityOfficerPinIsPrivate } from '../config/secrets.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import type { BegunKeyStore } from '../hsm/open-key-store.ts';
import type { TokenConnection } from '../hsm/token-connection.ts';
import { Admission } from '../http/admission/admission.ts';
import { HandshakeBudget } from '../http/admission/handshake-budget.ts';
import { Connections } from '../http/connections/connections.ts';
import type { HttpServer } from '../http/server.ts';
import { assertSocketPathFits } from '../http/unix-socket.ts';
import { RequestVerifier } from '../identity/request-verifier.ts';
import type { FindSigningKey } from '../identity/signing-key.ts';
import type { Logger } from '../kms/logger.ts';
import { Shares } from '../pipeline/fair-shares.ts';
import { Intents } from '../pipeline/intents.ts';
import { RefusalRecords } from '../pipeline/refusal-records.ts';
import { SessionPolicies } from '../pipeline/session-policies.ts';
import { disableCoreDumps } from '../secrets/core-dumps.ts';
import { giveBackFreedMemory } from '../secrets/freed-memory.ts';
import { dropProgramPages } from '../secrets/program-pages.ts';
import { attachableHsms } from './attachable-hsms.ts';
import { Backups } from './backups.ts';
import { censusControl } from './census.ts';
import { Checkpoints } from './checkpoints.ts';
import { beginConfiguredKeyStore, requiredKeyStores } from './configured-key-stores.ts';
import { ConfiguredRoles } from './configured-roles.ts';
import { assertTokenIsFresh, hasMetadata, noMetadata, openStore } from './data-folder.ts';
import { domainControl } from './domain-control.ts';
import { IdentityPolicyFolder } from './identity-policy-folder.ts';
import { keyMoveControl } from './key-move-control.ts';
import { keyStoreControl } from './key-store-control.ts';
import { MemberProofs } from './member-proofs.ts';
import { noSuchKeyStore } from './no-such-key-store.ts';
import { instanceOpener, type OpenInstance } from './open-instance.ts';
import { examineLateToken, OptionalKeyStores } from './optional-key-stores.ts';
import { assertPathsAreOurs } from './own-paths.ts';
import { Patience } from './patience.ts';
import { type ListeningRegion, listenForRegion, regionHandlers } from './region.ts';
import { closedRegion, regionEntrance } from './region-entrance.ts';
import { ServedCertificates } from './served-certificates.ts';
import { closedStatus, statusSources } from './status.ts';
import { unixMapping, warnOfMapping } from './unix-mapping.ts';
import { type Clocks, machineClocks } from './upkeep/clocks.ts';
import { recordUserDatabaseChanges } from './user-database-record.ts';

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
  /** Configured key stores that are open already. The daemon does not close them, and has to be stopped before they are closed. */
  readonly openKeyStores?: readonly KeyStore[] | undefined;
  /** An access key beside those of the store. */
  readonly findFixedKey?: FindSigningKey | undefined;
  readonly drain?: DrainLimits | undefined;
  /** What upkeep tells the time by; those of this machine unless given. */
  readonly clocks?: Clocks | undefined;
  /**
   * Is a token that is not there waited for? Then the daemon listens meanwhile, and refuses what takes keys. What no waiting mends
   * ends the start all the same: a refused PIN, a library that is none, another's token.
   */
  readonly waitForTokens?: boolean | undefined;
  /** The configuration as it is written now: SIGHUP takes the roles, the AWS managed keys and `listen.tls` of it. Absent: they stay as they are. */
  readonly readConfiguration?: (() => Promise<Configuration>) | undefined;
}

export interface Daemon {
  /** In the order of the configuration. */
  readonly regions: readonly [ListeningRegion, ...ListeningRegion[]];
  /** Resolves when requests are served; rejects, after tokens were waited for, when they will not be. It has to be stopped all the same. */
  readonly serving: Promise<void>;
  /** What is waited for before requests are served, for operators; `null` when they are. */
  waitsFor(): string | null;
  /** Reads roles, identity policies, certificates and AWS managed keys again, at SIGHUP. Never rejects; what is wrong is in the log, and nothing changes. */
  readonly reload: (() => Promise<void>) | undefined;
  stop(): Promise<void>;
}

/** Rejects, with a message for operators, when anything is not as it has to be. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { configuration, environment, log, clocks = machineClocks } = options;
  const { regions, account, dataDir } = configuration;
  for (const { socket } of regions) assertSocketPathFits(socket.path);
  const configured = unixMapping(configuration);
  warnOfMapping(configured, log);
  await using started = new AsyncDisposableStack();

  disableCoreDumps();
  started.defer(giveBackFreedMemory());
  await assertPathsAreOurs(configuration);
  const roles = await ConfiguredRoles.open(configuration, configured);
  const mapping = { ...configured, assumableRoles: () => roles.current().all.map(({ arn }) => arn) };
  const policies = await IdentityPolicyFolder.open(configuration.identity.policies, mapping);
  const certificates = await ServedCertificates.open({ regions, environment, log });
  started.defer(() => certificates.close());
  const hsms = await attachableHsms(configuration, log);
  for (const keyStore of configuration.keyStores.values()) {
    await assertPinsArePrivate(keyStore, environment);
    for (const member of keyStore.members) await assertSecurityOfficerPinIsPrivate(member.environment);
  }
  const isInitialised = await hasMetadata(dataDir);
  const place = { dataDir, region: regions[0].region, auditFolder: configuration.audit.folder };
  const opened = isInitialised ? await openStore(place) : undefined;
  if (opened !== undefined) started.defer(() => opened.store.close());
  const begun = new Map<string, BegunKeyStore>();
  const closeKeyStores = async (): Promise<void> => {
    const ours = [...begun.values()].filter(({ keyStore }) => !options.openKeyStores?.includes(keyStore));
    await Promise.all(ours.map(({ keyStore }) => keyStore.close()));
  };
  started.defer(closeKeyStores);
  const { reserveBytes } = configuration.budgets.audit;
  let checkpoints: Checkpoints | undefined;
  const synced = (head: AuditHead): void => checkpoints?.noteHead(head);
  // The tokens may not be there yet: until they are, nothing has verified where the metadata says that the log ended.
  const noted = opened?.store.claimedAuditHead() ?? undefined;
  const auditOptions = { ...configuration.audit, reserveBytes, noted, synced, log };
  const audit = isInitialised ? await openAuditLog(auditOptions) : undefined;
  if (audit !== undefined) started.defer(() => audit.close());

  const proofs = new MemberProofs({
    serviceKeyStore: configuration.serviceKeyStore,
    serviceKey: () => opened?.store.serviceKey('metadata-integrity'),
    log,
  });
  const open = options.openKeyStores ?? [];
  const optional = new OptionalKeyStores({ configuration, environment, open, proofs, log });
  started.defer(() => optional.close());
  const patience = new Patience((options.waitForTokens ?? false) && isInitialised, log);
  const required = requiredKeyStores(configuration);
  for (const name of required) begun.set(name, beginKeyStore(name, options, proofs, patience));
  const keyStores = new Map<string, KeyStore>();
  // In the configuration's order, in which people are told of them.
  for (const name of [...configuration.keyStores.keys(), ...begun.keys()]) {
    const keyStore = begun.get(name)?.keyStore ?? optional.places.get(name);
    if (keyStore !== undefined) keyStores.set(name, keyStore);
  }
  if (opened === undefined || audit === undefined) {
    for (const { keyStore, connected } of begun.values()) {
      await connected;
      await assertTokenIsFresh(dataDir, keyStore);
    }
    throw noMetadata(dataDir);
  }
  const serviceKeyStore = keyStores.get(configuration.serviceKeyStore);
  if (serviceKeyStore === undefined) {
    throw new ConfigurationError(
      `the key store of the service keys, \`${configuration.serviceKeyStore}\`, is not configured`,
    );
  }

  const { store } = opened;
  const ties = new Checkpoints({ audit, store, log });
  checkpoints = ties;
  started.defer(() => ties.stop());
  started.defer(recordUserDatabaseChanges({ audit, account, region: regions[0].region, log }));
  const intents = new Intents({ audit, account, log, epoch: () => store.standing().epoch });
  started.defer(() => intents.stop());
  const refusals = new RefusalRecords({
    audit,
    account,
    budget: configuration.budgets.refusals,
    lines: configuration.budgets.audit,
    log,
  });
  started.defer(() => refusals.close());
  const shares = new Shares({ refusals });
  const sessionPolicies = new SessionPolicies(configuration);
  await Backups.removeLeftovers(dataDir);
  const backup = new Backups({ configuration, store });
  started.defer(() => backup.close());

  const waitsFor = (): string | null => patience.reason;
  const recording = { audit, intents, refusals };
  const entrances = regions.map((region) => {
    const status = closedStatus({ configuration, keyStores, certificates, audit, waitsFor }, region);
    const closed = closedRegion({ region: region.region, status, ...recording, shares, log });
    return { region, entrance: regionEntrance(closed) };
  });
  const { findFixedKey } = options;
  const attached = (name: string) => optional.attached(name);
  const tokens = { keyStores, attached, required, hsms, serviceKeyStore, proofs };
  const ours = { configuration, opened, ...tokens, audit, checkpoints, intents };
  const tell = (what: string) => patience.tell(what);
  const openOnce = instanceOpener({ ...ours, mapping, roles: () => roles.current(), findFixedKey, clocks, tell, log });
  let instance: OpenInstance | undefined;
  const opening = patience.open([...begun.values()], openOnce).then(async (open) => {
    instance = open;
    await proofs.use(
      open,
      serviceKeyStore,
      [...begun.values()].map(({ keyStore }) => keyStore),
    );
    // By now it is known who has access keys.
    policies.warnOfUnreachable(log);
    const { turns, credentials, upkeep } = open;
    const identityPolicies = () => policies.current();
    const census = censusControl({ regions: open.regions, keyStores, domainKeys: open.domainKeys });
    const named = { keyStores, noSuchKeyStore: noSuchKeyStore(configuration.hsms, open.regions) };
    const domains = domainControl({ ...open, ...named, attached, serviceKeyStore: configuration.serviceKeyStore });
    const moves = keyMoveControl({ regions: open.regions, ...named, moves: open.moves });
    const controls = {
      keyStores: keyStoreControl(keyStores, optional, open.domainKeyStores, named.noSuchKeyStore),
      upkeep,
      backup,
      census,
      domains,
      moves,
    };
    const documents = { identityPolicies, roles: () => roles.current() };
    const services = {
      turns,
      ...recording,
      shares,
      sessionPolicies,
      credentials,
      mapping,
      ...documents,
      ...controls,
      log,
    };
    const statusOf = statusSources({
      configuration,
      keyStores,
      certificates,
      roles: documents.roles,
      audit,
      intents,
      ...open,
    });
    for (const region of open.regions) {
      const behind = entrances.find((each) => each.region === region.configuration);
      behind?.entrance.open(regionHandlers(region, services, statusOf(region)));
    }
    const { nodeId } = store;
    const admission = { ...open, proofs, nodeId, dataDir, log };
    optional.connect(admission);
    for (const { customKeyStores } of open.regions)
      customKeyStores.serve(
        (id, keyStore) => examineLateToken(id, keyStore, admission),
        (id, connection) => proofs.proveOnly(id, connection),
      );
  });
  started.defer(async () => {
    patience.end();
    // Nothing that is waited for is worth more than the stop.
    if (instance === undefined) await closeKeyStores();
    await opening.catch(() => undefined); // Told to whoever started the daemon.
    await instance?.close();
  });
  await Promise.race([opening, patience.began]);

  const admission = new Admission(configuration.budgets.connections, log);
  started.defer(() => admission.close());
  const connections = new Connections(configuration.budgets.exchanges, log);
  const servers: HttpServer[] = [];
  started.defer(async () => {
    // Work that is in progress ends while answers go out; nothing new begins.
    patience.end();
    const upkept = instance?.upkeep.stop();
    await drain(servers, keyStores, options.drain ?? defaultDrainLimits);
    await upkept;
  });
  const listening: ListeningRegion[] = [];
  const handshakes = new HandshakeBudget(configuration.budgets.handshakes, log);
  const [{ entrance: anyEntrance }] = entrances as [(typeof entrances)[number]]; // A configuration has one Region at least.
  const verifier = new RequestVerifier({
    regions: regions.map(({ region }) => region),
    findKey: anyEntrance.handlers.findKey,
    clock: Date.now,
  });
  const behind = new Map(entrances.map(({ region, entrance }) => [region.region, entrance.handlers]));
  const listenerParts = { mapping, admission, connections, certificates, handshakes, verifier, behind, log };
  for (const { region, entrance } of entrances)
    listening.push(await listenForRegion(region, entrance.handlers, listenerParts, servers));
  const [first, ...others] = listening;
  if (first === undefined) throw new TypeError('a configuration has one Region at least');

  const serving = opening.then(() => {
    if (patience.isOver) return;
    instance?.upkeep.start();
    dropProgramPages();
    // So that who deletes a key first does not wait until the whole file was read; who deletes one hears of what is in the way.
    store.scrub().catch(() => undefined);
    for (const [at, { socketPath: socket, endpoint, tlsEndpoint, region }] of listening.entries()) {
      log.info({ region, socket, endpoint, tlsEndpoint, ...instance?.regions[at]?.directory.counts() }, 'ready');
    }
  });
  serving.catch(() => undefined); // Whoever runs the daemon is told.
  if (patience.reason === null) await serving;
  else
    log.warn(
      { reason: patience.reason },
      'listening; everything but health and status is refused until the start is over',
    );

  const running = started.move();
  return {
    regions: [first, ...others],
    serving,
    waitsFor,
    async reload() {
      await roles.reload(options.readConfiguration, log);
      await policies.reload(log);
      await certificates.reload(options.readConfiguration);
      if (options.readConfiguration !== undefined) await instance?.managedKeys.reload(options.readConfiguration);
    },
    stop: () => running.disposeAsync(),
  };
}

/** One that is open already, or one that is being connected. */
function beginKeyStore(
  name: string,
  { configuration, environment, log, openKeyStores }: DaemonOptions,
  proofs: MemberProofs,
  patience: Patience,
): BegunKeyStore {
  const theirs = openKeyStores?.find((keyStore) => keyStore.name === name);
  if (theirs !== undefined) return { keyStore: theirs, connected: Promise.resolve() };
  const { keyStores } = configuration;
  const prove = (connection: TokenConnection, member: string) => proofs.prove(name, member, connection);
  const proveOnly = (connection: TokenConnection) => proofs.proveOnly(name, connection);
  const settings = { keyStores, environment, prove, proveOnly, log };
  return beginConfiguredKeyStore(name, settings, (reason) => patience.goesOn(reason));
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
