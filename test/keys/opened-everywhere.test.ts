/** Which HSMs open what a key is wrapped anew into before it takes the place of what was there. */

import { expect, test } from 'vitest';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { noCustomKeyStores } from '../../src/keys/custom-key-store.ts';
import { KeyStoresOfRegion } from '../../src/keys/key-stores-of-region.ts';
import { assertOpenedEverywhere } from '../../src/keys/moves/opened-everywhere.ts';
import { newBackingKeyId, newKeyId, newMultiRegionKeyId } from '../../src/kms/names.ts';
import { examples } from '../store/records.ts';

test.each([
  ['of one Region is opened in its key store', { keyId: newKeyId(), regions: 'here-1' }, undefined, ['annex']],
  ['of a former version, which named no Region, too', { keyId: newKeyId(), regions: '' }, undefined, ['annex']],
  ['is not opened where it was wrapped', { keyId: newKeyId(), regions: '' }, 'annex', []],
  [
    'of several Regions is opened once in each key store that will use it',
    { keyId: newMultiRegionKeyId(), regions: 'here-1 there-1 there-2' },
    'annex',
    ['abroad', 'home'],
  ],
])('What %s', async (_what, members, hasOpened, asked) => {
  const opened: string[] = [];
  const spec = { wrappedKeySpec: 'SYMMETRIC_DEFAULT', wrappedKeyUsage: 'ENCRYPT_DECRYPT' } as const;
  const capabilities = () => ({ wrapping: [{ keySpec: spec.wrappedKeySpec, works: true }] });
  /** Nothing else is asked of it. */
  const open = (name: string): [string, KeyStore] => {
    const keyStore = { capabilities, assertOpens: async () => void opened.push(name) };
    return [name, keyStore as unknown as KeyStore];
  };
  const regionOf = (region: string, ...names: readonly [string, ...string[]]) => {
    const domains = { holds: () => true, newestOf: () => undefined };
    const parts = { region, keyStores: new Map(names.map(open)), customKeyStores: noCustomKeyStores, domains };
    return [
      region,
      { directory: { keyStores: new KeyStoresOfRegion({ ...parts, defaultKeyStore: names[0] }) } },
    ] as const;
  };
  const regions = new Map([
    regionOf('there-1', 'abroad'),
    regionOf('there-2', 'abroad'),
    regionOf('here-1', 'home', 'annex'),
  ]);
  const wrapped = { residency: 'wrapped', wrappedKey: Buffer.from('blob'), domainKeyId: newBackingKeyId() } as const;
  const record = { ...examples.backingKey, importedMaterialId: '', ...spec, ...wrapped, ...members };
  await assertOpenedEverywhere({ ...record, keyStore: 'annex' }, regions, hasOpened);
  expect(opened).toEqual(asked);
});
