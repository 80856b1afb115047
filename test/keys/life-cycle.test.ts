/** Creation, rotation and reconciliation of keys: over a real token and a real SQLite file, closed and opened again. */

import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import { parsePolicyDocument } from '../../src/authorization/language/policy-document.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { openKeyStore } from '../../src/hsm/open-key-store.ts';
import { authorizeKey } from '../../src/keys/authorized-key.ts';
import type { EncryptionLimits } from '../../src/keys/encryption-counter.ts';
import type { KeyDirectory } from '../../src/keys/key-directory.ts';
import { currentBackingKeyOf, type KmsKey } from '../../src/keys/kms-key.ts';
import { type OpenKeys, openKeys } from '../../src/keys/life/open-keys.ts';
import { onDemandRotations } from '../../src/keys/life/rotation.ts';
import { assertServiceKey, createServiceKey, findServiceKeys } from '../../src/keys/life/service-keys.ts';
import { parseCiphertext } from '../../src/keys/use/ciphertext.ts';
import { sign, verify } from '../../src/keys/use/signatures.ts';
import { decrypt, encrypt } from '../../src/keys/use/symmetric-encryption.ts';
import { type BackingKeyId, type KeyId, newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import { Pin, Plaintext } from '../../src/secrets/secret-bytes.ts';
import { added, replaced } from '../../src/store/records/changes.ts';
import type { BackingKeyRecord, KeyRecord } from '../../src/store/records/records.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { holdTurn } from '../support/held-turn.ts';
import { type NewTestKey, newTestKey } from '../support/new-key.ts';
import { describeEachToken } from '../support/tokens.ts';

const realm = { region: 'us-east-1', account: '000000000000' };

/** A logger that remembers what was said. */
function remembering() {
  const lines: { readonly level: string; readonly message: string; readonly fields: object }[] = [];
  const at = (level: string) => (fields: object, message: string) => void lines.push({ level, message, fields });
  return { lines, log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') } };
}

describeEachToken('Keys that are closed and opened again', (token) => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-keys-'));
  const file = join(folder, 'metadata.sqlite');
  let serviceKey: Awaited<ReturnType<typeof createServiceKey>>;
  let open: { readonly store: SqliteStore; readonly keyStore: KeyStore } | undefined;

  async function openToken(): Promise<KeyStore> {
    const { settings, environment, pin } = token();
    return openKeyStore({
      name: 'default',
      settings: settings(),
      hosts: 1,
      pin: async () => new Pin(Buffer.from(pin)),
      environment,
      log: remembering().log,
    });
  }

  async function openStore(keyStore: KeyStore): Promise<SqliteStore> {
    return openSqliteStore({
      path: file,
      mac: (data) => keyStore.mac({ backingKeyId: serviceKey, algorithm: 'HMAC_SHA_256', data }),
      formerRegion: realm.region,
    });
  }

  /** Opens everything, as the daemon does; `close()` or the end of the test closes it. */
  async function start(encryptionLimits?: EncryptionLimits) {
    const keyStore = await openToken();
    const store = await openStore(keyStore);
    open = { store, keyStore };
    const { lines, log } = remembering();
    const turns = new Turns(store);
    const { directory, life } = await openKeys({
      realm,
      store,
      turns,
      defaultKeyStore: 'default',
      keyStores: new Map([['default', keyStore]]),
      compilePolicy: (document) => parsePolicyDocument(document, realm, () => undefined),
      log,
      ...(encryptionLimits === undefined ? {} : { encryptionLimits }),
    });
    return { directory, life, turns, store, keyStore, lines };
  }

  async function close(): Promise<void> {
    await open?.store.close();
    await open?.keyStore.close();
    open = undefined;
  }

  type Started = Awaited<ReturnType<typeof start>>;

  const symmetric = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
  const create = (keys: Started, kind: Omit<NewTestKey, 'policyDocument'> = symmetric): Promise<KmsKey> =>
    newTestKey(keys, { ...kind, policyDocument: defaultKeyPolicy(realm) });

  const encryptOne = ({ life }: Pick<OpenKeys, 'life'>, key: KmsKey) =>
    encrypt(life, authorizeKey(key), new Plaintext(Buffer.from('attack at dawn')), undefined);

  async function decryptOne(key: KmsKey, blob: Buffer): Promise<string> {
    const parsed = parseCiphertext(blob);
    if (parsed === undefined) throw new TypeError('Encrypt gave what is no ciphertext blob');
    return (await decrypt(authorizeKey(key), parsed, undefined)).plaintext.reveal().toString();
  }

  /** An intent to generate a first backing key. */
  const intentOf = (owner: string, keyId: KeyId): BackingKeyRecord => ({
    ...{ backingKeyId: newBackingKeyId(), version: 1, keyId, keyStore: 'default', residency: 'token' },
    ...{ state: 'Creating', owner, ordinal: 1, createdAtMs: Date.now(), reservedEncryptions: 0, publicKey: null },
    ...{ rotationType: null, rotatedAtMs: null, importedMaterialId: '', materialDescription: '', validToMs: null },
  });

  const currentId = (key: KmsKey): BackingKeyId => currentBackingKeyOf(key).record.backingKeyId;

  function found(directory: KeyDirectory, key: KmsKey): KmsKey {
    const again = directory.findKey(key.record.keyId);
    if (again === undefined) throw new TypeError('the key is not there');
    return again;
  }

  beforeAll(async () => {
    const keyStore = await openToken();
    serviceKey = await createServiceKey(keyStore, 'metadata-integrity');
    await keyStore.close();
    return () => rm(folder, { recursive: true });
  });
  afterEach(close);

  test('a key decrypts after a restart what it encrypted before', async () => {
    const before = await start();
    const key = await create(before);
    const { ciphertextBlob } = await encryptOne(before, key);
    await close();
    const { directory } = await start();
    expect(await decryptOne(found(directory, key), ciphertextBlob)).toBe('attack at dawn');
  });

  test('a pair verifies after a restart what it signed before, with a public key that nobody asked the HSM for', async () => {
    const before = await start();
    const key = await create(before, { keySpec: 'ECC_NIST_P256', keyUsage: 'SIGN_VERIFY' });
    const message = { algorithm: 'ECDSA_SHA_256', messageType: 'RAW' } as const;
    const text = () => new Plaintext(Buffer.from('attack at dawn'));
    const signature = await sign(authorizeKey(key), { ...message, message: text() });
    await close();
    const { directory } = await start();
    await open?.keyStore.close();
    const again = authorizeKey(found(directory, key));
    await verify(again, { ...message, message: text() }, signature);
    const other = new Plaintext(Buffer.from('attack at dusk'));
    await expect(verify(again, { ...message, message: other }, signature)).rejects.toMatchObject({
      name: 'KMSInvalidSignatureException',
    });
  });

  test('a creation that the HSM refuses leaves no record and no object', async () => {
    const started = await start();
    const { store, keyStore } = started;
    const objects = await keyStore.listKeys();
    const records = (await store.load()).backingKey;
    const refused = create(started, { keySpec: 'SM2', keyUsage: 'SIGN_VERIFY' });
    await expect(refused).rejects.toMatchObject({ name: 'UnsupportedOperationException' });
    expect((await store.load()).backingKey).toEqual(records);
    expect(await keyStore.listKeys()).toEqual(objects);
  });

  test.each(['before', 'after'])('a creation that was cut off %s the HSM made the key is undone', async (moment) => {
    const started = await start();
    const { store, turns, keyStore } = started;
    const survivor = await create(started);
    const keyId = newKeyId();
    const intent = intentOf(store.nodeId, keyId);
    const { backingKeyId } = intent;
    await turns.take(() => ({ changes: [added('backingKey', intent)], response: undefined }));
    if (moment === 'after') {
      const keySpec = 'SYMMETRIC_DEFAULT';
      await keyStore.generateKey({ backingKeyId, label: 'drawbridge:cut-off:1', keySpec, keyUsage: 'ENCRYPT_DECRYPT' });
    }
    await close();

    const again = await start();
    expect(again.directory.findKey(keyId)).toBeUndefined();
    expect((await again.store.load()).backingKey.map((record) => record.backingKeyId)).not.toContain(backingKeyId);
    expect((await again.keyStore.listKeys()).map((object) => object.backingKeyId)).not.toContain(backingKeyId);
    expect(found(again.directory, survivor).record.state).toBe('Enabled');
    expect(again.lines.map((line) => line.message)).toContain('undid an unfinished key creation');
  });

  test.each(['before the HSM made the material', 'after the HSM made the material'])(
    'a rotation that was cut off %s is not there, and the key is as it was',
    async (moment) => {
      const started = await start();
      const { store, turns, keyStore } = started;
      const key = await create(started);
      const { ciphertextBlob } = await encryptOne(started, key);
      const intent = { ...intentOf(store.nodeId, key.record.keyId), ordinal: 2 };
      const { backingKeyId } = intent;
      await turns.take(() => ({ changes: [added('backingKey', intent)], response: undefined }));
      if (moment.startsWith('after'))
        await keyStore.generateKey({ backingKeyId, label: 'drawbridge:cut-off:2', ...symmetric });
      await close();

      const again = await start();
      const known = found(again.directory, key);
      expect([currentId(known), known.materials.length]).toEqual([currentId(key), 1]);
      expect((await again.store.load()).backingKey.map((record) => record.backingKeyId)).not.toContain(backingKeyId);
      expect((await again.keyStore.listKeys()).map((object) => object.backingKeyId)).not.toContain(backingKeyId);
      expect(await decryptOne(known, ciphertextBlob)).toBe('attack at dawn');
      await again.life.rotate(key.record.keyId, currentId(known));
      expect(found(again.directory, key).materials).toHaveLength(2);
    },
  );

  test('a rotation that failed and could not be undone is undone at the next start, though another one came after it', async () => {
    const started = await start();
    const { store, turns, keyStore, life } = started;
    const key = await create(started);
    const intent = { ...intentOf(store.nodeId, key.record.keyId), ordinal: 2 };
    const { backingKeyId } = intent;
    await turns.take(() => ({ changes: [added('backingKey', intent)], response: undefined }));
    await keyStore.generateKey({ backingKeyId, label: 'drawbridge:failed:2', ...symmetric });
    await life.rotate(key.record.keyId, currentId(key));
    const rotated = currentId(found(started.directory, key));
    await close();

    const again = await start();
    expect(again.lines.filter(({ level }) => level !== 'info')).toEqual([]);
    const objects = (await again.keyStore.listKeys()).map((object) => object.backingKeyId);
    expect(objects).not.toContain(backingKeyId);
    expect(objects).toContain(rotated);
    expect(currentId(found(again.directory, key))).toBe(rotated);
  });

  test('an intent that somebody put back over older material of a rotated key destroys nothing', async () => {
    const before = await start();
    const key = await create(before);
    const { ciphertextBlob } = await encryptOne(before, key);
    await before.life.rotate(key.record.keyId, currentId(key));
    const [old] = found(before.directory, key).materials;
    if (old === undefined) throw new TypeError('the key has no material');
    const intent = { state: 'Creating', owner: before.store.nodeId } as const;
    await before.turns.take(() => ({ changes: [replaced('backingKey', old, intent)], response: undefined }));
    await close();

    const again = await start();
    expect((await again.keyStore.listKeys()).map((object) => object.backingKeyId)).toContain(old.backingKeyId);
    const record = (await again.store.load()).backingKey.find((each) => each.backingKeyId === old.backingKeyId);
    if (record === undefined) throw new TypeError('the record is gone');
    const active = { state: 'Active', owner: '' } as const;
    await again.turns.take(() => ({ changes: [replaced('backingKey', record, active)], response: undefined }));
    await close();
    const { directory } = await start();
    expect(await decryptOne(found(directory, key), ciphertextBlob)).toBe('attack at dawn');
  });

  test('a creation of a former version that did not finish is undone with the key and the policy that it had', async () => {
    const { turns, keyStore } = await start();
    const { region } = realm;
    const keyId = newKeyId();
    const intent = intentOf('', keyId);
    const { backingKeyId } = intent;
    const key: KeyRecord = {
      ...{ region, keyId, version: 1, state: 'Creating', ...symmetric, origin: 'AWS_KMS', description: '' },
      ...{ createdAtMs: intent.createdAtMs, currentBackingKeyId: backingKeyId, tags: [], deletionDateMs: null },
      ...{ keyManager: 'CUSTOMER', rotationPeriodDays: null, nextRotationDateMs: null },
    };
    const policy = { region, keyId, version: 1, document: defaultKeyPolicy(realm) };
    const changes = [added('backingKey', intent), added('key', key), added('keyPolicy', policy)];
    await turns.take(() => ({ changes, response: undefined }));
    await keyStore.generateKey({ backingKeyId, label: 'drawbridge:cut-off:1', ...symmetric });
    await close();

    const again = await start();
    expect(again.directory.findKey(keyId)).toBeUndefined();
    const loaded = await again.store.load();
    expect([...loaded.key, ...loaded.keyPolicy, ...loaded.backingKey].filter((each) => each.keyId === keyId)).toEqual(
      [],
    );
    expect((await again.keyStore.listKeys()).map((object) => object.backingKeyId)).not.toContain(backingKeyId);
  });

  test('an old row of a key that somebody put back destroys nothing', async () => {
    const before = await start();
    const key = await create(before);
    const { ciphertextBlob } = await encryptOne(before, key);
    await before.turns.take(() => ({
      changes: [replaced('key', key.record, { state: 'Creating' })],
      response: undefined,
    }));
    await close();
    const again = await start();
    const { record } = found(again.directory, key);
    await again.turns.take(() => ({ changes: [replaced('key', record, { state: 'Enabled' })], response: undefined }));
    await close();
    const { directory } = await start();
    expect(await decryptOne(found(directory, key), ciphertextBlob)).toBe('attack at dawn');
  });

  test('a creation that another node has under way is left to it, and nothing of it shows', async () => {
    const { turns, keyStore } = await start();
    const keyId = newKeyId();
    const intent = intentOf('f'.repeat(32), keyId);
    const { backingKeyId } = intent;
    await turns.take(() => ({ changes: [added('backingKey', intent)], response: undefined }));
    await keyStore.generateKey({ backingKeyId, label: 'drawbridge:other-node:1', ...symmetric });
    await close();

    const again = await start();
    expect(again.directory.findKey(keyId)).toBeUndefined();
    expect((await again.store.load()).backingKey).toContainEqual(intent);
    expect((await again.keyStore.listKeys()).map((object) => object.backingKeyId)).toContain(backingKeyId);
    const said = again.lines.filter(({ fields }) => JSON.stringify(fields).includes(backingKeyId));
    expect(said.map(({ message }) => message)).toEqual([
      'an unfinished key creation is left to the node that began it',
    ]);
  });

  test('an intent that somebody put back over the record that it became destroys nothing', async () => {
    const before = await start();
    const key = await create(before);
    const { ciphertextBlob } = await encryptOne(before, key);
    const material = currentBackingKeyOf(found(before.directory, key)).record;
    const intent = { state: 'Creating', owner: before.store.nodeId } as const;
    await before.turns.take(() => ({ changes: [replaced('backingKey', material, intent)], response: undefined }));
    await close();

    const again = await start();
    expect(
      again.lines.filter((line) => line.level === 'error').map((line) => JSON.stringify(line.fields)),
    ).toContainEqual(expect.stringContaining(material.backingKeyId));
    expect((await again.keyStore.listKeys()).map((object) => object.backingKeyId)).toContain(material.backingKeyId);
    const [record] = (await again.store.load()).backingKey.filter((each) => each.keyId === key.record.keyId);
    if (record === undefined) throw new TypeError('the record is gone');
    const active = { state: 'Active', owner: '' } as const;
    await again.turns.take(() => ({ changes: [replaced('backingKey', record, active)], response: undefined }));
    await close();
    const { directory } = await start();
    expect(await decryptOne(found(directory, key), ciphertextBlob)).toBe('attack at dawn');
  });

  test('a key that is disabled while it is rotated gets no new material, and none is left', async () => {
    const opened = await start({ maxEncryptionsPerBackingKey: 2, reservationBlock: 2 });
    const key = await create(opened);
    await encryptOne(opened, key);
    const objects = await opened.keyStore.listKeys();
    const disabling = replaced('key', found(opened.directory, key).record, { state: 'Disabled' });
    const held = await holdTurn(opened.turns, () => [disabling]);
    // It takes the last number, for which no turn is needed, and with it a rotation begins, behind the turn that is held.
    await encryptOne(opened, key);
    const waiting = encryptOne(opened, key);
    await Promise.all([held.letGo(), expect(waiting).rejects.toMatchObject({ name: 'DisabledException' })]);
    expect(await opened.keyStore.listKeys()).toEqual(objects);
    expect(found(opened.directory, key).materials).toHaveLength(1);
  });

  test('an object of ours that no record names is reported and left alone', async () => {
    const { keyStore } = await start();
    const backingKeyId = newBackingKeyId();
    const request = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    await keyStore.generateKey({ backingKeyId, label: 'drawbridge:somebody-else:1', ...request });
    await close();

    const again = await start();
    const report = again.lines.find((line) => JSON.stringify(line.fields).includes(backingKeyId));
    expect(report?.message).toBe('an object in the HSM belongs to no record; it is left alone');
    expect((await again.keyStore.listKeys()).map((object) => object.backingKeyId)).toContain(backingKeyId);
    expect(JSON.stringify(again.lines)).not.toContain(serviceKey);
  });

  test('a backing key that is gone from the HSM is reported, and using it is an error of the right name', async () => {
    const before = await start();
    const key = await create(before);
    await before.keyStore.destroyKey({ backingKeyId: currentId(key) });
    await close();

    const again = await start();
    expect(again.lines.map((line) => line.message)).toContain('a backing key is not in the HSM');
    await expect(encryptOne(again, found(again.directory, key))).rejects.toMatchObject({
      name: 'KeyUnavailableException',
    });
  });

  test('a key at its limit rotates itself under 60 callers at once, and everything still decrypts', async () => {
    const limits = { maxEncryptionsPerBackingKey: 16, reservationBlock: 4 };
    const started = await start(limits);
    const { directory, store } = started;
    const key = await create(started);
    const blobs = await Promise.all(
      Array.from({ length: 60 }, async () => (await encryptOne(started, found(directory, key))).ciphertextBlob),
    );

    const perBackingKey = new Map<string, number>();
    for (const blob of blobs) {
      const id = parseCiphertext(blob)?.backingKeyId ?? 'none';
      perBackingKey.set(id, (perBackingKey.get(id) ?? 0) + 1);
      expect(await decryptOne(found(directory, key), blob)).toBe('attack at dawn');
    }
    expect([...perBackingKey.values()].every((count) => count <= 16)).toBe(true);
    expect(perBackingKey.size).toBeGreaterThanOrEqual(4);
    const records = (await store.load()).backingKey.filter((record) => record.keyId === key.record.keyId);
    expect(records.every((record) => record.reservedEncryptions <= 16)).toBe(true);

    await close();
    const again = await start(limits);
    for (const blob of blobs) expect(await decryptOne(found(again.directory, key), blob)).toBe('attack at dawn');
  });

  test('a key gets new material before its last number is used, on record as an automatic rotation that moves no date', async () => {
    const started = await start({ maxEncryptionsPerBackingKey: 8, reservationBlock: 8 });
    const { directory, turns } = started;
    const key = await create(started);
    const schedule = { rotationPeriodDays: 365, nextRotationDateMs: Date.now() + 1_000_000_000 };
    await turns.take(() => ({ changes: [replaced('key', key.record, schedule)], response: undefined }));
    const from = Date.now();
    for (let count = 0; count < 6; count++) await encryptOne(started, key);
    // Two numbers are left, and whoever still holds the key as it was needs neither.
    await expect.poll(() => found(directory, key).materials.length).toBe(2);
    const { record, materials } = found(directory, key);
    expect(record).toMatchObject(schedule);
    expect(materials.map(({ rotationType }) => rotationType)).toEqual([null, 'AUTOMATIC']);
    const rotatedAtMs = materials[1]?.rotatedAtMs ?? 0;
    expect(rotatedAtMs >= from && rotatedAtMs <= Date.now()).toBe(true);
    expect(onDemandRotations({ materials })).toBe(0);
  });

  test('a key with imported material is not rotated: it warns early, refuses what is too much, and decrypts on', async () => {
    const limits = { maxEncryptionsPerBackingKey: 16, reservationBlock: 1 };
    const started = await start(limits);
    const { directory, turns, lines, keyStore } = started;
    const key = await create(started);
    await turns.take(() => ({ changes: [replaced('key', key.record, { origin: 'EXTERNAL' })], response: undefined }));
    const objects = await keyStore.listKeys();
    const warningsIn = (said: Started['lines']) =>
      said.flatMap(({ level, fields }) => (level === 'warn' && 'most' in fields ? [fields] : []));
    const warnings = () => warningsIn(lines);
    const blobs: Buffer[] = [];
    const encryptAgain = async () => void blobs.push((await encryptOne(started, found(directory, key))).ciphertextBlob);
    for (let count = 0; count < 8; count++) await encryptAgain();
    expect(warnings()).toEqual([]);
    while (blobs.length < 16) await encryptAgain();
    const refusal = {
      name: 'KMSInvalidStateException',
      message: `${key.arn} has encrypted as often as its key material allows. Import new key material and rotate the key on demand.`,
    };
    for (let count = 0; count < 3; count++) await expect(encryptAgain()).rejects.toMatchObject(refusal);
    for (const blob of blobs) expect(await decryptOne(found(directory, key), blob)).toBe('attack at dawn');
    expect(await keyStore.listKeys()).toEqual(objects);
    // Of 16: three quarters, nine tenths, 95 of 100 and all of it.
    const about = { keyId: key.record.keyId, backingKeyId: currentId(key), most: 16 };
    expect(warnings()).toEqual([12, 15, 16].map((encryptions) => ({ ...about, encryptions })));
    await close();

    const again = await start(limits);
    await expect(encryptOne(again, found(again.directory, key))).rejects.toMatchObject(refusal);
    expect(warningsIn(again.lines)).toEqual([{ ...about, encryptions: 16 }]);
  });

  test('numbers that were reserved are not given out again after a restart', async () => {
    const limits = { maxEncryptionsPerBackingKey: 16, reservationBlock: 4 };
    const before = await start(limits);
    const key = await create(before);
    await encryptOne(before, key);
    await close();
    const { directory } = await start(limits);
    expect(currentBackingKeyOf(found(directory, key)).counter.used).toBe(4);
  });

  describe('with records that somebody edited', () => {
    const edit = (sql: string, ...values: string[]): void => {
      const database = new DatabaseSync(file);
      database.prepare(sql).run(...values);
      database.close();
    };

    test.each([
      ['the policy', 'update key_policy set document = document || ? where key_id = ?', ' '],
      ['the policy, by removing it', "delete from key_policy where ? <> '' and key_id = ?", 'x'],
      ['the description', 'update kms_key set description = ? where key_id = ?', 'mine'],
      ['the backing key, by removing it', "delete from backing_key where ? <> '' and key_id = ?", 'x'],
    ])('a key is refused after somebody edited %s', async (_what, sql, value) => {
      const before = await start();
      const key = await create(before);
      const untouched = await create(before);
      await close();
      edit(sql, value, key.record.keyId);

      const { directory, lines } = await start();
      expect(() => directory.findKey(key.record.keyId)).toThrow(
        expect.objectContaining({ name: 'KMSInternalException' }),
      );
      expect(lines.filter((line) => line.level === 'error')).not.toEqual([]);
      expect(found(directory, untouched).record.state).toBe('Enabled');
    });
  });

  test('a service key is found by its label, and a KMS key in its place is refused', async () => {
    const started = await start();
    const { keyStore } = started;
    const key = await create(started);
    expect(await findServiceKeys(keyStore, 'metadata-integrity')).toEqual([serviceKey]);
    await expect(assertServiceKey(keyStore, 'metadata-integrity', serviceKey)).resolves.toBeUndefined();
    await expect(assertServiceKey(keyStore, 'metadata-integrity', currentId(key))).rejects.toMatchObject({
      name: 'KeyStoreError',
      failure: 'keyUnavailable',
    });
    await expect(
      assertServiceKey(keyStore, 'metadata-integrity', randomBytes(16).toString('hex') as typeof serviceKey),
    ).rejects.toMatchObject({ name: 'KeyStoreError', failure: 'keyUnavailable' });
  });
});
