/** What a running daemon says about itself; `http/status-routes.ts` decides who may hear it. */

import type { AuditLog } from '../audit/audit-log.ts';
import type { Configuration } from '../config/configuration-schema.ts';
import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import type { StatusSource } from '../http/status-routes.ts';
import type { KeyView } from '../keys/key-directory.ts';
import { parseKeyId } from '../kms/names.ts';
import { version } from './version.ts';

export interface StatusParts {
  readonly configuration: Configuration;
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly directory: KeyView;
  readonly audit: AuditLog;
}

export function statusSource({ configuration, keyStores, directory, audit }: StatusParts): StatusSource {
  const startedAt = new Date().toISOString();
  return {
    health() {
      for (const [name, keyStore] of keyStores) {
        const { state } = keyStore.status();
        if (state !== 'connected') return { healthy: false, reason: `key store ${name} is ${state}` };
      }
      const auditFailure = audit.failure();
      return { healthy: auditFailure === null, reason: auditFailure };
    },
    report() {
      const { region, account, dataDir, socket } = configuration;
      return {
        version,
        pid: process.pid,
        startedAt,
        region,
        account,
        dataDir,
        socket: socket.path,
        memoryBytes: process.memoryUsage.rss(),
        ...directory.counts(),
        audit: { folder: configuration.audit.folder, sync: configuration.audit.sync, ...audit.head() },
        keyStores: [...keyStores.values()].map((keyStore) => ({ ...keyStore.status(), ...keyStore.capabilities() })),
      };
    },
    async key(text) {
      const keyId = parseKeyId(text);
      const key = keyId === undefined ? undefined : directory.findKey(keyId);
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
  };
}

async function attributesOf(keyStore: KeyStore, backingKeyId: Parameters<KeyStore['describeKey']>[0]['backingKeyId']) {
  try {
    return await keyStore.describeKey({ backingKeyId });
  } catch (error) {
    if (error instanceof KeyStoreError) return { failure: error.failure, message: error.message };
    throw error;
  }
}
