/** The deletion of KMS keys when their time has come: a real daemon over real tokens, whose clocks the test sets. */

import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { newGrant } from '../end-to-end/support/grants.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { describeEachToken } from '../support/tokens.ts';
import { account, createUpkeptInstance, type Running, region, type UpkeptInstance } from './upkept-instance.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

const dayMs = 24 * 60 * 60 * 1000;
const Plaintext = Buffer.from('to be lost');

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
    const notFound = {
      name: 'NotFoundException',
      message: `Key 'arn:aws:kms:${region}:${account}:key/${KeyId}' does not exist`,
    };
    expect(await refusal(kms.describeKey({ KeyId }))).toMatchObject(notFound);
    expect(await refusal(kms.cancelKeyDeletion({ KeyId }))).toMatchObject(notFound);
    expect((await refusal(kms.decrypt({ CiphertextBlob: present(CiphertextBlob) }))).name).toMatch(
      /NotFound|AccessDenied|InvalidCiphertext/,
    );
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
      resources: [{ accountId: account, type: 'AWS::KMS::Key', ARN: `arn:aws:kms:${region}:${account}:key/${KeyId}` }],
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
});
