/** What comes under a former domain key while a key store is gone through. */

import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type KeyStore, KeyStoreError } from '../../src/hsm/key-store.ts';
import { Rewrapping } from '../../src/keys/moves/rewrapping.ts';
import { RecordsOfKeys } from '../../src/keys/records-of-keys.ts';
import { type BackingKeyId, newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import { replaced } from '../../src/store/records/changes.ts';
import { Turns } from '../../src/store/turns.ts';
import { examples } from '../store/records.ts';

const region = 'us-east-1';
const [former, current] = [newBackingKeyId(), newBackingKeyId()];
const log = { debug() {}, info() {}, warn() {}, error() {} };

test('A key that is moved into a key store under a former domain key is wrapped anew, also where that was gone through already', async () => {
  const records = new RecordsOfKeys();
  const recordIn = (keyStore: string, domainKeyId: BackingKeyId) => ({
    ...examples.backingKey,
    ...({ residency: 'wrapped', state: 'Active', wrappedKey: Buffer.of(1), regions: region } as const),
    ...{ keyId: newKeyId(), backingKeyId: newBackingKeyId(), keyStore, domainKeyId },
  });
  const moved = recordIn('other', former);
  records.fileBackingKey(moved);
  for (let at = 0; at < 5_000; at++) records.fileBackingKey(recordIn('annex', current));
  const turns = new Turns({ write: async () => undefined, reread: async () => [] });
  // What is asked of a key store that is away, and of what is on record; no key is unwrapped here.
  const away = {
    capabilities() {
      throw new KeyStoreError('unavailable', 'it is away');
    },
  } as unknown as KeyStore;
  const domainKey = { ...examples.domainKey, keyStore: 'annex', state: 'Active' } as const;
  const all = [former, current].map((backingKeyId, ordinal) => ({ ...domainKey, backingKeyId, ordinal }));
  const directory = { onRecord: records, findSoundKey: () => undefined, keyStores: { isShared: () => false } };
  const rewrapping = new Rewrapping({
    ...{ keyStores: new Map([['annex', away]]), turns, log },
    regions: new Map([[region, { directory }]]) as never,
    domainKeys: { of: () => all, assertActive: () => undefined },
  });
  const going = rewrapping.some('annex', async () => undefined);
  await setImmediate();
  const change = replaced('backingKey', moved, { keyStore: 'annex' });
  records.fileBackingKey({ ...moved, keyStore: 'annex', version: moved.version + 1 });
  rewrapping.apply([change]);
  expect(await going).toBe(true);
  expect([...rewrapping.pending()]).toMatchObject([{ keyStore: 'annex' }]);
});
