import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Grants } from '../../src/keys/grants/grant-directory.ts';
import { GrantTokens } from '../../src/keys/grants/grant-tokens.ts';
import type { GrantParameters } from '../../src/keys/grants/key-grants.ts';
import { type GrantId, type GrantPrincipal, newGrantId } from '../../src/kms/grant-terms.ts';
import type { KeyId } from '../../src/kms/names.ts';
import type { MetadataStore } from '../../src/store/metadata-store.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { testMac } from '../store/records.ts';

const keyId = '11111111-2222-3333-4444-555555555555' as KeyId;
const otherKeyId = '66666666-2222-3333-4444-555555555555' as KeyId;
const alice = 'arn:aws:iam::000000000000:user/alice' as GrantPrincipal;
const parameters: GrantParameters = {
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
    store = await openSqliteStore({ path: join(folder, 'metadata.db'), mac: testMac });
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });
  const open = async (): Promise<Grants> => {
    const grants = new Grants(store, new GrantTokens(await store.deriveKey('grant-tokens')));
    for (const record of (await store.load()).grant) grants.show(record);
    return grants;
  };

  test('are there again after a start, with tokens that are still good, until they are removed', async () => {
    const grants = await open();
    const grant = await grants.put(parameters);
    const token = grants.newToken(grant.grantId);
    const again = await open();
    expect(again.find(grant.grantId)).toEqual(grant);
    expect(again.findByToken(token)).toEqual(grant);
    expect(again.ofKey(keyId)?.findSame(parameters)).toEqual(grant);
    await again.remove(grant);
    expect(again.find(grant.grantId)).toBeUndefined();
    expect(again.findByToken(token)).toBeUndefined();
    expect(again.ofKey(keyId)).toBeUndefined();
    expect(again.idsRetirableBy(alice).size).toBe(0);
    expect((await store.load()).grant).toEqual([]);
  });

  test('are not there when the store does not take them', async () => {
    const grants = await open();
    const grant = await grants.put(parameters);
    await store.close();
    await expect(grants.put({ ...parameters, name: 'two' })).rejects.toMatchObject({ failure: 'closed' });
    await expect(grants.remove(grant)).rejects.toMatchObject({ failure: 'closed' });
    expect(grants.ofKey(keyId)?.count).toBe(1);
    expect(grants.find(grant.grantId)).toEqual(grant);
  });

  test('are 50,000 on one key at most', async () => {
    const grants = await open();
    for (let index = 0; index < 49_999; index++) {
      const grantId = index.toString(16).padStart(64, '0') as GrantId;
      grants.show({ ...parameters, name: '', retiring: null, grantId, createdAtMs: 0 });
    }
    await grants.put(parameters);
    await expect(grants.put(parameters)).rejects.toMatchObject({
      name: 'LimitExceededException',
      message: 'A KMS key can have at most 50000 grants.',
    });
    await grants.put({ ...parameters, keyId: otherKeyId });
    expect(grants.ofKey(keyId)?.count).toBe(50_000);
    expect((await store.load()).grant).toHaveLength(2);
  });

  test('have constraints of 64 MiB on one key at most, and room again when one is removed', async () => {
    const grants = await open();
    const constraints = { EncryptionContextSubset: { ['n'.repeat(8190)]: 'é' } };
    const shown = Array.from({ length: 8192 }, (_, index) => {
      const grantId = index.toString(16).padStart(64, '0') as GrantId;
      return { ...parameters, constraints, name: '', retiring: null, grantId, createdAtMs: 0 };
    });
    for (const grant of shown) grants.show(grant);
    await expect(
      grants.put({ ...parameters, constraints: { EncryptionContextEquals: { a: '' } } }),
    ).rejects.toMatchObject({
      name: 'LimitExceededException',
      message: 'The constraints of the grants of a KMS key can have at most 67108864 bytes.',
    });
    await grants.put({ ...parameters, constraints: {} });
    await grants.put({ ...parameters, keyId: otherKeyId, constraints });
    // The store does not have the grants that were only shown, so this one makes the room.
    const [first] = shown;
    if (first !== undefined) await grants.remove(first);
    await grants.put({ ...parameters, constraints });
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
    ['with pairs that look alike', { constraints: { EncryptionContextSubset: { a: '1","b":"2' } } }, false],
    ['without constraint', { constraints: {} }, false],
  ])('are found again by the same request %s: %j %s', async (_, change, isSame) => {
    const grants = await open();
    const grant = await grants.put(parameters);
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
