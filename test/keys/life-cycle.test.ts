/** Creation and reconciliation of keys: over a real token and a real SQLite file, closed and opened again. */

import { randomBytes } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import { authorizeKey } from '../../src/keys/authorized-key.ts';
import { currentBackingKeyOf } from '../../src/keys/kms-key.ts';
import { assertServiceKey, findServiceKeys } from '../../src/keys/life/service-keys.ts';
import { sign, verify } from '../../src/keys/use/signatures.ts';
import { type BackingKeyId, newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';
import { added, replaced } from '../../src/store/records/changes.ts';
import type { KeyRecord } from '../../src/store/records/records.ts';
import { removeRoot } from '../store/records.ts';
import {
  create,
  currentId,
  decryptOne,
  describeReopenedKeys,
  encryptOne,
  found,
  intentOf,
  realm,
  symmetric,
} from './reopened-keys.ts';

describeReopenedKeys('Keys that are closed and opened again', ({ start, close, file, serviceKey }) => {
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
    const { directory, keyStore } = await start();
    await keyStore.close();
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
      ...{ primaryRegion: '', deletionWindowDays: null },
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

  test('an object of ours that no record names is reported and left alone', async () => {
    const { keyStore } = await start();
    const backingKeyId = newBackingKeyId();
    const request = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    await keyStore.generateKey({ backingKeyId, label: 'drawbridge:somebody-else:1', ...request });
    await close();

    const again = await start();
    const report = again.lines.find((line) => JSON.stringify(line.fields).includes(backingKeyId));
    expect(report?.message).toBe('an object in the HSM belongs to no record; it is left alone');
    expect(again.lines.map(({ message }) => message)).toContainEqual(
      expect.stringMatching(/^the metadata are older than the HSM, .* or another instance uses the same token/),
    );
    expect((await again.keyStore.listKeys()).map((object) => object.backingKeyId)).toContain(backingKeyId);
    expect(JSON.stringify(again.lines)).not.toContain(serviceKey());
  });

  test('a backing key that is gone from the HSM is reported, and using it is an error of the right name', async () => {
    const before = await start();
    const key = await create(before);
    await before.keyStore.destroyKey({ backingKeyId: currentId(key) });
    await close();

    const again = await start();
    expect(again.lines.map((line) => line.message)).toContain('a backing key is not in the HSM');
    expect(again.lines.map((line) => line.message)).toContainEqual(
      expect.stringMatching(/^the HSM is older than the metadata, .* or keys were destroyed in it/),
    );
    await expect(encryptOne(again, found(again.directory, key))).rejects.toMatchObject({
      name: 'KeyUnavailableException',
    });
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
      removeRoot(database); // It would be found; looked at here is what is refused all the same.
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
    expect(await findServiceKeys(keyStore, 'metadata-integrity')).toEqual([serviceKey()]);
    await expect(assertServiceKey(keyStore, 'metadata-integrity', serviceKey())).resolves.toBeUndefined();
    await expect(assertServiceKey(keyStore, 'metadata-integrity', currentId(key))).rejects.toMatchObject({
      name: 'KeyStoreError',
      failure: 'keyUnavailable',
    });
    await expect(
      assertServiceKey(keyStore, 'metadata-integrity', randomBytes(16).toString('hex') as BackingKeyId),
    ).rejects.toMatchObject({ name: 'KeyStoreError', failure: 'keyUnavailable' });
  });
});
