/** The destruction of wrapped material: which lanes have it no more. Two key stores over one token have the same domain key, as after joining. */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { WrappedKey, type WrappedKeyOutline } from '../../src/hsm/wrapped-key.ts';
import { noCustomKeyStores } from '../../src/keys/custom-key-store.ts';
import { KeyStoresOfRegion } from '../../src/keys/key-stores-of-region.ts';
import { DestroyedMaterial } from '../../src/keys/life/destroyed-material.ts';
import { type BackingKeyId, newBackingKeyId, newKeyId, newMultiRegionKeyId } from '../../src/kms/names.ts';
import { added, replaced } from '../../src/store/records/changes.ts';
import { openSqliteStore } from '../../src/store/sqlite-store.ts';
import { aad, failureOf, openStore, plaintextOf } from '../hsm/test-store.ts';
import { examples, formerRegion, testMacs } from '../store/records.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: destroyed material: ${softHsm2.missing}\n`);

describe.skipIf(softHsm2.missing !== null)('Wrapped material that is destroyed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-destroyed-'));
  const domainKeyId = newBackingKeyId();
  let token: TestToken;
  let store: Awaited<ReturnType<typeof openSqliteStore>>;
  let [here, beside, elsewhere]: KeyStore[] = [];
  let material: DestroyedMaterial;

  beforeAll(async () => {
    token = softHsm2.create();
    store = await openSqliteStore({ path: join(folder, 'metadata.db'), macs: testMacs, formerRegion });
    here = await openStore(token);
    await here.generateDomainKey({ backingKeyId: domainKeyId, label: 'drawbridge:domain:test:1' });
    // One after the other: of two logins at the same moment SoftHSM2 refuses one now and then.
    beside = await openStore(token);
    elsewhere = await openStore(token);
    const regionOf = (region: string, keyStores: Readonly<Record<string, KeyStore>>) =>
      new KeyStoresOfRegion({
        ...{ region, keyStores: new Map(Object.entries(keyStores)), customKeyStores: noCustomKeyStores },
        ...{
          defaultKeyStore: Object.keys(keyStores)[0] ?? '',
          domains: { holds: () => true, newestOf: () => undefined },
        },
      });
    const keyStores = regionOf('here-1', { here, beside });
    const regions = new Map([
      ['here-1', { keyStores }],
      ['there-1', { keyStores: regionOf('there-1', { elsewhere }) }],
    ]);
    material = new DestroyedMaterial(
      { keyStore: (name) => keyStores.named(name), keyStores, defaultKeyStore: 'here', regions },
      store,
    );
  });
  afterAll(async () => {
    await store?.close();
    for (const each of [here, beside, elsewhere]) await each?.close();
    token?.remove();
    rmSync(folder, { recursive: true });
  });

  const all = () => ({ here, beside, elsewhere }) as Readonly<Record<string, KeyStore>>;
  const encrypt = (keyStore: KeyStore | undefined, backingKeyId: BackingKeyId, outline: WrappedKeyOutline) => {
    if (keyStore === undefined) throw new TypeError('it is open');
    const wrapped = new WrappedKey(outline);
    return keyStore.encrypt({ backingKeyId, wrapped, aad, plaintext: plaintextOf('text') });
  };

  /** A key that all of them have unwrapped. */
  async function inUse(members: object) {
    const spec = { domainKeyId, keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    const made = await here?.generateWrappedKey(spec);
    if (made === undefined) throw new TypeError('it is open');
    const outline = { ...spec, ...made };
    const record = {
      ...{ ...examples.backingKey, keyId: newKeyId(), backingKeyId: newBackingKeyId(), keyStore: 'here', domainKeyId },
      ...{
        residency: 'wrapped',
        wrappedKey: outline.blob,
        formerDomainKeyIds: '',
        importedMaterialId: '',
        regions: '',
      },
      ...members,
    } as const;
    for (const keyStore of Object.values(all())) await encrypt(keyStore, record.backingKeyId, outline);
    /** Who would still use it. Whoever has unwrapped it does, whatever blob comes along. */
    const holders = async (): Promise<readonly string[]> => {
      const found: string[] = [];
      for (const [name, keyStore] of Object.entries(all())) {
        const asked = await failureOf(encrypt(keyStore, record.backingKeyId, { ...outline, blob: Buffer.alloc(40) }));
        if (asked.failure === 'none') found.push(name);
        else expect(asked.failure).toBe('keyUnavailable');
      }
      return found;
    };
    expect(await holders()).toEqual(['here', 'beside', 'elsewhere']);
    return { record, holders };
  }

  test.each([
    ['and never was elsewhere, is forgotten where it is', {}, ['beside', 'elsewhere']],
    ['and was moved as it is, is forgotten where it was, too', { formerDomainKeyIds: newBackingKeyId() }, []],
    ['and is that of several Regions, is forgotten in all of them', { keyId: newMultiRegionKeyId() }, []],
  ])('%s', async (_case, members, holdersAfter) => {
    const { record, holders } = await inUse(members);
    await material.destroy([record]);
    expect(await holders()).toEqual(holdersAfter);
    // A crash in between has it done again.
    await material.destroy([record]);
  });

  test.each([
    ['is destroyed', false],
    ['is left in an HSM that is lost', true],
  ])('and whose object, which came into a token later, %s, is in the file no more', async (_case, isLeft) => {
    const wrappedKey = randomBytes(61);
    const [keyId, backingKeyId] = [newKeyId(), newBackingKeyId()];
    const wrapped = { ...examples.backingKey, keyId, backingKeyId, keyStore: 'here', domainKeyId, wrappedKey } as const;
    const inToken = { ...wrapped, residency: 'token', wrappedKey: null } as const;
    await store.write([added('backingKey', { ...wrapped, residency: 'wrapped' })]);
    await store.write([replaced('backingKey', wrapped, inToken)]);
    const text = wrappedKey.toString('base64');
    const isInFile = () => readdirSync(folder).some((name) => readFileSync(join(folder, name)).includes(text));
    expect(isInFile()).toBe(true);
    await material.destroy([inToken], new Set(isLeft ? [inToken] : []));
    expect(isInFile()).toBe(false);
  });

  test('in one Region alone is forgotten by its lanes, and used on by the others', async () => {
    const { record, holders } = await inUse({ keyId: newMultiRegionKeyId() });
    await material.forget([record]);
    expect(await holders()).toEqual(['elsewhere']);
  });
});
