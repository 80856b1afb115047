/** HSMs that do not come back: how their keys, and a custom key store over one, can be deleted. */

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type KeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { added } from '../../src/store/records/changes.ts';
import { auditLines } from '../end-to-end/support/audit-trail.ts';
import { type CustomHsms, startCustomHsms } from '../end-to-end/support/custom-hsms.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { send } from '../end-to-end/support/wire.ts';
import { missingForShim } from '../support/pkcs11-shim.ts';
import { program } from '../support/program.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { nssSoftoken, softHsm2, type TestToken } from '../support/tokens.ts';
import { InstanceOfStores } from './instance-of-stores.ts';
import { createUpkeptInstance, type UpkeptInstance } from './upkept-instance.ts';

const missing = softHsm2.missing ?? nssSoftoken.missing ?? missingForShim();
if (missing !== null) process.stdout.write(`skipped: the lost HSM of a custom key store: ${missing}\n`);

const dayMs = 24 * 60 * 60 * 1000;

describe.skipIf(missing !== null)('The HSM of a custom key store that is lost for good', () => {
  const clocks = new SetClocks();
  let hsms: CustomHsms;
  let instance: InstanceOfStores;
  let CustomKeyStoreId: string;
  let KeyId: string;

  beforeAll(async () => {
    hsms = await startCustomHsms();
    ({ instance } = hsms);
    instance.clocks = clocks;
    await instance.restart();
    const { kms } = instance;
    CustomKeyStoreId = String((await kms.createCustomKeyStore(hsms.wanted({}))).CustomKeyStoreId);
    await kms.connectCustomKeyStore({ CustomKeyStoreId });
    await hsms.until(CustomKeyStoreId, 'CONNECTED');
    KeyId = String((await kms.createKey({ Origin: 'AWS_CLOUDHSM', CustomKeyStoreId })).KeyMetadata?.KeyId);
    await kms.disconnectCustomKeyStore({ CustomKeyStoreId });
    await hsms.until(CustomKeyStoreId, 'DISCONNECTED');
  });
  afterAll(() => hsms?.remove());

  const drawbridge = async (...words: readonly string[]): Promise<string> =>
    (await promisify(execFile)(process.execPath, [program, ...words, '--socket', instance.socket])).stdout;
  const upkeep = async (): Promise<readonly Record<string, unknown>[]> =>
    JSON.parse(await drawbridge('upkeep', '--json')).work;
  const workOf = (keyId: string): readonly string[] => ['deletion', 'us-east-1', keyId];
  const leave = (keyId: string) => drawbridge('upkeep', 'confirm', '--leave-material', ...workOf(keyId));

  test('keeps its key until an operator says so, who can say it when the waiting period is over', async () => {
    const { kms } = instance;
    await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await clocks.settled();
    await expect(leave(KeyId)).rejects.toThrow(/not due before/);
    await clocks.pass(8 * dayMs);
    const because = `the key store \`${CustomKeyStoreId}\` is not connected; if its HSM is lost for good, \`drawbridge upkeep confirm --leave-material\` has the key deleted and leaves there what is there`;
    expect(await upkeep()).toMatchObject([{ work: workOf(KeyId).join(' '), state: 'late', because }]);
    await drawbridge('upkeep', 'confirm', ...workOf(KeyId));
    await clocks.settled();
    expect((await kms.describeKey({ KeyId })).KeyMetadata?.KeyState).toBe('PendingDeletion');
    expect(await refusal(kms.deleteCustomKeyStore({ CustomKeyStoreId }))).toMatchObject({
      name: 'CustomKeyStoreHasCMKsException',
    });
  });

  test('is left with what is in it, on record, and then the custom key store can be deleted', async () => {
    const { kms } = instance;
    await leave(KeyId);
    await clocks.settled();
    expect(await refusal(kms.describeKey({ KeyId }))).toMatchObject({ name: 'NotFoundException' });
    expect(await upkeep()).toEqual([]);
    const events = auditLines(instance.folder);
    expect(events.findLast(({ eventName }) => eventName === 'ConfirmUpkeep')?.requestParameters).toEqual({
      work: workOf(KeyId).join(' '),
      leaveMaterial: true,
    });
    const { additionalEventData } = events.find(({ eventName }) => eventName === 'DeleteKey') as {
      readonly additionalEventData?: Readonly<Record<string, string>>;
    };
    expect(additionalEventData).toMatchObject({ customKeyStoreId: CustomKeyStoreId });
    const statuses = JSON.parse(additionalEventData?.['backingKeysDeletionStatus'] ?? '') as readonly object[];
    expect(statuses).toMatchObject([{ keyStore: CustomKeyStoreId, deletionStatus: 'FAILURE' }]);
    await kms.deleteCustomKeyStore({ CustomKeyStoreId });
    await instance.restart();
    expect((await instance.kms.describeCustomKeyStores({})).CustomKeyStores).toEqual([]);
  });

  test('that comes back after all shows in a census what was left in it', async () => {
    const { kms } = instance;
    const made = await kms.createCustomKeyStore(hsms.wanted({}));
    await kms.connectCustomKeyStore({ CustomKeyStoreId: made.CustomKeyStoreId });
    await hsms.until(String(made.CustomKeyStoreId), 'CONNECTED');
    const census = await drawbridge('census').catch((error: { stdout: string }) => error.stdout);
    expect(census).toContain(`drawbridge:${KeyId}:1`);
  });

  test('is no word about a key whose HSM is there: that one is destroyed', async () => {
    const { kms } = instance;
    const { KeyMetadata } = await kms.createKey({});
    const here = String(KeyMetadata?.KeyId);
    await kms.scheduleKeyDeletion({ KeyId: here, PendingWindowInDays: 7 });
    await clocks.settled();
    await instance.stop();
    clocks.jump({ wallMs: 8 * dayMs, bootMs: 1 });
    await instance.start();
    await leave(here);
    await clocks.settled();
    expect(await refusal(instance.kms.describeKey({ KeyId: here }))).toMatchObject({ name: 'NotFoundException' });
    const { additionalEventData } = auditLines(instance.folder).findLast(
      ({ eventName }) => eventName === 'DeleteKey',
    ) as {
      readonly additionalEventData?: Readonly<Record<string, string>>;
    };
    expect(Object.keys(additionalEventData ?? {})).toEqual(['backingKeys']);
    const census = await drawbridge('census').catch((error: { stdout: string }) => error.stdout);
    expect(census).not.toContain(here);
  });
});

