/**
 * Fills the metadata of an instance with KMS keys that nobody created: as many records as so many keys have, with genuine
 * MACs, a hundred thousand keys in some ten seconds. For measurements and tests; the instance must not be running.
 *
 * Where the instance has a wrapped key, all that are made here have its material, each under an id of its own: wrapping says nothing of
 * whose a key is, so each can be used. Otherwise their material is on record, `Active`, and not in the token, since a backing key is one
 * object of the token and its id is the record's name: such keys can be listed, described and changed, and their policies and grants
 * decide; to use one fails as after the loss of its object. At start the census finds them missing.
 *
 * Every tenth key has a policy of its own, every other one an alias, every fifth a grant and tags; the rest is as CreateKey
 * leaves it. The keys differ in nothing else, and the same count makes the same kinds of keys in the same order.
 *
 * The rows are written past `Turns` and `MetadataStore`, which compile and look at each one by itself, in the way in which they do:
 * with the same statements, MACs by the HSM, and a root over all.
 */

import { join } from 'node:path';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { metadataPath, openStore } from '../../src/daemon/data-folder.ts';
import { createLog } from '../../src/daemon/log.ts';
import { type GrantPrincipal, newGrantId } from '../../src/kms/grant-terms.ts';
import { type AliasName, newBackingKeyId, newKeyId, type Realm, rootArn } from '../../src/kms/names.ts';
import { FilledFile } from '../../src/store/filled-file.ts';
import type { RecordMacs } from '../../src/store/metadata-store.ts';
import { derivedKeyInput } from '../../src/store/record-mac.ts';
import { added, type Change } from '../../src/store/records/changes.ts';
import { type BackingKeyRecord, inToken } from '../../src/store/records/records.ts';

/** Keys whose MACs are computed together, while the records of as many others are made. */
const keysAtOnce = 2000;

export interface FilledStore {
  readonly keys: number;
  readonly aliases: number;
  readonly grants: number;
  readonly records: number;
}

/**
 * @param dir The folder of a `drawbridge dev` instance that has been started once.
 * @param progress Is told how many keys there are by now.
 */
export async function fillStore(
  dir: string,
  keyCount: number,
  progress: (keys: number) => void = () => undefined,
): Promise<FilledStore> {
  const configuration = await loadConfiguration(join(dir, 'drawbridge.yaml'));
  const { dataDir, account, serviceKeyStore, keyStores } = configuration;
  const [{ region, defaultKeyStore }] = configuration.regions;
  await using opened = new AsyncDisposableStack();
  const keyStore = await openConfiguredKeyStore(serviceKeyStore, keyStores, process.env, createLog('warn'));
  opened.defer(() => keyStore.close());
  const { store, useServiceKey } = await openStore({ dataDir, region });
  let example: BackingKeyRecord | undefined;
  let serviceKeys: Map<string, NonNullable<ReturnType<typeof store.serviceKey>>>;
  const { nodeId } = store;
  try {
    await useServiceKey(keyStore);
    example = (await store.load()).backingKey.find(
      ({ residency, state }) => residency === 'wrapped' && state === 'Active',
    );
    const purposes = ['metadata-integrity', 'access-key-encryption', 'session-credentials'] as const;
    serviceKeys = new Map(
      purposes.flatMap((purpose) => {
        const id = store.serviceKey(purpose);
        return id === undefined ? [] : [[purpose, id] as const];
      }),
    );
  } finally {
    await store.close();
  }
  const backingKeyId = serviceKeys.get('metadata-integrity');
  if (backingKeyId === undefined) throw new Error('the instance was never started');
  const macs: RecordMacs = (messages) => keyStore.macs({ backingKeyId, algorithm: 'HMAC_SHA_256', messages });
  using file = new FilledFile(metadataPath(dataDir), macs);
  const made = { keys: keyCount, aliases: 0, grants: 0, records: 0 };
  let before: Promise<void> = Promise.resolve();
  for (let first = 0; first < keyCount; first += keysAtOnce) {
    const count = Math.min(keysAtOnce, keyCount - first);
    const changes = Array.from({ length: count }, (_, index) =>
      recordsOf(first + index, { region, account }, { keyStore: defaultKeyStore, example }),
    ).flat();
    await before;
    before = file.put(changes);
    before.catch(() => undefined); // It is waited for.
    for (const change of changes) {
      made.records++;
      if ('put' in change && change.put === 'alias') made.aliases++;
      if ('put' in change && change.put === 'grant') made.grants++;
    }
    progress(first + count);
  }
  await before;
  const [key] = await macs([derivedKeyInput('metadata-root')]);
  if (key === undefined) throw new Error('the HSM derived no key');
  file.sign(key, { nodeId, serviceKeys });
  return made;
}

