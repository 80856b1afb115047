/** The deletion of KMS keys when their time has come: a real daemon over real tokens, whose clocks the test sets. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import { type BackingKeyId, type KeyId, newBackingKeyId, newKeyId, parsePrincipalArn } from '../../src/kms/names.ts';
import { added, type Change } from '../../src/store/records/changes.ts';
import { type BackingKeyRecord, inToken, type KeyRecord } from '../../src/store/records/records.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { newGrant } from '../end-to-end/support/grants.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { describeEachToken } from '../support/tokens.ts';
import { account, createUpkeptInstance, type Running, region, type UpkeptInstance } from './upkept-instance.ts';

const dayMs = 24 * 60 * 60 * 1000;
const Plaintext = Buffer.from('to be lost');
const arnOf = (keyId: string): string => `arn:aws:kms:${region}:${account}:key/${keyId}`;
const notFound = (keyId: string) => ({ name: 'NotFoundException', message: `Key '${arnOf(keyId)}' does not exist` });

describeEachToken('A key whose waiting period is over', (token) => {
  let instance: UpkeptInstance;
  let running: Running;
  let clocks: SetClocks;
  beforeAll(async () => {
    instance = await createUpkeptInstance(token());
    clocks = new SetClocks();
    running = await instance.start(clocks);
  });
  afterAll(async () => {
    await running.stop();
    await instance.remove();
  });

  test('is destroyed in the HSM and goes with its aliases and grants, on record, and nothing of it is left but a tombstone', async () => {
    const { kms } = running;
    const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
    const staying = present((await kms.createKey({})).KeyMetadata?.KeyId);
    await kms.createAlias({ AliasName: 'alias/going', TargetKeyId: KeyId });
    await kms.createAlias({ AliasName: 'alias/staying', TargetKeyId: staying });
    await newGrant(kms, KeyId, { Operations: ['Decrypt'] });
    const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext });
    await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });

    await clocks.pass(7 * dayMs - 60_000);
    expect((await kms.describeKey({ KeyId })).KeyMetadata?.KeyState).toBe('PendingDeletion');
    expect(await instance.objects()).toEqual([`drawbridge:${KeyId}:1`, `drawbridge:${staying}:1`].sort());
    await clocks.pass(120_000);

    expect(await instance.objects()).toEqual([`drawbridge:${staying}:1`]);
    expect(await refusal(kms.describeKey({ KeyId }))).toMatchObject(notFound(KeyId));
    expect(await refusal(kms.cancelKeyDeletion({ KeyId }))).toMatchObject(notFound(KeyId));
    expect(await refusal(kms.decrypt({ KeyId, CiphertextBlob }))).toMatchObject(notFound(KeyId));
    expect(await refusal(kms.encrypt({ KeyId: 'alias/going', Plaintext }))).toMatchObject({
      name: 'NotFoundException',
    });
    expect((await kms.listAliases({})).Aliases?.map(({ AliasName }) => AliasName)).toEqual(['alias/staying']);
    expect((await kms.listKeys({})).Keys?.map((key) => key.KeyId)).toEqual([staying]);
    await kms.createAlias({ AliasName: 'alias/going', TargetKeyId: staying });
    await kms.deleteAlias({ AliasName: 'alias/going' });

    const [event, ...others] = await instance.events('DeleteKey');
    expect(others).toEqual([]);
    expect(event).toMatchObject({
      userIdentity: { accountId: account, invokedBy: 'AWS Internal' },
      eventSource: 'kms.amazonaws.com',
      eventType: 'AwsServiceEvent',
      readOnly: false,
      requestParameters: null,
      resources: [{ accountId: account, type: 'AWS::KMS::Key', ARN: arnOf(KeyId) }],
      recipientAccountId: account,
      serviceEventDetails: { keyId: KeyId },
    });

    await running.stop();
    const records = await instance.records();
    expect(records.tombstone).toMatchObject([{ region, keyId: KeyId }]);
    for (const kind of ['key', 'keyPolicy', 'backingKey', 'alias', 'grant'] as const) {
      expect(records[kind].map(({ keyId }) => keyId).filter((keyId) => keyId !== staying)).toEqual([]);
    }
    expect(records.upkeepWait).toEqual([]);
    running = await instance.start(clocks);
    expect((await running.kms.describeKey({ KeyId: staying })).KeyMetadata?.KeyState).toBe('Enabled');
  });

  test('goes with all its material, old and removed, its wrapping keys and its last use; and one without material goes too', async () => {
    await running.stop();
    const before = await instance.objects();
    const pending = { state: 'PendingDeletion', deletionDateMs: clocks.now().wallMs + 7 * dayMs } as const;
    const full: KeyRecord = { ...plainKey(newKeyId()), ...pending };
    const empty: KeyRecord = { ...plainKey(newKeyId()), ...pending, origin: 'EXTERNAL' };
    const [first, second, removed] = [newBackingKeyId(), newBackingKeyId(), newBackingKeyId()];
    const pair = newBackingKeyId();
    const symmetric = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    for (const backingKeyId of [first, second]) {
      await instance.keyStore.generateKey({ backingKeyId, label: `drawbridge:${full.keyId}:x`, ...symmetric });
    }
    const rsa = { keySpec: 'RSA_2048', keyUsage: 'SIGN_VERIFY' } as const;
    await instance.keyStore.generateKey({ backingKeyId: pair, label: `drawbridge:${full.keyId}:pair`, ...rsa });
    const principal = present(parsePrincipalArn(`arn:aws:iam::${account}:root`));
    await instance.records(() => [
      added('key', { ...full, currentBackingKeyId: second }),
      added('keyPolicy', {
        region,
        keyId: full.keyId,
        version: 1,
        document: defaultKeyPolicy({ account }),
      }),
      added('key', empty),
      added('keyPolicy', {
        region,
        keyId: empty.keyId,
        version: 1,
        document: defaultKeyPolicy({ account }),
      }),
      material(full.keyId, first, 1, 'Active'),
      material(full.keyId, second, 2, 'Active'),
      material(full.keyId, removed, 3, 'Removed'),
      added('wrappingKey', {
        ...{
          region,
          version: 1,
          backingKeyId: pair,
          keyId: full.keyId,
          keyStore: 'default',
          state: 'Active',
          owner: '',
        },
        ...{ principal, wrappingAlgorithm: 'RSAES_OAEP_SHA_256', wrappingKeySpec: 'RSA_2048' },
        ...{ createdAtMs: clocks.now().wallMs, validToMs: clocks.now().wallMs + dayMs },
      }),
      added('lastUse', {
        ...{ region, version: 1, keyId: full.keyId, operation: 'Encrypt', usedAtMs: clocks.now().wallMs },
        ...{ requestId: 'a', eventId: 'b' },
      }),
    ]);
    running = await instance.start(clocks);
    expect(await instance.objects()).toHaveLength(before.length + 3);
    await clocks.pass(7 * dayMs);
    expect(await instance.objects()).toEqual(before);
    await running.stop();
    const records = await instance.records();
    const ids: readonly KeyId[] = [full.keyId, empty.keyId];
    for (const kind of ['key', 'keyPolicy', 'backingKey', 'wrappingKey', 'lastUse'] as const) {
      expect(records[kind].filter(({ keyId }) => ids.includes(keyId))).toEqual([]);
    }
    expect(records.tombstone.map(({ keyId }) => keyId)).toEqual(expect.arrayContaining([...ids]));
    running = await instance.start(clocks);
  });

  test('stays while the wall clock is wrong by ten years, forward and back, and goes when its time has really passed', async () => {
    const { kms } = running;
    const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
    await clocks.setWall(Date.now() - clocks.now().wallMs);
    await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    const state = async () => (await kms.describeKey({ KeyId })).KeyMetadata?.KeyState;
    await clocks.settled();
    await clocks.setWall(3650 * dayMs);
    await clocks.pass(6 * dayMs);
    expect(await state()).toBe('PendingDeletion');
    await clocks.setWall(-7300 * dayMs);
    await clocks.pass(2 * dayMs);
    expect(await state()).toBe('PendingDeletion');
    await clocks.setWall(3650 * dayMs);
    expect(await refusal(kms.describeKey({ KeyId }))).toMatchObject(notFound(KeyId));
  });
});

function plainKey(keyId: KeyId): KeyRecord {
  return {
    ...{ region, keyId, version: 1, state: 'Enabled', keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' },
    ...{ origin: 'AWS_KMS', keyManager: 'CUSTOMER', description: '', createdAtMs: 1, currentBackingKeyId: null },
    ...{ tags: [], deletionDateMs: null, rotationPeriodDays: null, nextRotationDateMs: null },
    ...{ primaryRegion: '', deletionWindowDays: null },
  };
}

function material(keyId: KeyId, backingKeyId: BackingKeyId, ordinal: number, state: BackingKeyRecord['state']): Change {
  return added('backingKey', {
    ...{ backingKeyId, version: 1, keyId, regions: region, keyStore: 'default', residency: 'token' },
    ...{ state, owner: '', ordinal },
    ...{ createdAtMs: 1, reservedEncryptions: 0, publicKey: null, rotationType: null, rotatedAtMs: null },
    ...{ importedMaterialId: '', materialDescription: '', validToMs: null, ...inToken },
  });
}
