/**
 * Fills the metadata of an instance with KMS keys that nobody created: as many records as so many keys have, with genuine
 * MACs, in a few seconds. For measurements and tests; the instance must not be running.
 *
 * A backing key is one object of the token, and its id is the record's name, so keys cannot share one. A token with 100,000
 * objects is another measurement, and SoftHSM2 has no such. Therefore the material of the keys made here is on record, `Active`, and
 * not in the token: they can be listed, described and changed, and their policies and grants decide; to use one fails as
 * after the loss of its object. At start the census finds them missing.
 *
 * Every tenth key has a policy of its own, every other one an alias, every fifth a grant and tags; the rest is as CreateKey
 * leaves it. The keys differ in nothing else, and the same count makes the same kinds of keys in the same order.
 */

import { join } from 'node:path';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { openStore } from '../../src/daemon/data-folder.ts';
import { createLog } from '../../src/daemon/log.ts';
import { type GrantPrincipal, newGrantId } from '../../src/kms/grant-terms.ts';
import { type AliasName, newBackingKeyId, newKeyId, type Realm, rootArn } from '../../src/kms/names.ts';
import { added, type Change } from '../../src/store/records/changes.ts';
import { inToken } from '../../src/store/records/records.ts';
import { Turns } from '../../src/store/turns.ts';

/** Keys that are written in one transaction. */
const keysPerTurn = 500;

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
  const { store, useServiceKey } = await openStore({ dataDir, region });
  opened.defer(() => store.close());
  const keyStore = await openConfiguredKeyStore(serviceKeyStore, keyStores, process.env, createLog('warn'));
  opened.defer(() => keyStore.close());
  await useServiceKey(keyStore);
  const turns = new Turns(store);
  const made = { keys: keyCount, aliases: 0, grants: 0, records: 0 };
  for (let first = 0; first < keyCount; first += keysPerTurn) {
    const count = Math.min(keysPerTurn, keyCount - first);
    const changes = Array.from({ length: count }, (_, index) =>
      recordsOf(first + index, { region, account }, defaultKeyStore),
    ).flat();
    await turns.take(() => ({ changes, response: undefined }), { isPatient: true });
    for (const change of changes) {
      made.records++;
      if ('put' in change && change.put === 'alias') made.aliases++;
      if ('put' in change && change.put === 'grant') made.grants++;
    }
    progress(first + count);
  }
  return made;
}

/** What is on record of the key of this number. */
function recordsOf(number: number, realm: Realm, keyStore: string): readonly Change[] {
  const { region, account } = realm;
  const [keyId, backingKeyId, createdAtMs] = [newKeyId(), newBackingKeyId(), Date.now()];
  const document = number % 10 === 0 ? ownPolicy(realm, number) : defaultKeyPolicy(realm);
  const changes: Change[] = [
    added('backingKey', {
      ...{ backingKeyId, version: 1, keyId, regions: region, keyStore, residency: 'token' },
      ...{ state: 'Active', owner: '', ordinal: 1 },
      ...{ createdAtMs, reservedEncryptions: 0, publicKey: null, rotationType: null, rotatedAtMs: null },
      ...{ importedMaterialId: '', materialDescription: '', validToMs: null, ...inToken },
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