describe.skipIf(softHsm2.missing !== null)('The HSM of a key store of the configuration that is lost for good', () => {
  const clocks = new SetClocks();
  const tokens: TestToken[] = [];
  let instance: InstanceOfStores;
  let pins: string;
  beforeAll(async () => {
    const settings = (pinFile: string) => {
      const token = softHsm2.create();
      tokens.push(token);
      writeFileSync(pinFile, `${token.pin}\n`, { mode: 0o600 });
      return InstanceOfStores.settingsOf(token, pinFile);
    };
    pins = mkdtempSync(join(tmpdir(), 'drawbridge-lost-'));
    const annex = { ...settings(join(pins, 'annex')), residency: 'wrapped' };
    instance = await InstanceOfStores.create({ annex, vault: settings(join(pins, 'vault')) });
    instance.clocks = clocks;
    await instance.start();
  });
  afterAll(async () => {
    await instance.remove();
    for (const token of tokens) token.remove();
    rmSync(pins, { recursive: true });
  });

  test('keeps no key from its deletion when an operator says so: a wrapped one is destroyed, an object of the token stays', async () => {
    const names = ['annex', 'vault'] as const;
    const ask = async (method: string, path: string, body = '') =>
      JSON.parse((await send(instance.socket, { method, path, body })).body);
    const made = async (CustomKeyStoreId: string): Promise<string> => {
      const create = () => instance.kms.createKey({ Origin: 'AWS_CLOUDHSM', CustomKeyStoreId });
      const { KeyMetadata } = await vi.waitFor(create, { timeout: 60_000, interval: 50 });
      return String(KeyMetadata?.KeyId);
    };
    const keys = [await made('annex'), await made('vault')] as const;
    await instance.stop();
    for (const { folder } of tokens) rmSync(join(folder, 'tokens'), { recursive: true });
    await instance.start();
    const works = keys.map((KeyId) => `deletion us-east-1 ${KeyId}`);
    for (const KeyId of keys) await instance.kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await clocks.settled();
    await clocks.pass(8 * dayMs);
    expect((await ask('GET', '/upkeep')).work).toMatchObject(works.map((work) => ({ work, state: 'late' })));
    for (const work of works) await ask('POST', '/upkeep/confirm', JSON.stringify({ work, leaveMaterial: true }));
    await clocks.settled();
    expect((await ask('GET', '/upkeep')).work).toEqual([]);
    expect((await instance.kms.listKeys({})).Keys).toEqual([]);
    const deleted = auditLines(instance.folder).filter(({ eventName }) => eventName === 'DeleteKey');
    const statuses = deleted.map(({ additionalEventData }) => {
      const { customKeyStoreId, backingKeysDeletionStatus } = additionalEventData as Readonly<Record<string, string>>;
      const [object] = JSON.parse(backingKeysDeletionStatus ?? '') as readonly { readonly deletionStatus: string }[];
      return [customKeyStoreId, object?.deletionStatus];
    });
    expect(new Map(statuses as [string, string][])).toEqual(
      new Map(names.map((name) => [name, name === 'annex' ? 'SUCCESS' : 'FAILURE'])),
    );
  });
});

