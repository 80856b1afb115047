/**
 * What of a daemon takes its HSMs: service key checked, records verified, compared with the audit log and reconciled with the HSMs,
 * the keys of each Region taken up, access keys, upkeep, AWS managed keys.
 *
 * It may be tried again after it failed, from the beginning: a try leaves nothing behind but what it put on record, which the next one
 * reads.
 */

import type { AuditLog } from '../audit/audit-log.ts';
import type { AssumableRoles } from '../authorization/assumable-roles.ts';
import type { Configuration } from '../config/configuration-schema.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { FindSigningKey } from '../identity/signing-key.ts';
import type { UnixMapping } from '../identity/unix-caller.ts';
import type { AttachableHsm } from '../keys/custom-key-store.ts';
import { MembersOnRecord } from '../keys/domain/members-on-record.ts';
import type { KeyDirectory } from '../keys/key-directory.ts';
import { DomainKeys } from '../keys/life/domain-keys.ts';
import { newImportsOfRegions } from '../keys/life/key-import.ts';
import { LeftIntents } from '../keys/life/left-intents.ts';
import { settleUnfinished } from '../keys/life/open-keys.ts';
import { type ListedServiceKey, serviceKeyPurposes } from '../keys/life/service-keys.ts';
import { KeyMoves } from '../keys/moves/key-moves.ts';
import { Rewrapping } from '../keys/moves/rewrapping.ts';
import type { Logger } from '../kms/logger.ts';
import type { Intents } from '../pipeline/intents.ts';
import type { BegunMetadata, LoadedMetadata, StoreStanding } from '../store/metadata-store.ts';
import { Turns } from '../store/turns.ts';
import type { Checkpoints } from './checkpoints.ts';
import { type Credentials, openCredentials } from './credential-source.ts';
import type { OpenStore } from './data-folder.ts';
import { DomainKeyStores } from './domain-key-stores.ts';
import { passwordVault } from './key-store-passwords.ts';
import { KeysVerifiedAhead } from './keys-verified-ahead.ts';
import { ManagedKeys } from './managed-keys.ts';
import { MarkedMembers } from './marked-members.ts';
import type { MemberProofs } from './member-proofs.ts';
import { numbersOfStart, reachMilestone } from './milestones.ts';
import { assertTokenIsOurs } from './own-token.ts';
import { PresentedPasswordFiles } from './presented-passwords.ts';
import { type OpenRegion, openRegion } from './region.ts';
import { rewritingProgress } from './rewriting-progress.ts';
import { assertRecordsAreServed } from './served-records.ts';
import { assertFitTogether, closeIntents } from './standing.ts';
import type { Clocks } from './upkeep/clocks.ts';
import { type OpenUpkeep, openUpkeep } from './upkeep/open-upkeep.ts';

/** For the last uses of keys that are not on disk yet; what a stuck HSM keeps from that is lost. */
const lastUsesAtStopMs = 3_000;

export interface InstanceParts {
  readonly configuration: Configuration;
  readonly opened: OpenStore;
  /** All that are configured, by name. */
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  /** The names of those that are there by now; the others may be away. */
  readonly required: ReadonlySet<string>;
  /** For custom key stores, by what they are called where AWS has the id of a cluster. */
  readonly hsms: ReadonlyMap<string, AttachableHsm>;
  readonly serviceKeyStore: KeyStore;
  /** What stands behind a key store that may be away. */
  readonly attached: (name: string) => KeyStore | undefined;
  readonly proofs: Pick<MemberProofs, 'exclude'>;
  readonly audit: AuditLog;
  /** Of both; not begun. */
  readonly checkpoints: Checkpoints;
  /** Of what is changed in `audit`'s instance, by requests and by the daemon itself. */
  readonly intents: Intents;
  readonly mapping: UnixMapping;
  readonly roles: () => AssumableRoles;
  readonly findFixedKey: FindSigningKey | undefined;
  readonly clocks: Clocks;
  /** Gets what the start is doing, where that takes long. */
  readonly tell: (what: string) => void;
  readonly log: Logger;
}

