/** What a running daemon says about itself; `http/status-routes.ts` decides who may hear it. */

import type { AuditLog } from '../audit/audit-log.ts';
import type { AssumableRoles } from '../authorization/assumable-roles.ts';
import type { Configuration, RegionConfiguration } from '../config/configuration-schema.ts';
import { type KeyStore, type KeyStoreCapabilities, KeyStoreError } from '../hsm/key-store.ts';
import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { StatusSource } from '../http/status-routes.ts';
import type { KeyView } from '../keys/key-view.ts';
import type { DomainKeys } from '../keys/life/domain-keys.ts';
import type { ListedServiceKey } from '../keys/life/service-keys.ts';
import type { Rewrapping } from '../keys/moves/rewrapping.ts';
import { cloudHsmClusterIdOf } from '../kms/cluster-id.ts';
import { type BackingKeyId, parseKeyId } from '../kms/names.ts';
import type { Intents } from '../pipeline/intents.ts';
import { whenVerified } from '../store/record-source.ts';
import type { StoreIndexes } from '../store/store-indexes.ts';
import { requiredKeyStores } from './configured-key-stores.ts';
import { keysOfMembers, lackedBy } from './domain-members.ts';
import { ailment, disconnected, partlyAway } from './health.ts';
import type { KeysVerifiedAhead } from './keys-verified-ahead.ts';
import type { ServedCertificates } from './served-certificates.ts';
import type { Upkeep } from './upkeep/upkeep.ts';
import { upkeepSummary } from './upkeep/upkeep-report.ts';
import { version } from './version.ts';

/** A Region as the status tells of it. */
export interface RegionParts {
  readonly configuration: RegionConfiguration;
  readonly directory: KeyView;
}

/** What there is from the beginning. */
export interface ClosedStatusParts {
  readonly configuration: Configuration;
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly certificates: Pick<ServedCertificates, 'describe'>;
  readonly audit: AuditLog;
  /** What is waited for before there are keys; `null` when they are being read. */
  readonly waitsFor: () => string | null;
}

export interface StatusParts extends Omit<ClosedStatusParts, 'waitsFor'> {
  /** Those that can be assumed now. */
  readonly roles: () => AssumableRoles;
  readonly intents: Pick<Intents, 'failure'>;
  readonly regions: readonly RegionParts[];
  readonly upkeep: Pick<Upkeep, 'report' | 'later'>;
  readonly indexes: Pick<StoreIndexes, 'wrappedUnder'>;
  readonly domainKeys: Pick<DomainKeys, 'of' | 'domainOf' | 'residencyIn' | 'isThere'>;
  readonly rewrapping: Pick<Rewrapping, 'status'>;
  readonly verifiedAhead: Pick<KeysVerifiedAhead, 'status'> | undefined;
  /** In the key store that the configuration names for them. */
  readonly serviceKeys: readonly ListedServiceKey[];
}

const startedAt = new Date(Date.now() - process.uptime() * 1000).toISOString();
const verifying = 'the records are being verified';

/** What the daemon says where one of its Regions is asked before there are keys. */
export function closedStatus(
  { configuration, keyStores, certificates, audit, waitsFor }: ClosedStatusParts,
  asked: RegionConfiguration,
): Pick<StatusSource, 'health' | 'report'> {
  const required = requiredKeyStores(configuration);
  return {
    health: () => ({ healthy: false, reason: disconnected({ keyStores, required }) ?? verifying }),
    report: () => ({
      ...describeDaemon(configuration, audit),
      ...addressOf(asked, certificates),
      regions: configuration.regions.map((region) => ({
        ...addressOf(region, certificates),
        keyStores: region.keyStores,
      })),
      waitsFor: waitsFor() ?? verifying,
      keyStores: [...keyStores.values()].map((keyStore) => keyStore.status()),
    }),
  };
}

