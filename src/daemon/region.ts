/**
 * One Region of a daemon: its keys, what runs the requests for them, and the listeners where it is asked.
 *
 * All Regions have one store, one order of turns, one audit log and one set of credentials; nothing here is of a Region that
 * is not handed in with it. A Region is opened before any is served, so that nobody is answered while another one may still
 * turn out to be unusable.
 */

import type { AuditLog } from '../audit/audit-log.ts';
import type { AssumableRoles } from '../authorization/assumable-roles.ts';
import type { IdentityPolicies } from '../authorization/identity-policies.ts';
import { parsePolicyDocument } from '../authorization/language/policy-document.ts';
import type { Configuration, RegionConfiguration } from '../config/configuration-schema.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { accessSource } from '../http/access-questions.ts';
import type { Admission } from '../http/admission/admission.ts';
import type { HandshakeBudget } from '../http/admission/handshake-budget.ts';
import type { BackupControl } from '../http/backup-routes.ts';
import type { CensusControl } from '../http/census-routes.ts';
import type { Connections } from '../http/connections/connections.ts';
import type { DomainControl } from '../http/domain-routes.ts';
import type { KeyStoreControl } from '../http/key-store-routes.ts';
import type { MoveControl } from '../http/move-routes.ts';
import { createHttpServer, type HttpServer, type Listener } from '../http/server.ts';
import type { StatusSource } from '../http/status-routes.ts';
import type { UpkeepControl } from '../http/upkeep-routes.ts';
import { peerFacts } from '../identity/peer-facts.ts';
import type { RequestVerifier } from '../identity/request-verifier.ts';
import type { UnixMapping } from '../identity/unix-caller.ts';
import type { AttachableHsm, PasswordVault, PresentedPasswords } from '../keys/custom-key-store.ts';
import type { ExpiryClocks } from '../keys/expiry-watch.ts';
import type { KeyDirectory } from '../keys/key-directory.ts';
import { CustomKeyStores } from '../keys/life/custom-key-stores.ts';
import type { DomainKeys } from '../keys/life/domain-keys.ts';
import type { KeyDeletion } from '../keys/life/key-deletion.ts';
import type { ImportsOfRegions } from '../keys/life/key-import.ts';
import type { KeyLife } from '../keys/life/key-life.ts';
import type { LeftIntents } from '../keys/life/left-intents.ts';
import { openKeys } from '../keys/life/open-keys.ts';
import type { StartNumbers } from '../keys/start-numbers.ts';
import type { Budgets } from '../kms/budgets.ts';
import type { Logger } from '../kms/logger.ts';
import { conditionVocabulary } from '../pipeline/condition-key-table.ts';
import { generationLimits, type Shares, shareFairly } from '../pipeline/fair-shares.ts';
import type { Intents } from '../pipeline/intents.ts';
import { createKmsService } from '../pipeline/pipeline.ts';
import { whileProven } from '../pipeline/proven-still.ts';
import type { RefusalRecords } from '../pipeline/refusal-records.ts';
import type { SessionPolicies } from '../pipeline/session-policies.ts';
import type { BegunMetadata, MetadataStore } from '../store/metadata-store.ts';
import type { Turns } from '../store/turns.ts';
import type { Credentials } from './credential-source.ts';
import { namedKeyStores } from './named-key-stores.ts';
import type { RegionHandlers } from './region-entrance.ts';
import { roleSource } from './role-source.ts';
import type { ServedCertificates } from './served-certificates.ts';
import { bySignedRegion } from './signed-region.ts';

/** What a Region's keys are made of. */
export interface RegionFoundations {
  readonly account: string;
  readonly store: MetadataStore;
  readonly turns: Turns;
  /** All of them, by name; the Region takes its own. */
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly configured: Configuration['keyStores'];
  readonly hsms: ReadonlyMap<string, AttachableHsm>;
  readonly vault: PasswordVault;
  readonly presented: PresentedPasswords;
  /** Of all Regions, each of which adds its own: what multi-Region keys share is seen through it. */
  readonly directories: Map<string, KeyDirectory>;
  readonly leftIntents: Pick<LeftIntents, 'add'>;
  /** What the imports of all Regions share. */
  readonly importsOfRegions: ImportsOfRegions;
  /** Of all Regions, with what did not finish undone. */
  readonly metadata: Omit<BegunMetadata, 'indexes'>;
  readonly expiryClocks: ExpiryClocks;
  /** When this instance began to note uses of keys. */
  readonly usageTrackedSinceMs: number;
  readonly startNumbers: StartNumbers;
  /** Of all key stores. */
  readonly domainKeys: DomainKeys;
  readonly budgets: Budgets;
  readonly log: Logger;
}

/** A Region whose keys are there, and which nobody can ask yet. */
export interface OpenRegion {
  readonly configuration: RegionConfiguration;
  readonly directory: KeyDirectory;
  /** Not connected yet. */
  readonly customKeyStores: CustomKeyStores;
  readonly life: KeyLife;
  readonly deletion: KeyDeletion;
  /** The one in which keys are made for whoever names none. */
  readonly defaultKeyStore: KeyStore;
}

/**
 * Opens the keys of one Region.
 * @throws KmsError when a key store of the Region is not configured; and what `openKeys` rejects with.
 */