export interface OpenInstance {
  /** In the order of the configuration. */
  readonly regions: readonly OpenRegion[];
  readonly turns: Turns;
  readonly credentials: Credentials;
  /** Not begun. */
  readonly upkeep: OpenUpkeep;
  readonly managedKeys: ManagedKeys;
  readonly domainKeys: DomainKeys;
  readonly domainKeyStores: DomainKeyStores;
  readonly members: MembersOnRecord;
  readonly leftIntents: LeftIntents;
  /** Of one that was not there at the start: its members are marked, and what was begun in them is undone, from now on. */
  readonly follow: (keyStore: KeyStore) => void;
  readonly moves: KeyMoves;
  readonly rewrapping: Rewrapping;
  /** Absent while all keys are in memory. */
  readonly verifiedAhead: KeysVerifiedAhead | undefined;
  readonly serviceKeys: readonly ListedServiceKey[];
  readonly indexes: BegunMetadata['indexes'];
  /** Once no request runs any more, and while the HSM still computes MACs. */
  close(): Promise<void>;
}

/**
 * Gives what opens the instance; it rejects with KeyStoreError, StoreError, AuditError or ConfigurationError, for operators, and may be
 * called again then. What the last run left open in the audit log is closed by the first call that gets so far.
 */
export function instanceOpener(parts: InstanceParts): () => Promise<OpenInstance> {
  let isStandingClear = false;
  return () =>
    openInstance(parts, {
      assertFits(standing) {
        if (!isStandingClear) assertFitTogether({ audit: parts.audit, standing });
      },
      async clear(loaded) {
        const { audit, checkpoints, configuration, opened, log } = parts;
        if (!isStandingClear) {
          const standing = opened.store.standingAtLoad();
          await closeIntents({ audit, loaded, standing, account: configuration.account, log });
        }
        isStandingClear = true;
        checkpoints.begin();
      },
    });
}

interface Standing {
  /** @throws when metadata and audit log do not fit: before anything of them is changed. */
  assertFits(standing: StoreStanding): void;
  /** Closes what the last run left open. */
  clear(loaded: LoadedMetadata): Promise<void>;
}

