/** Access keys and short-lived credentials over real tokens and a real store. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { noRoles } from '../../src/authorization/assumable-roles.ts';
import { type Credentials, openCredentials } from '../../src/daemon/credential-source.ts';
import { createDataFolder, createMetadata, metadataPath, openStore } from '../../src/daemon/data-folder.ts';
import { type KeyStore, KeyStoreError } from '../../src/hsm/key-store.ts';
import { openKeyStore } from '../../src/hsm/open-key-store.ts';
import { maxAccessKeys } from '../../src/identity/access-keys.ts';
import type { SigningKey } from '../../src/identity/signing-key.ts';
import { defaultUnixMapping } from '../../src/identity/unix-caller.ts';
import { KmsError } from '../../src/kms/errors.ts';
import type { PrincipalArn, Realm } from '../../src/kms/names.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import type { SqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { removeRoot } from '../store/records.ts';
import { signsWith } from '../support/signs-with.ts';
import { describeEachToken } from '../support/tokens.ts';

const realm: Realm = { region: 'us-east-1', account: '000000000000' };
const app = 'arn:aws:iam::000000000000:user/team/app' as PrincipalArn;
const root = 'arn:aws:iam::000000000000:root' as PrincipalArn;
const peer = { kind: 'unix', uid: 0, gid: 0, pid: 1, groups: [], origin: 'machine' } as const;
const timeoutMs = 120_000;

interface Opened extends Credentials {
  readonly store: SqliteStore;
  readonly quarantined: readonly unknown[];
  close(): Promise<void>;
}

async function secretFound(
  { findKey }: Credentials,
  accessKeyId: string,
  token?: string,
): Promise<SigningKey | undefined> {
  return findKey(accessKeyId, token);
}

async function refusal(attempt: () => Promise<unknown>): Promise<{ name: string; message: string }> {
  const error: unknown = await attempt().then(
    () => new Error('it was not refused'),
    (reason: unknown) => reason,
  );
  if (error instanceof KmsError || error instanceof KeyStoreError) return { name: error.name, message: error.message };
  throw error;
}

describeEachToken('credentials', (token) => {
  let keyStore: KeyStore;
  let folder: string;
  let dataDir: string;

  beforeAll(async () => {
    const { pin, environment } = token();
    keyStore = await openKeyStore({
      name: 'default',
      settings: token().settings(),
      hosts: 1,
      pin: async () => {
        const bytes = Buffer.alloc(pin.length);
        bytes.write(pin);
        return new Pin(bytes);
      },
      environment,
      limits: {},
      log: { debug() {}, info() {}, warn() {}, error() {} },
    });
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-credentials-'));
    dataDir = join(folder, 'data');
    await createDataFolder(dataDir);
    await createMetadata({ dataDir, region: realm.region }, keyStore);
  }, timeoutMs);
  afterAll(async () => {
    await keyStore?.close();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }, timeoutMs);

  /** As a start of the daemon does. */
  async function open(where: Realm = realm): Promise<Opened> {
    const opened = await openStore({ dataDir, region: realm.region });
    const { store } = opened;
    try {
      await opened.useServiceKey(keyStore);
      const { accessKey: accessKeys, quarantined } = await store.load();
      const mapping = defaultUnixMapping(where);
      const turns = new Turns(store);
      const credentials = await openCredentials({
        account: where.account,
        store,
        turns,
        keyStore,
        accessKeys,
        mapping,
        roles: () => noRoles,
      });
      return { ...credentials, store, quarantined, close: () => store.close() };
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  function changeDatabase(statement: string): void {
    const database = new DatabaseSync(metadataPath(dataDir));
    try {
      database.exec(statement);
      removeRoot(database); // It would be found; looked at here is what is refused all the same.
    } finally {
      database.close();
    }
  }

  test('no user has an access key whose name, without the path, another user has', async () => {
    const opened = await open();
    const made = await opened.source.createAccessKey(app);
    const named = (name: string) =>
      refusal(() => opened.source.createAccessKey(`arn:aws:iam::000000000000:user/${name}` as PrincipalArn));
    expect(await named('App')).toEqual({
      name: 'AlreadyExistsException',
      message: `User with name App already exists: so is ${app}, and the path is no part of a name (aws:username). Choose another name for arn:aws:iam::000000000000:user/App.`,
    });
    expect((await named('ci/daemon')).message).toMatch(
      /^User with name daemon already exists: so is .*:user\/unix\/daemon,/,
    );
    expect((await named('x/unix=app')).message).toContain('such names are kept for users of the operating system');
    expect(opened.source.accessKeys()).toHaveLength(1);
    const again = await opened.source.createAccessKey(app);
    await opened.source.revokeAccessKey(again.accessKeyId);
    expect((await named('App')).name).toBe('AlreadyExistsException');
    await opened.source.revokeAccessKey(made.accessKeyId);
    const other = await opened.source.createAccessKey('arn:aws:iam::000000000000:user/App' as PrincipalArn);
    await opened.source.revokeAccessKey(other.accessKeyId);
    await opened.close();
  });

  test('an access key is usable at once, survives a restart, and is refused as soon as it is revoked', async () => {
    const first = await open();
    const made = await first.source.createAccessKey(app);
    expect(made.accessKeyId).toMatch(/^AKIA[A-Z2-7]{16}$/);
    expect(made.secretAccessKey).toMatch(/^[A-Za-z0-9+/]{40}$/);
    const expected = { type: 'IAMUser', arn: app, accountId: '000000000000', userName: 'app' };
    const found = await secretFound(first, made.accessKeyId);
    expect(found?.caller).toEqual(expected);
    expect(signsWith(found, made.secretAccessKey)).toBe(true);
    await first.close();

    const second = await open();
    // Two requests at once, both of which wait for the HSM.
    const both = await Promise.all([secretFound(second, made.accessKeyId), secretFound(second, made.accessKeyId)]);
    for (const key of both) expect(signsWith(key, made.secretAccessKey)).toBe(true);
    expect(second.source.accessKeys().map(({ accessKeyId }) => accessKeyId)).toEqual([made.accessKeyId]);
    expect(both.map((key) => key?.isRevoked?.())).toEqual([false, false]);
    const revoked = second.source.revokeAccessKey(made.accessKeyId);
    expect(both.map((key) => key?.isRevoked?.())).toEqual([true, true]);
    expect(second.findKey(made.accessKeyId, undefined)).toBeUndefined();
    expect(await revoked).toMatchObject({ accessKeyId: made.accessKeyId, principal: app });
    expect(await refusal(() => second.source.revokeAccessKey(made.accessKeyId))).toEqual({
      name: 'NotFoundException',
      message: `The Access Key with id ${made.accessKeyId} cannot be found.`,
    });
    await second.close();

    const third = await open();
    expect(third.source.accessKeys()).toEqual([]);
    expect(third.findKey(made.accessKeyId, undefined)).toBeUndefined();
    await third.close();
  });

  test('an access key that is revoked while the HSM decrypts its secret is not found', async () => {
    const first = await open();
    const { accessKeyId } = await first.source.createAccessKey(app);
    await first.close();
    const second = await open();
    const finding = secretFound(second, accessKeyId);
    await second.source.revokeAccessKey(accessKeyId);
    expect(await finding).toBeUndefined();
    await second.close();
  });

  test('what one of two that follow the same turns makes and revokes, the other knows', async () => {
    const opened = await openStore({ dataDir, region: realm.region });
    const { store } = opened;
    await opened.useServiceKey(keyStore);
    const options = {
      account: realm.account,
      store,
      turns: new Turns(store),
      keyStore,
      mapping: defaultUnixMapping(realm),
      roles: () => noRoles,
    };
    const [one, other] = [
      await openCredentials({ ...options, accessKeys: [] }),
      await openCredentials({ ...options, accessKeys: [] }),
    ];
    const { accessKeyId, secretAccessKey } = await one.source.createAccessKey(app);
    const found = await secretFound(other, accessKeyId);
    expect(signsWith(found, secretAccessKey)).toBe(true);
    await other.source.revokeAccessKey(accessKeyId);
    expect(found?.isRevoked?.()).toBe(true);
    expect(await secretFound(one, accessKeyId)).toBeUndefined();
    await store.close();
  });

  test('no secret is in the files of the store', async () => {
    const opened = await open();
    const { secretAccessKey, accessKeyId } = await opened.source.createAccessKey(root);
    await opened.close();
    const bytes = readFileSync(metadataPath(dataDir));
    expect(bytes.includes(accessKeyId)).toBe(true);
    expect(bytes.includes(secretAccessKey)).toBe(false);
    expect(bytes.includes(Buffer.from(secretAccessKey).toString('base64').slice(0, 20))).toBe(false);
  });

  test('whoever edits the store gets neither a principal nor a secret', async () => {
    const opened = await open();
    const [mine, theirs] = [await opened.source.createAccessKey(app), await opened.source.createAccessKey(root)];
    await opened.close();
    changeDatabase(`update access_key set principal = '${root}' where access_key_id = '${mine.accessKeyId}'`);
    changeDatabase(
      `update access_key set access_key_id = 'AKIAAAAAAAAAAAAAAAAA' where access_key_id = '${theirs.accessKeyId}'`,
    );
    const after = await open();
    const edited = ['AKIAAAAAAAAAAAAAAAAA', mine.accessKeyId].map((id) => ({
      kind: 'accessKey',
      id,
      region: null,
      reason: 'its MAC does not verify: it was edited or damaged',
    }));
    expect(new Set(after.quarantined)).toEqual(new Set(edited)); // In no order.
    for (const accessKeyId of [mine.accessKeyId, theirs.accessKeyId, 'AKIAAAAAAAAAAAAAAAAA']) {
      expect(after.findKey(accessKeyId, undefined)).toBeUndefined();
    }
    await after.close();
    changeDatabase('delete from access_key');
  });

  test('the store cannot name a key of another purpose to encrypt or derive with', async () => {
    const before = await open();
    const named = before.store.serviceKey('session-credentials');
    await before.close();
    const other = `(select backing_key_id from service_key where purpose = 'metadata-integrity')`;
    changeDatabase(`update service_key set backing_key_id = ${other} where purpose = 'session-credentials'`);
    expect(await refusal(open)).toMatchObject({
      name: 'KeyStoreError',
      message: expect.stringMatching(
        /^the metadata store names `[0-9a-f]{32}` as its session-credentials key, but the HSM calls that object `drawbridge:service:metadata-integrity`/,
      ),
    });
    changeDatabase(`update service_key set backing_key_id = '${named}' where purpose = 'session-credentials'`);
  });

  test.each([
    ['a role', 'arn:aws:iam::000000000000:role/app'],
    ['a session of a role', 'arn:aws:sts::000000000000:assumed-role/app/me'],
    ['a user of another account', 'arn:aws:iam::111111111111:user/app'],
    ['the root of another account', 'arn:aws:iam::111111111111:root'],
  ])('no access key is made for %s', async (_, principal) => {
    const opened = await open();
    expect(await refusal(() => opened.source.createAccessKey(principal as PrincipalArn))).toEqual({
      name: 'ValidationException',
      message: `Access keys are for arn:aws:iam::000000000000:user/NAME and arn:aws:iam::000000000000:root, not for ${principal}.`,
    });
    expect(opened.source.accessKeys()).toEqual([]);
    await opened.close();
  });

  test('access keys of an account that the configuration no longer names are not taken', async () => {
    const first = await open();
    const { accessKeyId } = await first.source.createAccessKey(root);
    await first.close();
    const moved = await open({ ...realm, account: '111111111111' });
    expect(moved.findKey(accessKeyId, undefined)).toBeUndefined();
    await moved.close();
    changeDatabase('delete from access_key');
  });

  test('there is a bound to their number, also when many are made at once', async () => {
    const opened = await open();
    const accessKeys = Array.from({ length: maxAccessKeys - 3 }, (_, index) => ({
      accessKeyId: `AKIA${String(index)
        .padStart(16, 'A')
        .replaceAll(/\d/g, (digit) => 'BCDEFGHIJK'[Number(digit)] ?? '')}`,
      principal: app,
      version: 1,
      sealedSecret: Buffer.alloc(0),
      createdAtMs: index,
    }));
    const mapping = defaultUnixMapping(realm);
    const { source } = await openCredentials({
      ...{ account: realm.account, store: opened.store, turns: new Turns(opened.store), keyStore, mapping },
      roles: () => noRoles,
      accessKeys: accessKeys as unknown as Parameters<typeof openCredentials>[0]['accessKeys'],
    });
    const made = await Promise.allSettled(Array.from({ length: 10 }, () => source.createAccessKey(app)));
    expect(made.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
    expect(await refusal(() => source.createAccessKey(app))).toEqual({
      name: 'LimitExceededException',
      message: `Cannot exceed quota for access keys: ${maxAccessKeys}`,
    });
    await opened.close();
    changeDatabase('delete from access_key');
  });

  test('short-lived credentials are taken after a restart, and with their token alone', async () => {
    const first = await open();
    const issued = await first.source.issueCredentials(peer, 900);
    await first.close();
    const second = await open();
    const found = await secretFound(second, issued.accessKeyId, issued.sessionToken);
    expect(signsWith(found, issued.secretAccessKey)).toBe(true);
    expect(found?.caller).toEqual({ type: 'Root', arn: root, accountId: '000000000000' });
    expect(second.findKey(issued.accessKeyId, undefined)).toBeUndefined();
    await second.close();
  });
});
