/** What a running daemon says about itself; `http/status-routes.ts` decides who may hear it. */

import type { AuditLog } from '../audit/audit-log.ts';
import type { Configuration, RegionConfiguration } from '../config/configuration-schema.ts';
import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import type { StatusSource } from '../http/status-routes.ts';
import type { KeyView } from '../keys/key-directory.ts';
import type { ListedServiceKey } from '../keys/life/service-keys.ts';
import { parseKeyId } from '../kms/names.ts';
import type { Upkeep } from './upkeep/upkeep.ts';
import { upkeepSummary } from './upkeep/upkeep-report.ts';
import { version } from './version.ts';

/** A Region as the status tells of it. */
export interface RegionParts {
  readonly configuration: RegionConfiguration;
  readonly directory: KeyView;
}

export interface StatusParts {
  readonly configuration: Configuration;
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly regions: readonly RegionParts[];
  readonly audit: AuditLog;
  readonly upkeep: Pick<Upkeep, 'report'>;
  /** In the key store that the configuration names for them. */
  readonly serviceKeys: readonly ListedServiceKey[];
}

/** Gives what the daemon says where one of its Regions is asked: members about keys and socket are that Region's. */
export function statusSources({ configuration, keyStores, regions, audit, upkeep, serviceKeys }: StatusParts) {
  const startedAt = new Date().toISOString();
  return (asked: RegionParts): StatusSource => ({
    health() {
      for (const [name, keyStore] of keyStores) {
        const { state } = keyStore.status();
        if (state !== 'connected') return { healthy: false, reason: `key store ${name} is ${state}` };
      }
      const auditFailure = audit.failure();
      return { healthy: auditFailure === null, reason: auditFailure };
    },
    report() {
      const { account, dataDir } = configuration;
      return {
        version,
        pid: process.pid,
        startedAt,
        account,
        dataDir,
        memoryBytes: process.memoryUsage.rss(),
        ...describeRegion(asked),
        regions: regions.map((region) => ({ ...describeRegion(region), keyStores: region.configuration.keyStores })),
        audit: { folder: configuration.audit.folder, sync: configuration.audit.sync, ...audit.head() },
        upkeep: upkeepSummary(upkeep.report()),
        keyStores: [...keyStores].map(([name, keyStore]) => ({
          ...keyStore.status(),
          ...keyStore.capabilities(),
          serviceKeys: name === configuration.serviceKeyStore ? serviceKeys : [],
        })),
      };
    },
    async key(text) {
      const keyId = parseKeyId(text);
      const key = keyId === undefined ? undefined : asked.directory.findKey(keyId);
      if (key === undefined) return undefined;
      const backingKeys = await Promise.all(
        [...key.backingKeys.values()].map(async ({ record, keyStore }) => ({
          ...record,
          current: record.backingKeyId === key.record.currentBackingKeyId,
          hsm: await attributesOf(keyStore, record.backingKeyId),
        })),
      );
      return { keyId: key.record.keyId, arn: key.arn, backingKeys };
    },
  });
}

function describeRegion({ configuration: { region, socket }, directory }: RegionParts) {
  return { region, socket: socket.path, ...directory.counts() };
}

async function attributesOf(
  keyStore: Pick<KeyStore, 'describeKey'>,
  backingKeyId: Parameters<KeyStore['describeKey']>[0]['backingKeyId'],
) {
  try {
    return await keyStore.describeKey({ backingKeyId });
  } catch (error) {
    if (error instanceof KeyStoreError) return { failure: error.failure, message: error.message };
    throw error;
  }
}
