/**
 * An operator's word on records that are not those which were written last, or not those of which the audit log tells: a backup that
 * he has put back, or what somebody did to the file.
 *
 * The log has it first, as a line that names the state and the epoch with which it goes on; then the records are signed as
 * they are, and with them the head of the log. A crash between the two leaves them refused as before, and this is done again. It takes the
 * HSM, which verifies each record by itself as ever: what was edited inside is named by the next start, and not used.
 *
 * With it go the intents of creations that were under way when the records were copied: a start would undo them, and destroy
 * in the HSM what they have become since.
 */

import { openAuditLog } from '../audit/open-audit-log.ts';
import type { Configuration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { assertPinsArePrivate } from '../config/secrets.ts';
import { withoutIntents } from '../keys/life/unfinished.ts';
import type { Logger } from '../kms/logger.ts';
import { openConfiguredKeyStore } from './configured-key-stores.ts';
import { hasMetadata, noMetadata, openStore } from './data-folder.ts';

export interface MetadataAcceptance {
  readonly configuration: Configuration;
  readonly environment: NodeJS.ProcessEnv;
  /** As a start named it: the first 16 digits, at least, of the hash over the records. */
  readonly state: string;
  /** Who accepts it. */
  readonly uid: number;
  readonly log: Logger;
}

export interface AcceptedMetadata {
  /** With which it goes on. */
  readonly epoch: number;
  /** The hash over the records. */
  readonly state: string;
  readonly keys: number;
  readonly quarantined: number;
  /** Intents of creations that were dropped; an object that one of them became is left in the HSM. */
  readonly droppedIntents: number;
}

/**
 * While no daemon runs on the folder.
 * @throws StoreError `altered` when the records are in another state than that, or the schema is not ours; AuditError when the log
 * cannot be gone on with; and what opening the key store of the service keys rejects with.
 */
export async function acceptMetadata(acceptance: MetadataAcceptance): Promise<AcceptedMetadata> {
  const { configuration, environment, state, uid, log } = acceptance;
  const { dataDir, regions, keyStores, serviceKeyStore, audit: auditOptions, budgets } = configuration;
  if (!(await hasMetadata(dataDir))) throw noMetadata(dataDir);
  const settings = keyStores.get(serviceKeyStore);
  if (settings === undefined) throw new ConfigurationError(`the key store \`${serviceKeyStore}\` is not configured`);
  await assertPinsArePrivate(settings, environment);
  await using opened = new AsyncDisposableStack();
  const { store, useServiceKey } = await openStore({ dataDir, region: regions[0].region });
  opened.defer(() => store.close());
  const keyStore = await openConfiguredKeyStore(serviceKeyStore, keyStores, environment, log);
  opened.defer(() => keyStore.close());
  await useServiceKey(keyStore);
  const loaded = await store.load(undefined, { acceptedState: state });
  const { epoch: found, treeHash, intentId, audit: noted } = store.standingAtLoad();
  const { reserveBytes } = budgets.audit;
  const audit = await openAuditLog({ ...auditOptions, reserveBytes, noted: noted ?? undefined, log });
  opened.defer(() => audit.close());
  const epoch = Math.max(found, audit.changesAtOpening().store?.epoch ?? 0) + 1;
  const metadataAccepted = { epoch, records: treeHash, intentId, by: { uid } };
  await audit.append({ statement: { metadataAccepted }, eventAtMs: Date.now() }, 'synced');
  store.noteAuditHead(audit.syncedHead());
  const dropped = withoutIntents(loaded);
  await store.accept(epoch, dropped);
  const { key, quarantined } = loaded;
  const counts = { keys: key.length, quarantined: quarantined.length, droppedIntents: dropped.length };
  return { epoch, state: treeHash, ...counts };
}