export async function openRegion(
  configuration: RegionConfiguration,
  {
    keyStores: all,
    configured,
    hsms,
    vault,
    presented,
    directories: regions,
    metadata,
    ...foundations
  }: RegionFoundations,
): Promise<OpenRegion> {
  const { region, keyStores: names, defaultKeyStore } = configuration;
  const realm = { region, account: foundations.account };
  const keyStores = new Map([...all].filter(([name]) => names.includes(name)));
  const compilePolicy = (document: string) => parsePolicyDocument(document, realm, conditionVocabulary);
  const { turns, log, usageTrackedSinceMs: createdAtMs } = foundations;
  const ofConfiguration = { account: realm.account, keyStores: configured };
  const named = namedKeyStores(configuration, ofConfiguration, keyStores, createdAtMs);
  const records = metadata.loaded.customKeyStore;
  const attached = { configured: named, hsms, vault, presented };
  const customKeyStores = new CustomKeyStores({ region, records, ...attached, turns, log });
  // Before the keys, whose state follows from that of their key stores.
  turns.follow(customKeyStores);
  const domains = foundations.domainKeys;
  const keys = { ...foundations, domains, realm, regions, keyStores, customKeyStores, defaultKeyStore, compilePolicy };
  const { directory, life, deletion } = await openKeys(keys, metadata);
  return {
    configuration,
    directory,
    customKeyStores,
    life,
    deletion,
    defaultKeyStore: directory.keyStore(defaultKeyStore),
  };
}

/** What requests to all Regions share. */
export interface RegionServices {
  readonly turns: Turns;
  readonly audit: AuditLog;
  readonly intents: Intents;
  readonly refusals: RefusalRecords;
  readonly shares: Shares;
  readonly sessionPolicies: SessionPolicies;
  readonly credentials: Credentials;
  readonly mapping: UnixMapping;
  readonly identityPolicies: () => IdentityPolicies;
  readonly roles: () => AssumableRoles;
  readonly keyStores: KeyStoreControl;
  readonly upkeep: UpkeepControl;
  readonly backup: BackupControl;
  readonly census: CensusControl;
  readonly domains: DomainControl;
  /** Of the keys of a Region. */
  readonly moves: (asked: KeyDirectory) => MoveControl;
  readonly log: Logger;
}

/** Where a Region is asked. */
export interface ListeningRegion {
  readonly region: string;
  readonly socketPath: string;
  /** `http://HOST:PORT`, where there is a loopback listener. */
  readonly endpoint: string | null;
  /** `https://HOST:PORT`, where there is a listener for TLS. */
  readonly tlsEndpoint: string | null;
}

/** What runs requests to one Region. */
export function regionHandlers(
  { directory, life, defaultKeyStore }: OpenRegion,
  services: RegionServices,
  status: StatusSource,
): RegionHandlers {
  const { turns, audit, intents, refusals, shares, sessionPolicies, credentials, mapping, identityPolicies, log } =
    services;
  const { keyStores, upkeep, backup, census, domains } = services;
  const moves = services.moves(directory);
  const { lastUses } = directory;
  const operations = createKmsService({
    directory,
    life,
    turns,
    lastUses,
    audit,
    intents,
    refusals,
    log,
    identityPolicies,
    sessionPolicies,
    peerFacts,
  });
  const limits = generationLimits(defaultKeyStore.generationsAtOnce);
  const service = shareFairly(whileProven(operations), shares, { keyStore: defaultKeyStore.name, limits });
  const access = accessSource({ directory, mapping, identityPolicies });
  const { source, findKey, roleSessions } = credentials;
  const roles = roleSource(
    { directory, roles: services.roles, identityPolicies, sessionPolicies, peerFacts },
    roleSessions,
  );
  const controls = { keyStores, upkeep, backup, census, domains, moves };
  return { service, status, credentials: source, ...controls, access, roles, findKey };
}

/** What listeners of all Regions share. */
export interface ListenerParts {
  readonly mapping: UnixMapping;
  readonly admission: Admission;
  readonly certificates: ServedCertificates;
  readonly connections: Connections;
  readonly handshakes: HandshakeBudget;
  readonly verifier: RequestVerifier;
  /** By Region: a signed request goes to the one that its signature names, whichever it came to. */
  readonly behind: ReadonlyMap<string, RegionHandlers>;
  readonly log: Logger;
}

/**
 * Listens for one Region.
 * @param servers Gets each server as soon as it listens, so that it is stopped even when the next one cannot listen.
 */
export async function listenForRegion(
  { region, socket, loopback }: RegionConfiguration,
  { findKey: _, ...handlers }: RegionHandlers,
  { mapping, admission, connections, certificates, handshakes, verifier, behind, log }: ListenerParts,
  servers: HttpServer[],
): Promise<ListeningRegion> {
  const listen = async (listener: Listener): Promise<HttpServer> => {
    const signed = listener.kind === 'unix' ? {} : bySignedRegion(handlers, behind);
    const server = await createHttpServer({ ...handlers, ...signed, admission, connections, log, listener });
    servers.push(server);
    return server;
  };
  const { address: socketPath } = await listen({ kind: 'unix', ...socket, mapping });
  const signed = loopback === undefined ? null : await listen({ kind: 'tcp', verifier, ...loopback });
  const tlsEndpoint = await certificates.listen(region, (place) =>
    listen({ kind: 'tls', verifier, budget: handshakes, ...place }),
  );
  return { region, socketPath, endpoint: signed?.address ?? null, tlsEndpoint };
}