describe.skipIf(softHsm2.missing !== null)('What a move left in an HSM that is lost for good', () => {
  const clocks = new SetClocks();
  let token: TestToken;
  let upkept: UpkeptInstance;
  beforeAll(async () => {
    token = softHsm2.create();
    upkept = await createUpkeptInstance(token);
  });
  afterAll(async () => {
    await upkept.remove();
    token.remove();
  });

  test('is waited for until an operator says that it stays there', async () => {
    let running = await upkept.start(clocks);
    const keyId = String((await running.kms.createKey({})).KeyMetadata?.KeyId) as KeyId;
    await running.stop();
    const [backingKeyId, createdAtMs] = [newBackingKeyId(), clocks.now().wallMs];
    await upkept.records((_, owner) => [
      added('remnant', { keyStore: 'old-hsm', backingKeyId, keyId, version: 1, owner, createdAtMs }),
    ]);
    running = await upkept.start(clocks);
    await clocks.settled();
    const work = `moved-keys old-hsm ${backingKeyId} ${keyId}`;
    const ask = async (method: string, path: string, body = '') =>
      JSON.parse((await send(running.socketPath, { method, path, body })).body);
    const because = expect.stringContaining('`old-hsm` is no key store that the configuration names');
    expect((await ask('GET', '/upkeep')).work).toMatchObject([{ work, state: 'late', because }]);
    await ask('POST', '/upkeep/confirm', JSON.stringify({ work }));
    await clocks.settled();
    expect((await ask('GET', '/upkeep')).work).toMatchObject([{ work, state: 'late' }]);
    await ask('POST', '/upkeep/confirm', JSON.stringify({ work, leaveMaterial: true }));
    await clocks.settled();
    expect((await ask('GET', '/upkeep')).work).toEqual([]);
    await running.kms.encrypt({ KeyId: keyId, Plaintext: Buffer.from('x') });
    await running.stop();
    expect((await upkept.records()).remnant).toEqual([]);
  });
});