async function openInstance(parts: InstanceParts, standing: Standing): Promise<OpenInstance> {
  const { configuration, opened, keyStores, required, serviceKeyStore, audit, intents, mapping, findFixedKey } = parts;
  const { hsms, clocks, log } = parts;
  const connected = new Map([...keyStores].filter(([name]) => required.has(name)));
  const { account, regions, budgets } = configuration;
  const { store } = opened;
  await using made = new AsyncDisposableStack();

  await opened.useServiceKey(serviceKeyStore);
  const told = rewritingProgress(log, parts.tell);
  const { keysInMemory, packedKeyBytes } = budgets.memory;
  const begun = await store.begin(keysInMemory, told, { assertFits: standing.assertFits, packedKeyBytes });
  const { loaded, source, indexes } = begun;
  assertRecordsAreServed(loaded, { regions, keyStores: configuration.keyStores });
  const members = new MembersOnRecord(loaded.member);
  const domainKeysLoaded = { of: (name: string) => loaded.domainKey.filter(({ keyStore }) => keyStore === name) };
  await parts.proofs.exclude({ domainKeys: domainKeysLoaded, members }, connected.values());
  for (const [name, keyStore] of connected) {
    const isInIt = (record: { readonly keyStore: string; readonly state: string }): boolean =>
      record.keyStore === name && record.state === 'Active';
    const inUse = [
      ...loaded.domainKey.filter(isInIt),
      ...loaded.backingKey.filter((record) => isInIt(record) && record.residency !== 'wrapped'),
    ];
    const backingKeyIds = inUse.map(({ backingKeyId }) => backingKeyId);
    await assertTokenIsOurs(keyStore, configuration.dataDir, backingKeyIds);
  }
  await standing.clear(loaded);
  const turns = new Turns(store, {
    own: intents.own,
    foldFailed: (error) => log.error({ err: error }, 'a change is on disk and not in memory; restart the daemon'),
  });
  const leftIntents = new LeftIntents({ turns, keyStores, log });
  made.defer(() => leftIntents.close());
  const metadata = await settleUnfinished({ store, turns, keyStores: connected, leftIntents, log }, loaded);
  const { reachedAtMs: usageTrackedSinceMs } = await reachMilestone('usage-tracking', turns, metadata, Date.now());
  const startNumbers = await numbersOfStart(turns, metadata, { isOnDemand: source !== undefined, nowMs: Date.now() });
  const expiryClocks = clocks;
  const residencies = new Map([...configuration.keyStores].map(([name, { residency }]) => [name, residency]));
  const domainKeys = new DomainKeys({ turns, nodeId: store.nodeId, residencies, log }, metadata);
  for (const [name, keyStore] of connected) await domainKeys.settle(name, keyStore);
  const domainId = (): string => store.serviceKey('metadata-integrity') ?? '';
  const domainKeyStores = new DomainKeyStores({ domainKeys, keyStores, attached: parts.attached, domainId, log });
  await domainKeyStores.look();
  turns.follow(members);
  const marks = new MarkedMembers({ turns, members, domainKeys, log });
  const foundations = {
    ...{
      account,
      store,
      turns,
      keyStores,
      configured: configuration.keyStores,
      metadata: { loaded: metadata, source },
    },
    ...{
      hsms,
      vault: passwordVault(store, serviceKeyStore),
      presented: new PresentedPasswordFiles(configuration.dataDir),
    },
    ...{
      usageTrackedSinceMs,
      startNumbers,
      expiryClocks,
      budgets,
      log,
      domainKeys,
      directories: new Map<string, KeyDirectory>(),
    },
    importsOfRegions: newImportsOfRegions(),
    leftIntents,
  };
  const open: OpenRegion[] = [];
  made.defer(async () => {
    await Promise.all(open.map(({ customKeyStores }) => customKeyStores.close()));
    await Promise.all(open.map(({ directory }) => directory.lastUses.close(lastUsesAtStopMs)));
  });
  for (const region of regions) open.push(await openRegion(region, foundations));
  for (const { life } of open) await life.imports.settleAll();
  const { accessKey: accessKeys } = metadata;
  const credentials = await openCredentials({
    account,
    store,
    turns,
    keyStore: serviceKeyStore,
    accessKeys,
    mapping,
    roles: parts.roles,
    findFixedKey,
  });

  const since = await reachMilestone('upkeep', turns, metadata, Math.floor(clocks.now().wallMs));
  const moving = new Map(open.map((region) => [region.configuration.region, region]));
  const moves = new KeyMoves({ regions: moving, keyStores, domainKeys, turns, nodeId: store.nodeId, log }, metadata);
  const rewrapping = new Rewrapping({ regions: moving, keyStores, domainKeys, turns, log });
  const moved = { moves, rewrapping };
  const upkeep = openUpkeep({ ...moved, regions: open, turns, metadata, indexes, since, audit, intents, clocks, log });
  const managedKeys = new ManagedKeys({ regions: open, turns, audit, intents, log });
  made.defer(() => managedKeys.stop());
  await managedKeys.use(regions);

  const serviceKeys = serviceKeyPurposes.flatMap((purpose) => {
    const backingKeyId = store.serviceKey(purpose);
    return backingKeyId === undefined ? [] : { purpose, backingKeyId };
  });
  const follow = (keyStore: KeyStore): void => {
    marks.follow(keyStore);
    leftIntents.follow(keyStore, domainKeys);
    // What its members have of others is believed once all of them are there.
    if (keyStore instanceof JoinedKeyStore) keyStore.followAdmissions(() => void domainKeyStores.look());
  };
  for (const keyStore of connected.values()) follow(keyStore);
  made.defer(() => marks.close());
  const verifiedAhead = source === undefined ? undefined : new KeysVerifiedAhead({ source, log });
  made.defer(() => verifiedAhead?.end());
  const running = made.move();
  return {
    regions: open,
    turns,
    credentials,
    upkeep,
    managedKeys,
    domainKeys,
    domainKeyStores,
    members,
    leftIntents,
    follow,
    ...moved,
    verifiedAhead,
    serviceKeys,
    indexes,
    close: () => running.disposeAsync(),
  };
}
