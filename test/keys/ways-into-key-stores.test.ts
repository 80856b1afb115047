/** In which way material comes wrapped into another key store, and why not: by what is on record, and by what the tokens do. */

import { expect, test } from 'vitest';
import type { KeyStoreCapabilities } from '../../src/hsm/key-store.ts';
import { WaysIntoKeyStores } from '../../src/keys/moves/ways-into-key-stores.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { examples } from '../store/records.ts';

const [ofFirst, ofOther, newer] = [newBackingKeyId(), newBackingKeyId(), newBackingKeyId()];
const lax = { attempt: 'wrap a key that is not extractable', isHeld: false, answer: 'CKR_OK' };
const strict = { ...lax, isHeld: true, answer: 'CKR_KEY_UNEXTRACTABLE' };

/** Domain keys, the oldest first, with when they came. */
type Held = readonly (readonly [BackingKeyId, number])[];
interface Row {
  readonly firstHas: Held;
  readonly otherHas: Held;
  readonly trial: typeof lax;
  readonly way: string | RegExp;
}

const rows: readonly Row[] = [
  {
    firstHas: [[ofFirst, 1]],
    otherHas: [
      [ofFirst, 2],
      [ofOther, 1],
    ],
    trial: strict,
    way: 'asItIs',
  },
  {
    firstHas: [
      [ofOther, 2],
      [ofFirst, 1],
    ],
    otherHas: [
      [ofFirst, 2],
      [ofOther, 1],
    ],
    trial: lax,
    way: 'asItIs',
  },
  {
    firstHas: [
      [ofOther, 2],
      [ofFirst, 1],
    ],
    otherHas: [[ofOther, 1]],
    trial: lax,
    way: 'bySource',
  },
  {
    firstHas: [
      [ofOther, 2],
      [ofFirst, 1],
    ],
    otherHas: [[ofOther, 1]],
    trial: strict,
    way: /does not let the key out.*CKR_KEY_UNEXTRACTABLE.*have the token of `other` join/,
  },
  {
    firstHas: [[ofFirst, 1]],
    otherHas: [[ofOther, 1]],
    trial: lax,
    way: /`other` does not have the domain key of `first`.*domain join --key-store other/,
  },
  { firstHas: [[ofFirst, 1]], otherHas: [], trial: lax, way: /`other` does not have the domain key of `first`/ },
  // One of the two left the domain of the other: whichever has nothing newer, or has it later.
  {
    firstHas: [
      [ofFirst, 1],
      [newer, 2],
    ],
    otherHas: [[ofFirst, 1]],
    trial: lax,
    way: /`other` has left the domain of `first`.*domain invite first/,
  },
  {
    firstHas: [
      [ofFirst, 1],
      [newer, 2],
    ],
    otherHas: [
      [ofFirst, 1],
      [ofOther, 3],
    ],
    trial: lax,
    way: /`other` has left/,
  },
  {
    firstHas: [[ofFirst, 1]],
    otherHas: [
      [ofFirst, 1],
      [ofOther, 2],
    ],
    trial: strict,
    way: 'asItIs',
  },
  {
    firstHas: [
      [ofFirst, 1],
      [newer, 3],
    ],
    otherHas: [
      [ofFirst, 1],
      [ofOther, 2],
    ],
    trial: strict,
    way: 'asItIs',
  },
];

test.each(rows)('Material comes into another key store: $way', ({ firstHas, otherHas, trial, way }) => {
  const held = { first: firstHas, other: otherHas } as Record<string, Held>;
  // No more of them is looked at.
  const capabilities = { protection: [trial] } as unknown as KeyStoreCapabilities;
  const ways = new WaysIntoKeyStores({
    domainKeys: {
      of: (keyStore) =>
        (held[keyStore] ?? []).map(([backingKeyId, createdAtMs], at) => {
          return { ...examples.domainKey, state: 'Active', keyStore, backingKeyId, createdAtMs, ordinal: at + 1 };
        }),
      holds: (name, id) => held[name]?.some(([each]) => each === id) === true,
      newestOf: (name) => held[name]?.at(-1)?.[0],
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
