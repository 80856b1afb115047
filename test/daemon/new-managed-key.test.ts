/** How an AWS managed key comes to be, over real tokens: once, whole, and with nothing left behind where it cannot. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { managedKeyPolicy } from '../../src/authorization/managed-key-policy.ts';
import { ManagedKeys } from '../../src/daemon/managed-keys.ts';
import type { OpenRegion } from '../../src/daemon/region.ts';
import { makeManagedKey } from '../../src/keys/life/new-managed-key.ts';
import { unusedKeyId } from '../../src/keys/unused-key-id.ts';
import { type KeyId, managedAliasName } from '../../src/kms/names.ts';
import type { Intents } from '../../src/pipeline/intents.ts';
import { StoreError } from '../../src/store/store-error.ts';
import { Turns } from '../../src/store/turns.ts';
import { realm } from '../authorization/policies.ts';
import { describeEachToken } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

describeEachToken('An AWS managed key', (token) => {
  let folder: string;
  let kms: TestService;
  const start = async (): Promise<void> => {
    kms = await startService(token(), folder, { auditFolder: join(folder, 'audit') });
  };
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-managed-key-'));
    await start();
  });
  afterEach(async () => {
    await kms.close();
    rmSync(folder, { recursive: true });
  });
  const make = (service = 'ebs', turns = kms.turns): Promise<KeyId | undefined> =>
    makeManagedKey({ service, policy: managedKeyPolicy(realm, service) }, { ...kms, turns });
  const objects = async (): Promise<readonly string[]> =>
    (await kms.keyStore.listKeys()).map(({ backingKeyId }) => backingKeyId as string).toSorted();

  test('is made once, whoever asks at the same time and however often the daemon starts', async () => {
    const before = await objects();
    const made = (await Promise.all([make(), make(), make('s3'), make()])).filter((keyId) => keyId !== undefined);
    expect(made).toHaveLength(2);
    expect(await objects()).toHaveLength(before.length + 2);
    expect(await make()).toBeUndefined();
    await kms.close();
    await start();
    expect(await make()).toBeUndefined();
    expect(await objects()).toHaveLength(before.length + 2);
  });

  test('is rotated every year from its creation', async () => {
    const keyId = await make();
    const record = kms.directory.findKey(keyId as KeyId)?.record;
    expect(record).toMatchObject({ keyManager: 'AWS', rotationPeriodDays: 365, state: 'Enabled', tags: [] });
    expect((record?.nextRotationDateMs ?? 0) - (record?.createdAtMs ?? 0)).toBe(365 * 24 * 60 * 60 * 1000);
  });

  test('leaves nothing where the disk refuses it, and is made when there is room', async () => {
    const before = await objects();
    const full = new Turns({
      async write() {
        throw new StoreError('full', 'no room');
      },
      reread: (changes) => kms.store.reread(changes),
    });
    await expect(make('ebs', full)).rejects.toThrow('no room');
    expect(await objects()).toEqual(before);
    expect(kms.directory.aliases.find(managedAliasName('ebs'))).toBeUndefined();
    expect(await make()).toBeDefined();
  });

  /** As the daemon does at its start and at SIGHUP. */
  function managedKeys(intents: Pick<Intents, 'obstacle'> = kms.intents) {
    const logged: string[] = [];
    const note = (_: object, message: string): void => void logged.push(message);
    const log = { debug() {}, info: note, warn: note, error: note };
    // Safe: of a Region that is open nothing else is looked at.
    const regions = [kms as unknown as OpenRegion];
    return { keys: new ManagedKeys({ regions, turns: kms.turns, audit: kms.audit, intents, log }), logged };
  }
  const program = 'arn:aws:iam::000000000000:user/unix/qemu';
  const configuration = [{ region: realm.region, managedKeys: new Map([['ebs', [program]]]) }];
  const notMade =
    'an AWS managed key could not be made or put on record; what is missing is made at the next start or SIGHUP';

  test('that the key store cannot make stops nobody, and is made at the next start', async () => {
    await kms.keyStore.close();
    const { keys, logged } = managedKeys();
    await keys.use(configuration);
    expect(logged).toEqual([notMade]);
    expect(kms.directory.services.viaService({ arn: program })).toBe('ebs.us-east-1.amazonaws.com');
    await kms.close();
    await start();
    const next = managedKeys();
    await next.keys.use(configuration);
    expect(next.logged).toEqual(['made an AWS managed key']);
    expect(kms.directory.aliases.find(managedAliasName('ebs'))).toBeDefined();
  });

  test('is not begun while the audit log takes no events', async () => {
    const before = await objects();
    const { keys, logged } = managedKeys({ obstacle: () => 'no room' });
    await keys.use(configuration);
    expect(logged).toEqual([notMade]);
    expect(await objects()).toEqual(before);
  });

  test('is of no use to its service while the configuration that was read last does not name it', async () => {
    const { keys, logged } = managedKeys();
    const viaService = () => kms.directory.services.viaService({ arn: program });
    await keys.use(configuration);
    await keys.reload(async () => {
      throw new Error('no configuration');
    });
    expect(viaService()).toBeDefined();
    const [renamed, none] = [{ regions: [{ region: 'eu-west-1' }] }, { regions: [{ region: realm.region }] }];
    await Promise.all([keys.reload(async () => none), keys.reload(async () => ({ regions: configuration }))]);
    expect(viaService()).toBeDefined();
    await keys.reload(async () => renamed);
    expect(viaService()).toBeUndefined();
    expect(logged.filter((message) => message === 'made an AWS managed key')).toHaveLength(1);
  });

  test('that a crash left half made is undone by the next start, which makes another', async () => {
    const before = await objects();
    const keyId = unusedKeyId(kms.directory);
    const kind = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    await kms.life.generate({ keyId, ...kind, keyStore: kms.directory.defaultKeyStore, ordinal: 1 });
    expect(await objects()).toHaveLength(before.length + 1);
    await kms.close();
    await start();
    expect(await objects()).toEqual(before);
    const made = await make();
    expect(made).not.toBe(keyId);
    expect(await objects()).toHaveLength(before.length + 1);
  });
});
