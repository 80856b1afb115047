/** In which way material comes wrapped into another key store, and why not: by what is on record, and by what the tokens do. */

import { expect, test } from 'vitest';
import type { KeyStoreCapabilities } from '../../src/hsm/key-store.ts';
import { WaysIntoKeyStores } from '../../src/keys/moves/ways-into-key-stores.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';
import { examples } from '../store/records.ts';

const [ofFirst, ofOther] = [newBackingKeyId(), newBackingKeyId()];
const lax = { attempt: 'wrap a key that is not extractable', isHeld: false, answer: 'CKR_OK' };
const strict = { ...lax, isHeld: true, answer: 'CKR_KEY_UNEXTRACTABLE' };

const rows = [
  { firstHas: [ofFirst], otherHas: [ofOther, ofFirst], trial: strict, way: 'asItIs' },
  { firstHas: [ofFirst, ofOther], otherHas: [ofFirst, ofOther], trial: lax, way: 'asItIs' },
  { firstHas: [ofFirst, ofOther], otherHas: [ofOther], trial: lax, way: 'bySource' },
  {
    firstHas: [ofFirst, ofOther],
    otherHas: [ofOther],
    trial: strict,
    way: /does not let the key out.*CKR_KEY_UNEXTRACTABLE.*have the token of `other` join/,
  },
  {
    firstHas: [ofFirst],
    otherHas: [ofOther],
    trial: lax,
    way: /`other` does not have the domain key of `first`.*domain join --key-store other/,
  },
  { firstHas: [ofFirst], otherHas: [], trial: lax, way: /`other` does not have the domain key of `first`/ },
] as const;

test.each(rows)('Material comes into another key store: $way', ({ firstHas, otherHas, trial, way }) => {
  const held = { first: firstHas, other: otherHas } as Record<string, readonly string[]>;
  // No more of them is looked at.
  const capabilities = { protection: [trial] } as unknown as KeyStoreCapabilities;
  const ways = new WaysIntoKeyStores({
    domainKeys: {
      holds: (name, id) => held[name]?.includes(id) === true,
      newestOf: (name) => (name === 'first' ? ofFirst : otherHas.find((id) => id === ofOther)),
      current: () => Promise.reject(new Error('nothing is made')),
    },
    keyStore: () => {
      throw new Error('no token is asked');
    },
    capabilities: () => capabilities,
  });
  const record = { ...examples.backingKey, keyStore: 'first', residency: 'wrapped', domainKeyId: ofFirst };
  for (const residency of ['wrapped', 'token'] as const) {
    const find = () => ways.of({ record, to: { keyStore: 'other', residency }, domainKeyId: ofFirst });
    if (typeof way === 'string') expect(find()).toBe(way);
    else expect(find).toThrow(way);
  }
});