/** Gives what the daemon says where one of its Regions is asked: members about keys and socket are that Region's. */
export function statusSources(parts: StatusParts) {
  const { configuration, keyStores, certificates, regions, audit, intents, upkeep, domainKeys, serviceKeys } = parts;
  const required = requiredKeyStores(configuration);
  return (asked: RegionParts): StatusSource => ({
    health() {
      const reason = ailment({ keyStores, required, audit, intents, dataDir: configuration.dataDir });
      return { healthy: reason === null, reason: reason ?? partlyAway({ keyStores, required }) };
    },
    report() {
      const wrapped = parts.indexes.wrappedUnder();
      return {
        ...describeDaemon(configuration, audit),
        ...describeRegion(asked, certificates),
        keysAtHand: parts.verifiedAhead?.status() ?? null,
        regions: regions.map((region) => ({
          ...describeRegion(region, certificates),
          keyStores: region.configuration.keyStores,
        })),
        roles: parts.roles().all.map(({ arn, maxSessionSeconds }) => ({ arn, maxSessionSeconds })),
        hsms: [...(configuration.hsms?.keys() ?? [])].map((name) => ({
          name,
          clusterId: cloudHsmClusterIdOf(configuration.account, name),
        })),
        customKeyStores: describeCustomKeyStores(asked.directory.customKeyStores),
        upkeep: upkeepSummary(upkeep.report(), upkeep.later(1)),
        openDeletions: openDeletions(regions, domainKeys),
        keyStores: [...keyStores].map(([name, keyStore]) => ({
          ...keyStore.status(),
          ...membersOf(
            keyStore,
            keysOfMembers(name, { domainKeys, serviceKeyStore: configuration.serviceKeyStore, serviceKeys }),
          ),
          ...capabilitiesOf(keyStore),
          clusterId: cloudHsmClusterIdOf(configuration.account, name),
          serviceKeys: name === configuration.serviceKeyStore ? serviceKeys : [],
          residency: domainKeys.residencyIn(name),
          domainKeys: domainKeys.of(name).map(({ backingKeyId, state, createdAtMs }) => ({
            backingKeyId,
            state,
            createdAt: new Date(createdAtMs).toISOString(),
            backingKeys: wrapped.get(`${name} ${backingKeyId}`) ?? 0,
          })),
          domain: domainKeys.domainOf(name),
          rewrapping: parts.rewrapping.status(name),
        })),
      };
    },
    async key(text) {
      const keyId = parseKeyId(text);
      const key = keyId === undefined ? undefined : await whenVerified(() => asked.directory.findKey(keyId));
      if (key === undefined) return undefined;
      const backingKeys = await Promise.all(
        [...key.backingKeys.values()].map(async ({ record: { wrappedKey, ...record }, keyStore, reference }) => ({
          ...record,
          ...(wrappedKey === null ? {} : { wrappedBytes: wrappedKey.length }),
          current: record.backingKeyId === key.record.currentBackingKeyId,
          hsm: await attributesOf(keyStore, reference),
        })),
      );
      return { keyId: key.record.keyId, arn: key.arn, backingKeys };
    },
  });
}

/** Deleted keys that an old copy of the metadata, beside the HSM as it is, still has. */
function openDeletions(regions: readonly RegionParts[], domainKeys: Pick<DomainKeys, 'isThere'>): number {
  const open = ({ directory }: RegionParts): number => directory.tombstones.countOf((id) => domainKeys.isThere(id));
  return regions.reduce((sum, region) => sum + open(region), 0);
}

function describeDaemon({ account, dataDir, audit: { folder, sync } }: Configuration, audit: AuditLog) {
  return {
    version,
    pid: process.pid,
    startedAt,
    account,
    dataDir,
    memoryBytes: process.memoryUsage.rss(),
    audit: { folder, sync, ...audit.head() },
  };
}

type Certificates = ClosedStatusParts['certificates'];

function describeRegion({ configuration, directory }: RegionParts, certificates: Certificates) {
  return { ...addressOf(configuration, certificates), ...directory.counts() };
}

function addressOf({ region, socket }: RegionConfiguration, certificates: Certificates) {
  return { region, socket: socket.path, tls: certificates.describe(region) };
}

/** Those of the Region that CreateCustomKeyStore made. */
function describeCustomKeyStores(stores: KeyView['customKeyStores']): readonly object[] {
  return stores.ids.page(undefined, stores.ids.size).names.map((id) => {
    const record = stores.record(id);
    return {
      customKeyStoreId: id,
      customKeyStoreName: record?.name,
      clusterId: record?.cloudHsmClusterId,
      hsm: record === undefined ? undefined : stores.hsm(record.cloudHsmClusterId)?.name,
      connectionState: stores.connectionState(id),
      connectionErrorCode: record?.connectionErrorCode ?? null,
      token: stores.keyStore(id)?.status(),
    };
  });
}

/** Of a key store of several, with what each of them lacks of the domain; `null` where that is not known. */
function membersOf(keyStore: KeyStore, keys: readonly BackingKeyId[]): { readonly members?: readonly object[] } {
  if (!(keyStore instanceof JoinedKeyStore)) return {};
  const members = keyStore.members.map((member) => ({
    ...{ ...member.status(), hasLeft: keyStore.isGone(member), lacks: lackedBy(member, keys) },
  }));
  return { members };
}

/** Of one that was never connected, or is away, nothing is known. */
function capabilitiesOf(keyStore: Pick<KeyStore, 'capabilities'>): Partial<KeyStoreCapabilities> {
  try {
    return keyStore.capabilities();
  } catch (error) {
    if (error instanceof KeyStoreError) return {};
    throw error;
  }
}

async function attributesOf(
  keyStore: Pick<KeyStore, 'describeKey'>,
  reference: Parameters<KeyStore['describeKey']>[0],
) {
  try {
    return await keyStore.describeKey(reference);
  } catch (error) {
    if (error instanceof KeyStoreError) return { failure: error.failure, message: error.message };
    throw error;
  }
}
