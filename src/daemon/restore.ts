/**
 * Gives a backup of the metadata back, or tries whether it could be.
 *
 * The order is such that nothing is in the data folder before everything is known: the HSM has the service key with which the backup was
 * made, the file is what was made with it, each record in it verifies, the configuration serves them, and every backing key is used
 * once, but for those in key stores that are away (`restored-key-stores.ts`), which are named. Then the audit log gets a line that says which state of the records is in force again and who said so (`accept-metadata.ts`),
 * and the database, which was accepted beside the data folder's own, takes its place: one step, before which there is no metadata, and
 * the next try begins anew.
 */

import { hash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuditHead } from '../audit/audit-log.ts';
import { auditLogPath, openAuditLog } from '../audit/open-audit-log.ts';
import { placeText } from '../audit/place.ts';
import type { Configuration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import type { PasswordVault } from '../keys/custom-key-store.ts';
import { assertServiceKey } from '../keys/life/service-keys.ts';
import { withoutIntents } from '../keys/life/unfinished.ts';
import { namesRegion } from '../keys/regions-of-material.ts';
import { type CensusProblem, type CountedKey, type Orphan, orphansIn, proveKeys } from '../keys/use/key-census.ts';
import type { Logger } from '../kms/logger.ts';
import type { BackupHeader, OpenBackup } from '../store/backup-file.ts';
import { inLists } from '../store/bounded-map.ts';
import type { LoadedMetadata, StoreStanding } from '../store/metadata-store.ts';
import { derivedKeyInput } from '../store/record-mac.ts';
import { type AcceptedMetadata, acceptMetadata } from './accept-metadata.ts';
import { createDataFolder, metadataPath, openStore } from './data-folder.ts';
import { passwordVault } from './key-store-passwords.ts';
import { placesOfRegions, servingOthers } from './restored-domains.ts';
import { RestoredKeyStores } from './restored-key-stores.ts';
import { assertRecordsAreServed } from './served-records.ts';

export interface Restoration {
  readonly backup: OpenBackup;
  readonly configuration: Configuration;
  readonly environment: NodeJS.ProcessEnv;
  /** Who says so. */
  readonly uid: number;
  readonly log: Logger;
  /** Told now and then how many KMS keys were tried, of how many. */
  readonly progress: (keys: number, total: number) => void;
}

export interface TriedBackup {
  readonly header: BackupHeader;
  /** The hash over the records. */
  readonly state: string;
  readonly keys: number;
  /** Records that do not verify: damaged before the backup was made. */
  readonly quarantined: number;
  readonly proven: number;
  readonly problems: readonly CensusProblem[];
  readonly orphans: readonly Orphan[];
}

const isLeftover = /^restore-[0-9a-f]{16}$/;
/** After so many keys whoever waits is told. */
const keysAtOnce = 64;

/**
 * Everything that `restoreBackup` does, but for giving it back. A daemon may run meanwhile.
 * @throws ConfigurationError when the configuration or the HSM is not that of the backup; StoreError when the file is not what was
 * made; KeyStoreError when the token of the service keys cannot be asked.
 */
export async function tryBackup(restoration: Restoration): Promise<TriedBackup> {
  const folder = await mkdtemp(join(tmpdir(), 'drawbridge-restore-'));
  try {
    return await tryIn(folder, restoration);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * While no daemon runs on the data folder, in which there is no metadata.
 * @throws as `tryBackup`, and AuditError when the audit log that is there cannot be gone on with. Nothing was given back then.
 */
export async function restoreBackup(
  restoration: Restoration,
): Promise<TriedBackup & { readonly accepted: AcceptedMetadata }> {
  const { configuration, environment, uid, log } = restoration;
  const { dataDir } = configuration;
  for (const path of filesOf(dataDir)) {
    if ((await stat(path).catch(() => undefined)) === undefined) continue;
    throw new ConfigurationError(
      `\`${path}\` is there already, and nothing is overwritten; stop the daemon and move the file away, with ${path === metadataPath(dataDir) ? '`metadata.db-wal` if that is there' : 'what else is there of that metadata'}`,
    );
  }
  await createDataFolder(dataDir);
  for (const name of await readdir(dataDir))
    if (isLeftover.test(name)) await rm(join(dataDir, name), { recursive: true, force: true });
  const folder = join(dataDir, `restore-${randomBytes(8).toString('hex')}`);
  await mkdir(folder, { mode: 0o700 });
  try {
    const tried = await tryIn(folder, restoration);
    await beginAuditLog(configuration, tried.header.audit, uid);
    // In force by one step, when all of it is done: what a crash leaves before that is no metadata, and the next try begins anew.
    const extracted = { ...configuration, dataDir: folder };
    const accepted = await acceptMetadata({ configuration: extracted, environment, state: tried.state, uid, log });
    await rename(metadataPath(folder), metadataPath(dataDir));
    return { ...tried, accepted };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** SQLite takes what is beside a database for its own: a log that another one has left would be written into it. */
function filesOf(dataDir: string): readonly string[] {
  return ['', '-wal', '-shm', '-journal'].map((suffix) => `${metadataPath(dataDir)}${suffix}`);
}

async function tryIn(folder: string, restoration: Restoration): Promise<TriedBackup> {
  const { backup, configuration, environment, log, progress } = restoration;
  const { header } = backup;
  assertSameAccount(header, configuration);
  await using opened = new AsyncDisposableStack();
  const keyStores = new RestoredKeyStores({ configuration, environment, log });
  opened.defer(() => keyStores.close());
  const serviceKeyStore = await keyStores.required(configuration.serviceKeyStore);
  await backup.extract(metadataPath(folder), await backupKey(serviceKeyStore, header));
  const { loaded, standing, vault } = await load(folder, configuration, serviceKeyStore);
  assertRecordsAreServed(loaded, configuration);
  const custom = { records: loaded.customKeyStore, vault };
  for (const { keyStore } of loaded.backingKey) await keyStores.open(keyStore, custom);
  for (const keyStore of servingOthers(loaded, configuration)) await keyStores.open(keyStore, custom);
  const census = await takeCensus(loaded, { keyStores, configuration }, progress);
  const { key, quarantined } = loaded;
  return { header, state: standing.treeHash, keys: key.length, quarantined: quarantined.length, ...census };
}

function assertSameAccount({ account }: BackupHeader, configuration: Configuration): void {
  if (account === configuration.account) return;
  throw new ConfigurationError(
    `the backup is of the account ${account}, and the configuration of ${configuration.account}; set \`account: '${account}'\``,
  );
}

/** The key of the file's MAC. @throws ConfigurationError for an HSM in which the backup's service key is not. */
async function backupKey(keyStore: KeyStore, { serviceKey }: BackupHeader): Promise<Buffer> {
  try {
    await assertServiceKey(keyStore, 'metadata-integrity', serviceKey);
  } catch (error) {
    if (!(error instanceof KeyStoreError) || !(error.failure === 'keyUnavailable' || error.failure === 'away'))
      throw error;
    throw new ConfigurationError(
      `${whoLacksIt(keyStore, `the service key \`${serviceKey}\` with which the backup was made`)}; nothing was written. ` +
        'Restore the token from its own backup first, name the right one (`token: { serial: … }`), or have this one join an HSM that has it (`drawbridge domain invite --help`); what its keys have encrypted cannot be decrypted without them',
      { cause: error },
    );
  }
  const messages = [derivedKeyInput('backup')];
  const [key] = await keyStore.macs({ backingKeyId: serviceKey, algorithm: 'HMAC_SHA_256', messages });
  return key as Buffer; // There is one MAC for one message.
}

/** Of several members those that are there lack it, and one that is not may have it. */
function whoLacksIt(keyStore: KeyStore, key: string): string {
  const members = keyStore.status().members ?? [];
  const away = members
    .filter(({ state }) => state !== 'connected')
    .map(
      ({ name, lastFailure }) =>
        `; the member \`${name}\`, which may have it, is away: ${lastFailure ?? 'it is not connected yet'}`,
    );
  const present = members.filter(({ state }) => state === 'connected');
  const tokens = present.length > 0 ? present.map(({ token }) => token) : [keyStore.capabilities().token];
  const named = tokens.flatMap((token) => (token ? [`the token \`${token.label}\`, serial ${token.serial},`] : []));
  const [does, is, its] =
    named.length > 1 ? ['do', 'they are other HSMs', 'their'] : ['does', 'it is another HSM', 'its'];
  return `${named.join(' and ')} ${does} not hold ${key}: ${is}, or ${its} keys are gone${away.join('')}`;
}

async function load(
  folder: string,
  { regions }: Configuration,
  keyStore: KeyStore,
): Promise<{ readonly loaded: LoadedMetadata; readonly standing: StoreStanding; readonly vault: PasswordVault }> {
  const { store, useServiceKey } = await openStore({ dataDir: folder, region: regions[0].region });
  try {
    await useServiceKey(keyStore);
    const loaded = await store.load();
    const sealing = store.serviceKey('access-key-encryption');
    return { loaded, standing: store.standing(), vault: passwordVault({ serviceKey: () => sealing }, keyStore) };
  } finally {
    await store.close();
  }
}

async function takeCensus(
  loaded: LoadedMetadata,
  {
    keyStores: { opened, unopened },
    configuration,
  }: Pick<Restoration, 'configuration'> & { readonly keyStores: Pick<RestoredKeyStores, 'opened' | 'unopened'> },
  progress: Restoration['progress'],
): Promise<Pick<TriedBackup, 'proven' | 'problems' | 'orphans'>> {
  const { key, backingKey, wrappingKey, domainKey, quarantined } = loaded;
  const materials = Map.groupBy(backingKey, ({ keyId }) => keyId);
  const places = placesOfRegions(loaded, configuration, opened);
  const keys = key.map(({ keyId, keySpec, keyUsage, region }): CountedKey => {
    // Imported material of a multi-Region key is on record for each Region by itself.
    const own = (materials.get(keyId) ?? []).filter((each) => namesRegion(each, region));
    return { keySpec, keyUsage, materials: own, placeOf: (each) => places(region, each) };
  });
  const problems: CensusProblem[] = [];
  let proven = 0;
  let tried = 0;
  for (const some of inLists(keys, keysAtOnce)) {
    const part = await proveKeys(some, opened, unopened);
    problems.push(...part.problems);
    proven += part.proven;
    tried += some.length;
    progress(tried, keys.length);
  }
  const named = new Set<string>([
    ...[...backingKey, ...wrappingKey, ...domainKey].map(({ backingKeyId }) => backingKeyId),
    ...quarantined.map(({ id }) => id),
  ]);
  // They are not given back, and what they became is nobody's then.
  for (const { record } of withoutIntents(loaded)) if ('backingKeyId' in record) named.delete(record.backingKeyId);
  const orphans: Orphan[] = [];
  for (const keyStore of opened.values()) orphans.push(...(await orphansIn(keyStore, (id) => named.has(id))));
  return { proven, problems, orphans };
}

/** Where there is no audit log, the new one begins with the statement that the former one, whose head the backup knows, is not here. */
async function beginAuditLog({ audit }: Configuration, noted: AuditHead | null, uid: number): Promise<void> {
  if (noted === null || noted.bytes === 0) return;
  if ((await stat(auditLogPath(audit.folder)).catch(() => undefined)) !== undefined) return;
  const missing = { sequence: noted.sequence, hash: noted.hash };
  const accepted = {
    place: placeText({ line: 1, offset: 0, missing }),
    what: 'the audit log is not here: the metadata was restored from a backup without it',
    ...{ offset: 0, bytes: 0, sha256: hash('sha256', ''), missing, by: { uid } },
  };
  const log = await openAuditLog({ folder: audit.folder, sync: 'always', accepting: { accepted } });
  await log.close();
}
