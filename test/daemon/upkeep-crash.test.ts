/** `kill -9` at every step of a deletion: at the next start it is gone on with, or has not begun; and no object is left over. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { added } from '../../src/store/records/changes.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { newGrant } from '../end-to-end/support/grants.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { steps } from './killed-in-deletion.ts';
import { createUpkeptInstance, type UpkeptInstance } from './upkept-instance.ts';

const hourMs = 60 * 60 * 1000;
const child = fileURLToPath(new URL('killed-in-deletion.ts', import.meta.url));
if (softHsm2.missing !== null) process.stdout.write(`skipped: a daemon that is killed: ${softHsm2.missing}\n`);

describe.skipIf(softHsm2.missing !== null)('A daemon that is killed while it deletes a key', () => {
  let token: TestToken;
  let instance: UpkeptInstance;
  beforeAll(async () => {
    token = softHsm2.create();
    instance = await createUpkeptInstance(token);
  });
  afterAll(async () => {
    await instance.remove();
    token.remove();
  });

  /** A key with two backing keys, an alias and a grant, that is pending deletion. */
  async function pendingKey(): Promise<string> {
    const running = await instance.start(new SetClocks());
    const { kms } = running;
    const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
    await kms.createAlias({ AliasName: 'alias/going', TargetKeyId: KeyId });
    await newGrant(kms, KeyId, { Operations: ['Decrypt'] });
    await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await running.stop();
    const backingKeyId = newBackingKeyId();
    const label = `drawbridge:${KeyId}:2`;
    await instance.keyStore.generateKey({
      ...{ backingKeyId, label, keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' },
    });
    await instance.records(({ backingKey }) => {
      const first = present(backingKey.find(({ keyId }) => keyId === KeyId));
      return [added('backingKey', { ...first, version: 1, backingKeyId, ordinal: 2 })];
    });
    return KeyId;
  }

  test.each(steps)('%s', async (step) => {
    const others = await instance.objects();
    const KeyId = await pendingKey();
    const { signal, stderr } = spawnSync(process.execPath, [child, instance.configurationFile, step], {
      encoding: 'utf8',
    });
    expect([signal, stderr]).toEqual(['SIGKILL', '']);

    const clocks = new SetClocks({ wallMs: Date.now() + 8 * 24 * hourMs, bootMs: 1_000 });
    const running = await instance.start(clocks);
    try {
      const { kms } = running;
      if (step === 'before the turn that begins it') {
        await clocks.pass(24 * hourMs - 1_000);
        expect((await kms.describeKey({ KeyId })).KeyMetadata?.KeyState).toBe('PendingDeletion');
        expect((await kms.listAliases({ KeyId })).Aliases).toHaveLength(1);
        expect(await instance.objects()).toHaveLength(others.length + 2);
        await clocks.pass(60_000);
      }
      await clocks.settled();
      expect((await refusal(kms.describeKey({ KeyId }))).name).toBe('NotFoundException');
      expect((await kms.listAliases({})).Aliases).toEqual([]);
      expect(await instance.objects()).toEqual(others);
    } finally {
      await running.stop();
    }
    const events = (await instance.events('DeleteKey')).filter(({ serviceEventDetails }) =>
      JSON.stringify(serviceEventDetails).includes(KeyId),
    );
    const isAfterEvent = step === 'in the transaction that removes the records, after the event';
    expect(events).toHaveLength(isAfterEvent ? 2 : 1);
    const records = await instance.records();
    expect(records.tombstone.filter(({ keyId }) => keyId === KeyId)).toHaveLength(1);
    for (const kind of ['key', 'keyPolicy', 'backingKey', 'alias', 'grant'] as const) expect(records[kind]).toEqual([]);
  });
});