/** What is on record of the key of this number. */
function recordsOf(
  number: number,
  realm: Realm,
  { keyStore, example }: { readonly keyStore: string; readonly example: BackingKeyRecord | undefined },
): readonly Change[] {
  const { region, account } = realm;
  const [keyId, backingKeyId, createdAtMs] = [newKeyId(), newBackingKeyId(), Date.now()];
  const document = number % 10 === 0 ? ownPolicy(realm, number) : defaultKeyPolicy(realm);
  const changes: Change[] = [
    added('backingKey', {
      ...{ backingKeyId, version: 1, keyId, regions: region, keyStore, residency: 'token' },
      ...{ state: 'Active', owner: '', ordinal: 1 },
      ...{ createdAtMs, reservedEncryptions: 0, publicKey: null, rotationType: null, rotatedAtMs: null },
      ...{ importedMaterialId: '', materialDescription: '', validToMs: null, ...inToken, ...materialOf(example) },
    }),
    added('key', {
      ...{ region, keyId, version: 1, state: 'Enabled', keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' },
      ...{ origin: 'AWS_KMS', keyManager: 'CUSTOMER', description: `key number ${number}`, createdAtMs },
      ...{
        currentBackingKeyId: backingKeyId,
        deletionDateMs: null,
        rotationPeriodDays: null,
        nextRotationDateMs: null,
        primaryRegion: '',
        deletionWindowDays: null,
      },
      tags: number % 5 === 0 ? [{ TagKey: 'Department', TagValue: `department-${number % 100}` }] : [],
    }),
    added('keyPolicy', { region, keyId, version: 1, document }),
  ];
  if (number % 2 === 0) {
    const aliasName = `alias/filled/${number}` as AliasName; // Of characters that an alias has.
    changes.push(added('alias', { region, aliasName, version: 1, keyId, createdAtMs, updatedAtMs: createdAtMs }));
  }
  if (number % 5 === 0) {
    changes.push(
      added('grant', {
        ...{ region, version: 1, grantId: newGrantId(), keyId, name: '', issuingAccount: account, createdAtMs },
        ...{ grantee: userOf(realm, number % 100), retiring: userOf(realm, 100), operations: ['Encrypt', 'Decrypt'] },
        constraints: { EncryptionContextSubset: { tenant: `tenant-${number}` } },
      }),
    );
  }
  return changes;
}

/** What says where material lives, of a wrapped key. */
function materialOf(example: BackingKeyRecord | undefined): Partial<BackingKeyRecord> {
  if (example === undefined) return {};
  const { keyStore, residency, wrappedKey, domainKeyId, wrappedKeySpec, wrappedKeyUsage } = example;
  return { keyStore, residency, wrappedKey, domainKeyId, wrappedKeySpec, wrappedKeyUsage };
}

function userOf({ account }: Realm, number: number): GrantPrincipal {
  return `arn:aws:iam::${account}:user/unix/user-${number}` as GrantPrincipal; // The ARN of a principal.
}

function ownPolicy(realm: Realm, number: number): string {
  const allow = (AWS: string, Action: string | readonly string[]) => ({
    ...{ Effect: 'Allow', Principal: { AWS }, Action, Resource: '*' },
  });
  return JSON.stringify({
    Version: '2012-10-17',
    Id: `policy-${number}`,
    Statement: [
      allow(rootArn(realm), 'kms:*'),
      {
        ...allow(userOf(realm, number % 100), ['kms:Encrypt', 'kms:Decrypt', 'kms:GenerateDataKey*']),
        Condition: { StringEquals: { 'kms:EncryptionContext:tenant': `tenant-${number}` } },
      },
    ],
  });
}
