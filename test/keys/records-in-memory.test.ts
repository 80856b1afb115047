/** The directory as a fold over the records: what is written shows, of this Region alone, and nothing else does. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type KeyStore, KeyStoreError } from '../../src/hsm/key-store.ts';
import { authorizeKey } from '../../src/keys/authorized-key.ts';
import type { KeyDirectory } from '../../src/keys/key-directory.ts';
import { currentBackingKeyOf, type KmsKey } from '../../src/keys/kms-key.ts';
import { DomainKeys } from '../../src/keys/life/domain-keys.ts';
import { settleLateKeyStore } from '../../src/keys/life/late-key-store.ts';
import { type OpenKeys, openKeys } from '../../src/keys/life/open-keys.ts';
import { retireDomainKeys } from '../../src/keys/life/retired-domain-keys.ts';
import { unusedKeyId } from '../../src/keys/unused-key-id.ts';
import { parseCiphertext } from '../../src/keys/use/ciphertext.ts';
import { decrypt, encrypt } from '../../src/keys/use/symmetric-encryption.ts';
import type { GrantPrincipal } from '../../src/kms/grant-terms.ts';
import {
  type AliasName,
  type BackingKeyId,
  digitsOfKeyId,
  type KeyId,
  keyIdsOfDigits,
  newBackingKeyId,
  newKeyId,
  type Realm,
} from '../../src/kms/names.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';
import type { Change } from '../../src/store/records/changes.ts';
import { added, removed, replaced } from '../../src/store/records/changes.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { alice, allow, bob, compile, policy, realm } from '../authorization/policies.ts';
import { openStore } from '../hsm/test-store.ts';
import { examples, testMacs } from '../store/records.ts';
import { holdTurn } from '../support/held-turn.ts';
import { newTestKey } from '../support/new-key.ts';
import { describeEachToken } from '../support/tokens.ts';

const policyDocument = policy(allow(alice, 'kms:*'));
const elsewhere: Realm = { ...realm, region: 'eu-west-1' };

describeEachToken('Keys in memory', (token) => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-fold-'));
  let keyStore: KeyStore;
  let store: SqliteStore;
  let turns: Turns;
  let here: OpenKeys;
  let there: OpenKeys;

  beforeAll(async () => {
    keyStore = await openStore(token(), { lanes: 2 });
    store = await openSqliteStore({ path: join(folder, 'metadata.db'), macs: testMacs, formerRegion: realm.region });
    turns = new Turns(store);
    const keyStores = new Map([['default', keyStore]]);
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const regions = new Map<string, KeyDirectory>();
    const options = { store, turns, keyStores, regions, defaultKeyStore: 'default', compilePolicy: compile, log };
    const limits = { encryptionLimits: { maxEncryptionsPerBackingKey: 1000, reservationBlock: 4 } };
    here = await openKeys({ ...options, ...limits, realm });
    there = await openKeys({ ...options, ...limits, realm: elsewhere });
  });
  afterAll(async () => {
    await store.close();
    await keyStore.close();
    rmSync(folder, { recursive: true });
  });

  const put = (...changes: readonly Change[]): Promise<void> => turns.take(() => ({ changes, response: undefined }));
  const newKey = (keys = here): Promise<KmsKey> => newTestKey({ ...keys, turns }, { policyDocument });
  function found(directory: KeyDirectory, keyId: KeyId): KmsKey {
    const key = directory.findKey(keyId);
    if (key === undefined) throw new TypeError('the key is not there');
    return key;
  }
  const text = () => new Plaintext(Buffer.from('attack at dawn'));
  async function decrypted(key: KmsKey, blob: Buffer): Promise<string> {
    const parsed = parseCiphertext(blob);
    if (parsed === undefined) throw new TypeError('Encrypt gave what is no ciphertext blob');
    return (await decrypt(authorizeKey(key), parsed, undefined)).plaintext.reveal().toString();
  }

  test('show every member of a backing key that was written anew, and count on', async () => {
    const { keyId } = (await newKey()).record;
    await encrypt(here.life, authorizeKey(found(here.directory, keyId)), text(), undefined);
    const { record, counter } = currentBackingKeyOf(found(here.directory, keyId));
    const { used } = counter;
    const publicKey = Buffer.from('another public key');
    await put(replaced('backingKey', record, { publicKey, residency: 'token', createdAtMs: 1 }));
    const after = currentBackingKeyOf(found(here.directory, keyId));
    expect(after.record).toEqual({ ...record, version: record.version + 1, publicKey, createdAtMs: 1 });
    expect(after.counter.used).toBe(used);
  });

  test('have a backing key from the moment that its record is active, and not before', async () => {
    const { keyId } = (await newKey()).record;
    const ids = (): readonly string[] => [...found(here.directory, keyId).backingKeys.keys()];
    const [first] = ids();
    const material = await here.life.generate({
      ...{ keyId, keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT', keyStore: 'default', ordinal: 2 },
    });
    expect(ids()).toEqual([first]);
    await put(material.activated());
    expect(ids()).toEqual([first, material.backingKeyId]);
    expect(found(here.directory, keyId).currentBackingKey?.record.backingKeyId).toBe(first);
  });

  test('reserve numbers without undoing what was written of the backing key while the reservation waited', async () => {
    const { keyId } = (await newKey()).record;
    const publicKey = Buffer.from('written meanwhile');
    const { record } = currentBackingKeyOf(found(here.directory, keyId));
    const turn = await holdTurn(turns, () => [replaced('backingKey', record, { publicKey })]);
    const encrypting = encrypt(here.life, authorizeKey(found(here.directory, keyId)), text(), undefined);
    await turn.letGo();
    const { ciphertextBlob } = await encrypting;
    const expected = { publicKey, reservedEncryptions: 4, version: record.version + 2 };
    expect(currentBackingKeyOf(found(here.directory, keyId)).record).toMatchObject(expected);
    const onDisk = (await store.load()).backingKey.find(({ backingKeyId }) => backingKeyId === record.backingKeyId);
    expect(onDisk).toMatchObject(expected);
    expect(await decrypted(found(here.directory, keyId), ciphertextBlob)).toBe('attack at dawn');
  });

  test('are those of their own Region, with their aliases, grants and policies; so they are after a start', async () => {
    const [ours, theirs] = [(await newKey(here)).record, (await newKey(there)).record];
    const aliasName = 'alias/both' as AliasName;
    const alias = { aliasName, version: 1, createdAtMs: 0, updatedAtMs: 0 };
    const granted = { name: '', retiring: null, issuingAccount: realm.account, constraints: {} };
    const grantOf = ({ directory }: OpenKeys, { region, keyId }: typeof ours) =>
      directory.grants.newGrant(
        { ...granted, region, keyId, grantee: bob as string as GrantPrincipal, operations: ['Decrypt'] },
        0,
      );
    const [ourGrant, theirGrant] = [grantOf(here, ours), grantOf(there, theirs)];
    await put(
      added('alias', { ...alias, region: realm.region, keyId: ours.keyId }),
      added('alias', { ...alias, region: elsewhere.region, keyId: theirs.keyId }),
      ourGrant.change,
      theirGrant.change,
    );
    const loaded = await store.load();
    const started = async (where: Realm): Promise<KeyDirectory> => {
      const { directory } = await openKeys(
        {
          ...{ realm: where, store, turns: new Turns(store), keyStores: new Map([['default', keyStore]]) },
          ...{ defaultKeyStore: 'default', compilePolicy: compile },
          log: { debug() {}, info() {}, warn() {}, error() {} },
        },
        { loaded, source: undefined },
      );
      return directory;
    };
    const check = (directory: KeyDirectory, own: typeof ours, others: typeof ours, grant: typeof ourGrant): void => {
      expect(found(directory, own.keyId).arn).toContain(`:${own.region}:`);
      expect(directory.findKey(others.keyId)).toBeUndefined();
      expect(directory.aliases.find(aliasName)?.keyId).toBe(own.keyId);
      expect(directory.aliases.namesOf(others.keyId)).toEqual([]);
      expect(directory.grants.find(grant.record.grantId)).toEqual(grant.record);
      expect(directory.grants.ofKey(others.keyId)).toBeUndefined();
    };
    for (const directory of [here.directory, await started(realm)]) check(directory, ours, theirs, ourGrant);
    for (const directory of [there.directory, await started(elsewhere)]) check(directory, theirs, ours, theirGrant);

    const put0 = found(here.directory, ours.keyId);
    await put(
      replaced('keyPolicy', put0.policyRecord, { document: policy(allow(bob, 'kms:*')) }),
      replaced('key', put0.record, { description: 'ours' }),
      removed('alias', { ...alias, region: realm.region, keyId: ours.keyId }),
      removed('grant', ourGrant.record),
    );
    expect(found(here.directory, ours.keyId)).toMatchObject({ record: { description: 'ours' } });
    expect(here.directory.aliases.find(aliasName)).toBeUndefined();
    expect(here.directory.grants.ofKey(ours.keyId)).toBeUndefined();
    check(there.directory, theirs, ours, theirGrant);
  });

  test('are found by the digits of a ciphertext in either form of their id', async () => {
    const single = (await newKey()).record.keyId;
    const multiRegion = (await newTestKey({ ...here, turns }, { policyDocument, keyId: mrkId() })).record.keyId;
    expect(multiRegion).toMatch(/^mrk-[0-9a-f]{32}$/);
    for (const keyId of [single, multiRegion]) {
      const key = found(here.directory, keyId);
      const { ciphertextBlob } = await encrypt(here.life, authorizeKey(key), text(), undefined);
      const digits = parseCiphertext(ciphertextBlob)?.keyIdDigits ?? '';
      expect(digits).toBe(digitsOfKeyId(keyId));
      const again = here.directory.findKeyOfDigits(digits);
      expect(again?.record.keyId).toBe(keyId);
      expect(await decrypted(key, ciphertextBlob)).toBe('attack at dawn');
      expect(there.directory.findKeyOfDigits(digits)).toBeUndefined();
    }
  });

  test('get ids that no deleted key had, in either form, and a row of one that turns up is not used', async () => {
    const { region } = here.directory.realm;
    const gone = [newKeyId(), mrkId()] as const;
    const tombstones = gone.map((keyId) =>
      added('tombstone', { region, keyId, version: 1, deletedAtMs: 1, domainKeyIds: '' }),
    );
    await turns.take(() => ({ changes: tombstones, response: undefined }));
    const [singleOfMultiRegion] = keyIdsOfDigits(digitsOfKeyId(gone[1]));
    const free = newKeyId();
    const proposed = [gone[0], singleOfMultiRegion, free];
    expect(unusedKeyId(here.directory, () => proposed.shift() ?? newKeyId())).toBe(free);
    const aliasName = 'alias/of-a-deleted-key' as AliasName;
    const times = { createdAtMs: 1, updatedAtMs: 1 };
    const row = added('alias', { region, aliasName, version: 1, keyId: gone[0], ...times });
    await turns.take(() => ({ changes: [row], response: undefined }));
    expect(here.directory.aliases.find(aliasName)).toBeUndefined();
  });

  test('keep what a key of any Region needs when their key store comes late, though a record says it was never made', async () => {
    const { keyId, currentBackingKeyId } = (await newKey(there)).record;
    const { record } = currentBackingKeyOf(found(there.directory, keyId));
    const intent = { state: 'Creating', owner: store.nodeId } as const;
    const unneeded = { ...record, ...intent, version: 1, keyId: newKeyId(), backingKeyId: newBackingKeyId() };
    await put(replaced('backingKey', record, intent), added('backingKey', unneeded));
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const late = { turns, nodeId: store.nodeId, log };
    const domainKeys = new DomainKeys(late, { domainKey: [], backingKey: [] });
    const leftIntents = { add: () => expect.unreachable('nothing is in the way') };
    await settleLateKeyStore('default', keyStore, { ...late, directory: here.directory, domainKeys, leftIntents });
    expect((await keyStore.listKeys()).map(({ backingKeyId }) => backingKeyId)).toContain(currentBackingKeyId);
    expect(here.directory.onRecord.findMaterial(unneeded.backingKeyId)).toBeUndefined();
  });

  test('have the end of a domain key finished that a key store was giving up, where another one has what needs it', async () => {
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    for (const [needing, isLeft] of [
      ['annex', false],
      ['default', true],
    ] as const) {
      const backingKeyId = newBackingKeyId();
      await keyStore.generateDomainKey({ backingKeyId, label: 'drawbridge:domain:annex:1' });
      const common = { backingKeyId, version: 1, createdAtMs: 1, proof: Buffer.alloc(0), ordinal: 1 } as const;
      const marked = { ...common, keyStore: 'default', state: 'Destroying', owner: store.nodeId } as const;
      const other = { ...common, keyStore: 'annex', state: 'Active', owner: '' } as const;
      await put(added('domainKey', marked), added('domainKey', other));
      const wrapped = { keyStore: needing, domainKeyId: backingKeyId, wrappedKey: Buffer.of(1) };
      const backingKey = [{ ...examples.backingKey, ...wrapped }];
      const parts = { turns, nodeId: store.nodeId, log };
      const domainKeys = new DomainKeys(parts, { domainKey: [marked, other], backingKey });
      await domainKeys.settle('default', keyStore);
      const there = (await keyStore.listKeys()).map((key) => key.backingKeyId);
      expect([there.includes(backingKeyId), domainKeys.of('default').length > 0]).toEqual([isLeft, isLeft]);
      await keyStore.destroyKey({ backingKeyId });
    }
  });

  test('have a domain key marked before any HSM loses it that another one may have wrapped something under', async () => {
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const [former, newest] = [newBackingKeyId(), newBackingKeyId()];
    await keyStore.generateDomainKey({ backingKeyId: former, label: 'drawbridge:domain:vault:1' });
    const common = { keyStore: 'vault', version: 1, createdAtMs: 1, proof: Buffer.alloc(0), owner: '' } as const;
    const records = [former, newest].map(
      (backingKeyId, at) => ({ ...common, backingKeyId, state: 'Active', ordinal: at + 1 }) as const,
    );
    await put(...records.map((record) => added('domainKey', record)));
    const domainKeys = new DomainKeys({ turns, nodeId: store.nodeId, log }, { domainKey: records, backingKey: [] });
    const asked: unknown[] = [];
    const elsewhere = async (backingKeyId: BackingKeyId): Promise<void> => {
      const there = (await keyStore.listKeys()).some((key) => key.backingKeyId === backingKeyId);
      asked.push([backingKeyId, there, domainKeys.of('vault')[0]?.state]);
    };
    const places = { keyStoreOf: () => keyStore, elsewhere };
    expect(await retireDomainKeys(domainKeys, 'vault', places, () => () => 0)).toEqual([former]);
    expect(asked).toEqual([[former, true, 'Destroying']]);
    expect(domainKeys.of('vault').map(({ backingKeyId }) => backingKeyId)).toEqual([newest]);
  });

  test('have the end of a domain key finished once an HSM is back that held it up, whatever was wrapped under it before', async () => {
    const said: string[] = [];
    const note = (_fields: object, message: string): void => void said.push(message);
    const log = { debug: note, info: note, warn: note, error: note };
    const [former, newest] = [newBackingKeyId(), newBackingKeyId()];
    await keyStore.generateDomainKey({ backingKeyId: former, label: 'drawbridge:domain:ours:1' });
    const common = { keyStore: 'ours', version: 1, createdAtMs: 1, proof: Buffer.alloc(0), owner: '' } as const;
    const domainKey = [former, newest].map(
      (backingKeyId, at) => ({ ...common, backingKeyId, state: 'Active', ordinal: at + 1 }) as const,
    );
    await put(...domainKey.map((record) => added('domainKey', record)));
    const wrapped = { keyStore: 'ours', domainKeyId: former, wrappedKey: Buffer.of(1) };
    const backingKey = [{ ...examples.backingKey, ...wrapped }];
    const domainKeys = new DomainKeys({ turns, nodeId: store.nodeId, log }, { domainKey, backingKey });
    const away = {
      describeKey: (...request: Parameters<typeof keyStore.describeKey>) => keyStore.describeKey(...request),
      destroyKey: () => Promise.reject(new KeyStoreError('away', 'a member may have it, and is not there')),
    };
    const places = { keyStoreOf: () => away, elsewhere: async () => undefined };
    await expect(retireDomainKeys(domainKeys, 'ours', places, () => () => 0)).rejects.toThrow('is not there');
    await domainKeys.settle('ours', keyStore);
    expect(domainKeys.of('ours').map(({ backingKeyId }) => backingKeyId)).toEqual([newest]);
    expect((await keyStore.listKeys()).some((key) => key.backingKeyId === former)).toBe(false);
    expect(said.filter((message) => message.includes('old record'))).toEqual([]);
  });

  test('have no HSM lose a domain key that another one was to give up alone', async () => {
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const backingKeyId = newBackingKeyId();
    const common = { backingKeyId, version: 1, createdAtMs: 1, proof: Buffer.alloc(0), ordinal: 1 } as const;
    // It left the domain, and its HSM did not answer when it was to destroy what it has no use for.
    const leaver = { ...common, keyStore: 'leaver', state: 'Destroying', owner: store.nodeId } as const;
    const records = [leaver, { ...common, keyStore: 'stays', state: 'Active', owner: '' } as const];
    await put(...records.map((record) => added('domainKey', record)));
    const domainKeys = new DomainKeys({ turns, nodeId: store.nodeId, log }, { domainKey: records, backingKey: [] });
    const lost: BackingKeyId[] = [];
    const elsewhere = async (id: BackingKeyId): Promise<void> => void lost.push(id);
    await retireDomainKeys(domainKeys, 'leaver', { keyStoreOf: () => keyStore, elsewhere }, () => () => 1);
    expect(lost).toEqual([]);
    expect(domainKeys.everywhere(backingKeyId)).toEqual([records[1]]);
  });

  test('get ids whose digits no other key has, in whatever form', async () => {
    const single = (await newKey()).record.keyId;
    const multiRegion = (await newTestKey({ ...here, turns }, { policyDocument, keyId: mrkId() })).record.keyId;
    const [likeMultiRegion] = keyIdsOfDigits(digitsOfKeyId(multiRegion));
    const free = newKeyId();
    const proposed = [single, likeMultiRegion, single, free];
    expect(unusedKeyId(here.directory, () => proposed.shift() ?? newKeyId())).toBe(free);
    expect(proposed).toEqual([]);
  });
});

function mrkId(): KeyId {
  return keyIdsOfDigits(digitsOfKeyId(newKeyId()))[1];
}
