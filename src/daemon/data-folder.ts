/**
 * The data folder and the metadata store in it: made once by `init`, opened by every start.
 *
 * The store's lock is the folder's lock: a second daemon on the same folder is refused when it opens the store, before it
 * touches the token. The service key whose MACs protect the records is made in the HSM and named in the store by `init`
 * alone. A daemon never makes one: a store that has lost it, or a folder without a store next to a token with our keys,
 * is a folder that was not restored completely, and going on with a fresh key would hide that.
 */

import type { Stats } from 'node:fs';
import { chmod, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigurationError } from '../config/load.ts';
import { assertPrivate } from '../config/secrets.ts';
import type { KeyStore } from '../hsm/key-store.ts';
import { assertServiceKey, createServiceKey, findServiceKeys } from '../keys/life/service-keys.ts';
import type { BackingKeyId } from '../kms/names.ts';
import { makeFolder } from '../secrets/make-folder.ts';
import type { RecordMacs } from '../store/metadata-store.ts';
import { type NamedKeys, readNamedKeys } from '../store/named-keys.ts';
import { openSqliteStore, type SqliteStore } from '../store/sqlite-store.ts';
import { assertTokenIsOurs, keysLookedFor } from './own-token.ts';

const purpose = 'metadata-integrity';

/** A store whose MACs are computed by the HSM as soon as `useServiceKey` has said by which key. */
export interface OpenStore {
  readonly store: SqliteStore;
  /** Binds the MAC to the service key that the store names, after making sure that it is one. */
  useServiceKey(keyStore: KeyStore): Promise<void>;
}

export function metadataPath(dataDir: string): string {
  return join(dataDir, 'metadata.db');
}

export async function hasMetadata(dataDir: string): Promise<boolean> {
  return (await statOrUndefined(metadataPath(dataDir))) !== undefined;
}

/** Where the metadata is. */
export interface Place {
  readonly dataDir: string;
  /** The Region of what former versions wrote, which knew one and did not put it on record. */
  readonly region: string;
  /** Where the audit log is, of a daemon that writes changes. */
  readonly auditFolder?: string | undefined;
}

/** Opens (or creates) the store in the folder, and so locks the folder. */
export async function openStore({ dataDir, region, auditFolder }: Place): Promise<OpenStore> {
  const folder = await stat(dataDir);
  assertPrivate(dataDir, folder);
  let macs: RecordMacs = () =>
    Promise.reject(new Error('the metadata store was used before its service key was known'));
  const store = await openSqliteStore({
    path: metadataPath(dataDir),
    macs: (messages) => macs(messages),
    formerRegion: region,
    intentsFolder: auditFolder,
  });
  return {
    store,
    async useServiceKey(keyStore) {
      const backingKeyId = store.serviceKey(purpose);
      if (backingKeyId === undefined) {
        throw neverInitialised(dataDir);
      }
      await assertTokenIsOurs(keyStore, dataDir, [backingKeyId], true);
      await assertServiceKey(keyStore, purpose, backingKeyId);
      macs = (messages) => keyStore.macs({ backingKeyId, algorithm: 'HMAC_SHA_256', messages });
    },
  };
}

/**
 * Which keys the metadata in this folder names: read without the HSM, to look and not to rely on.
 * @throws ConfigurationError when there is none; StoreError, `locked` while a daemon uses it.
 */
export async function namedKeys(
  dataDir: string,
): Promise<NamedKeys & { readonly serviceKey: NonNullable<NamedKeys['serviceKey']> }> {
  if (!(await hasMetadata(dataDir))) throw noMetadata(dataDir);
  const named = readNamedKeys(metadataPath(dataDir), purpose, keysLookedFor);
  const { serviceKey } = named;
  if (serviceKey === undefined) throw neverInitialised(dataDir);
  return { ...named, serviceKey };
}

export function noMetadata(dataDir: string): ConfigurationError {
  return new ConfigurationError(
    `\`${dataDir}\` has no metadata; make an instance with \`drawbridge init\`, or give a backup back with \`drawbridge restore\``,
  );
}

function neverInitialised(dataDir: string): ConfigurationError {
  return new ConfigurationError(
    `the metadata in \`${dataDir}\` names no service key, so it was never completely initialised; run \`drawbridge init\` again`,
  );
}

/** Makes the data folder, private to this user. */
export async function createDataFolder(dataDir: string): Promise<void> {
  const existing = await statOrUndefined(dataDir);
  if (existing !== undefined) return assertPrivate(dataDir, existing);
  await makeFolder(dataDir, 0o700);
  await chmod(dataDir, 0o700); // Whatever the umask took away.
}

/**
 * Makes the metadata and its service key. Can be repeated after it was interrupted; never replaces a service key.
 * @throws ConfigurationError when the token has keys of Drawbridge that this folder knows nothing of.
 */
export async function createMetadata(place: Place, keyStore: KeyStore): Promise<void> {
  const { dataDir } = place;
  const { store } = await openStore(place);
  try {
    if (store.serviceKey(purpose) !== undefined) return;
    await assertTokenIsFresh(dataDir, keyStore);
    const backingKeyId: BackingKeyId = await createServiceKey(keyStore, purpose);
    await store.nameServiceKey(purpose, backingKeyId);
  } finally {
    await store.close();
  }
}

/** @throws ConfigurationError, with what to do, when the token already serves another data folder. */
export async function assertTokenIsFresh(dataDir: string, keyStore: KeyStore): Promise<void> {
  const serviceKeys = await findServiceKeys(keyStore, purpose);
  if (serviceKeys.length === 0) return;
  const { label } = keyStore.capabilities().token;
  throw new ConfigurationError(
    `the token \`${label}\` holds keys of Drawbridge, but \`${dataDir}\` has no metadata of them; ` +
      `restore the folder from a backup, or choose another token (its service key: ${serviceKeys.join(', ')})`,
  );
}

async function statOrUndefined(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
