import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { GrantTokens } from '../../src/keys/grants/grant-tokens.ts';
import type { GrantParameters } from '../../src/keys/grants/key-grants.ts';
import { KeyDirectory } from '../../src/keys/key-directory.ts';
import { type GrantId, type GrantPrincipal, newGrantId } from '../../src/kms/grant-terms.ts';
import type { KeyId } from '../../src/kms/names.ts';
import type { MetadataStore } from '../../src/store/metadata-store.ts';
import { removed } from '../../src/store/records/changes.ts';
import type { GrantRecord } from '../../src/store/records/records.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { compile, realm } from '../authorization/policies.ts';
import { testMacs } from '../store/records.ts';

const keyId = '11111111-2222-3333-4444-555555555555' as KeyId;
const otherKeyId = '66666666-2222-3333-4444-555555555555' as KeyId;
const alice = 'arn:aws:iam::000000000000:user/alice' as GrantPrincipal;
const parameters: GrantParameters = {
  region: realm.region,
  keyId,
  name: 'one',
  grantee: alice,
  retiring: alice,
  issuingAccount: '000000000000',
  operations: ['Encrypt', 'Decrypt'],
  constraints: { EncryptionContextSubset: { a: '1', b: '2' } },
};

describe('grants', () => {
  let folder: string;
  let store: MetadataStore;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'drawbridge-grants-'));
    store = await openSqliteStore({ path: join(folder, 'metadata.db'), macs: testMacs, formerRegion: realm.region });
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });
  /** As a start does, with what requests do to grants. */
  async function open() {
    const turns = new Turns(store);
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const directory = new KeyDirectory(
      { realm, turns, keyStores: new Map(), defaultKeyStore: 'default', compilePolicy: compile, log },
      new GrantTokens(await store.deriveKey('grant-tokens')),
    );
    directory.take(await store.load());
    turns.follow(directory);
    const { grants } = directory;
    const put = (wanted: GrantParameters): Promise<GrantRecord> =>
      turns.take(() => {
        const { change, record } = grants.newGrant(wanted, 0);
        return { changes: [change], response: record };
      });
    const remove = (grant: GrantRecord): Promise<void> =>
      turns.take(() => ({ changes: [removed('grant', grant)], response: undefined }));
    return { grants, put, remove };
  }

  test('are there again after a start, with tokens that are still good, until they are removed', async () => {
    const before = await open();
    const grant = await before.put(parameters);
    const token = before.grants.newToken(grant.grantId);
    const { grants: again, remove } = await open();
    expect(again.find(grant.grantId)).toEqual(grant);
    expect(again.findByToken(token)).toEqual(grant);
    expect(again.ofKey(keyId)?.findSame(parameters)).toEqual(grant);
    await remove(grant);
    expect(again.find(grant.grantId)).toBeUndefined();
    expect(again.findByToken(token)).toBeUndefined();
    expect(again.ofKey(keyId)).toBeUndefined();
    expect(again.idsRetirableBy(alice).page(undefined, 1).names).toEqual([]);
    expect((await store.load()).grant).toEqual([]);
  });

  test('are not there when the store does not take them', async () => {
    const { grants, put, remove } = await open();
    const grant = await put(parameters);
    await store.close();
    await expect(put({ ...parameters, name: 'two' })).rejects.toMatchObject({ failure: 'closed' });
    await expect(remove(grant)).rejects.toMatchObject({ failure: 'closed' });
    expect(grants.ofKey(keyId)?.count).toBe(1);
    expect(grants.find(grant.grantId)).toEqual(grant);
  });

  test('are 50,000 on one key at most', async () => {
    const { grants, put } = await open();
    for (let index = 0; index < 49_999; index++) {
      const grantId = index.toString(16).padStart(64, '0') as GrantId;
      grants.show({ ...parameters, name: '', retiring: null, version: 1, grantId, createdAtMs: 0 });
    }
    await put(parameters);
    await expect(put(parameters)).rejects.toMatchObject({
      name: 'LimitExceededException',
      message: 'Grants per key quota for this account in this region is 50000, current usage is 50000.',
    });
    await put({ ...parameters, keyId: otherKeyId });
    expect(grants.ofKey(keyId)?.count).toBe(50_000);
    expect((await store.load()).grant).toHaveLength(2);
  });

  test('have constraints of 64 MiB on one key at most, and room again when one is removed', async () => {
    const { grants, put, remove } = await open();
    const constraints = { EncryptionContextSubset: { ['n'.repeat(8190)]: 'é' } };
    const first = await put({ ...parameters, constraints });
    const shown = Array.from({ length: 8191 }, (_, index) => {
      const grantId = index.toString(16).padStart(64, '0') as GrantId;
      return { ...parameters, constraints, name: '', retiring: null, version: 1, grantId, createdAtMs: 0 };
    });
    for (const grant of shown) grants.show(grant);
    await expect(put({ ...parameters, constraints: { EncryptionContextEquals: { a: '' } } })).rejects.toMatchObject({
      name: 'LimitExceededException',
      message: 'The constraints of the grants of a KMS key can have at most 67108864 bytes.',
    });
    await put({ ...parameters, constraints: {} });
    await put({ ...parameters, keyId: otherKeyId, constraints });
    await remove(first);
    await put({ ...parameters, constraints });
    expect(grants.ofKey(keyId)?.constraintBytes).toBe(67_108_864);
  });

  test.each<[string, Partial<GrantParameters>, boolean]>([
    ['to the letter', {}, true],
    ['with operations in another order', { operations: ['Decrypt', 'Encrypt'] }, true],
    ['with pairs in another order', { constraints: { EncryptionContextSubset: { b: '2', a: '1' } } }, true],
    ['with another name', { name: 'two' }, false],
    ['with another operation', { operations: ['Encrypt'] }, false],
    ['with another grantee', { grantee: 's3.amazonaws.com' as GrantPrincipal }, false],
    ['with nobody to retire it', { retiring: null }, false],
    ['with the pairs as an exact context', { constraints: { EncryptionContextEquals: { a: '1', b: '2' } } }, false],
    ['with names of pairs in another case', { constraints: { EncryptionContextSubset: { A: '1', b: '2' } } }, false],
    ['with pairs that look alike', { constraints: { EncryptionContextSubset: { a: '1","b":"2' } } }, false],
    ['without constraint', { constraints: {} }, false],
  ])('are found again by the same request %s: %j %s', async (_, change, isSame) => {
    const { grants, put } = await open();
    const grant = await put(parameters);
    const found = grants.ofKey(keyId)?.findSame({ ...parameters, ...change });
    expect(found).toEqual(isSame ? grant : undefined);
    expect(grants.ofKey(keyId)?.findSame({ ...parameters, name: '' })).toBeUndefined();
  });
});

describe('a grant token', () => {
  const tokens = new GrantTokens(Buffer.alloc(32, 1));

  test('names its grant, and is another one each time', () => {
    const grantId = newGrantId();
    const [first, second] = [tokens.issue(grantId), tokens.issue(grantId)];
    expect(first).toMatch(/^[\w-]{108}$/);
    expect(second).not.toBe(first);
    expect([first, second].map((token) => tokens.read(token))).toEqual([grantId, grantId]);
  });

  test('is refused when any bit of it is another one, and when another daemon made it', () => {
    const bytes = Buffer.from(tokens.issue(newGrantId()), 'base64url');
    fc.assert(
      fc.property(fc.nat({ max: bytes.length * 8 - 1 }), (bit) => {
        const changed = Buffer.from(bytes);
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(tokens.read(changed.toString('base64url'))).toBeUndefined();
      }),
      { numRuns: 648 },
    );
    expect(new GrantTokens(Buffer.alloc(32, 2)).read(bytes.toString('base64url'))).toBeUndefined();
  });

  test('is refused whatever else is said in its place', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.base64String(), fc.string({ minLength: 108, maxLength: 108 })), (text) => {
        expect(tokens.read(text)).toBeUndefined();
      }),
    );
  });
});
