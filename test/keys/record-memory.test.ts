/** What records are said to take in memory, against what they take on the heap. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { GrantTokens } from '../../src/keys/grants/grant-tokens.ts';
import { KeyDirectory } from '../../src/keys/key-directory.ts';
import { defaultBudgets } from '../../src/kms/budgets.ts';
import { grantOperationNames, newGrantId } from '../../src/kms/grant-terms.ts';
import { type AliasName, type KeyId, newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import { added, type Change, removed } from '../../src/store/records/changes.ts';
import { inToken, type KeyRecord } from '../../src/store/records/records.ts';
import { Turns } from '../../src/store/turns.ts';
import { compile, realm } from '../authorization/policies.ts';
import { examples } from '../store/records.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
/** The buffers that one collection lets go are taken away by another thread: what is held is what no further one makes less. */
async function heldNow(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let collections = 0; collections < 2; collections++) {
    collect();
    await nextTurn();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    if (heapUsed + arrayBuffers < least) collections = 0;
    least = Math.min(least, heapUsed + arrayBuffers);
  }
  return least;
}

const log = { debug() {}, info() {}, warn() {}, error() {} };
const open = (): KeyDirectory =>
  new KeyDirectory(
    {
      realm,
      // Nothing is stored here, and no HSM is asked.
      turns: new Turns({ write: async () => undefined, reread: async () => [] }),
      keyStores: new Map([['default', {} as KeyStore]]),
      defaultKeyStore: 'default',
      compilePolicy: compile,
      // Compiled forms have a budget of their own.
      budgets: { ...defaultBudgets, memory: { ...defaultBudgets.memory, compiledPolicyBytes: 1 } },
      log,
    },
    new GrantTokens(Buffer.alloc(32)),
  );
/** As the store gives records: with texts of their own. */
const own = <Value>(value: Value): Value => structuredClone(value);

const wrapped = {
  residency: 'wrapped',
  wrappedKeySpec: examples.key.keySpec,
  wrappedKeyUsage: examples.key.keyUsage,
} as const;

function keyWith(
  members: Partial<KeyRecord> = {},
  document = defaultKeyPolicy(realm),
  publicKey: Buffer | null = null,
  wrappedKey: Buffer | null = null,
): readonly Change[] {
  const [keyId, backingKeyId] = [newKeyId(), newBackingKeyId()];
  const { region } = realm;
  return [
    added('backingKey', {
      ...own({
        ...examples.backingKey,
        ...inToken,
        backingKeyId,
        keyId,
        regions: region,
        keyStore: 'default',
        ordinal: 1,
        state: 'Active',
      }),
      publicKey,
      wrappedKey,
      ...(wrappedKey === null ? {} : { ...wrapped, domainKeyId: own(examples.backingKey.domainKeyId) }),
    }),
    added(
      'key',
      own({ ...examples.key, region, keyId, description: '', tags: [], currentBackingKeyId: backingKeyId, ...members }),
    ),
    added('keyPolicy', own({ ...examples.keyPolicy, region, keyId, document })),
  ];
}

const theKey = newKeyId();
const aliasOf = (keyId: KeyId, index: number): readonly Change[] => [
  added('alias', own({ ...examples.alias, region: realm.region, aliasName: `alias/of-${index}` as AliasName, keyId })),
];
const grantWith = (index: number, members: object): readonly Change[] => [
  added('grant', {
    ...own({ ...examples.grant, region: realm.region, keyId: theKey, name: '', constraints: {}, ...members }),
    grantId: newGrantId(),
    grantee: `arn:aws:iam::000000000000:user/unix/u${index}` as never,
  }),
];
const tags = Array.from({ length: 50 }, (_, index) => ({ TagKey: `key-${index}`, TagValue: `value-${index}` }));

test.each<[string, number, (index: number) => readonly Change[]]>([
  ['plain keys', 2000, () => keyWith()],
  ['keys with pairs', 1000, () => keyWith({}, undefined, Buffer.from('p'.repeat(550)))],
  ['wrapped keys', 1000, () => keyWith({}, undefined, null, Buffer.alloc(41, 1))],
  ['wrapped pairs', 1000, () => keyWith({}, undefined, Buffer.alloc(550, 1), Buffer.alloc(2385, 1))],
  ['keys with policies of 32 KB', 200, (index) => keyWith({}, defaultKeyPolicy(realm).padEnd(31_500 + index))],
  ['keys with long descriptions', 500, (index) => keyWith({ description: `${'x'.repeat(8000)}${index}` })],
  ['keys with long descriptions in Greek', 500, (index) => keyWith({ description: `${'ω'.repeat(8000)}${index}` })],
  ['keys with 50 tags', 500, () => keyWith({ tags })],
  ['aliases', 5000, (index) => aliasOf(theKey, index)],
  ['grants', 3000, (index) => grantWith(index, {})],
  ['grants of all operations', 1000, (index) => grantWith(index, { operations: grantOperationNames })],
  ['grants with names', 2000, (index) => grantWith(index, { name: `name-${index}`.padEnd(200, 'n') })],
  [
    'grants with those who retire them',
    2000,
    (index) => grantWith(index, { retiring: `arn:aws:iam::000000000000:user/r${index}` }),
  ],
  [
    'grants with long constraints',
    1000,
    (index) => grantWith(index, { constraints: { EncryptionContextEquals: { pair: `${index}`.padEnd(2000, 'v') } } }),
  ],
  [
    'grants with many constraints',
    500,
    (index) =>
      grantWith(index, {
        constraints: {
          EncryptionContextSubset: Object.fromEntries(tags.map(({ TagKey }) => [`${TagKey}-${index}`, TagKey])),
        },
      }),
  ],
  [
    'traces of deleted keys',
    5000,
    () => [
      added('tombstone', { version: 1, region: realm.region, keyId: newKeyId(), deletedAtMs: 0, domainKeyIds: '' }),
    ],
  ],
])(
  '%s take no more on the heap than they are said to take, and not less than a third of it',
  async (_, count, make) => {
    const directory = open();
    directory.apply(make(count + 1));
    const [before, saidBefore] = [await heldNow(), directory.memory.bytes];
    for (let index = 0; index < count; index++) directory.apply(make(index));
    const each = ((await heldNow()) - before) / count;
    const said = (directory.memory.bytes - saidBefore) / count;
    expect(each).toBeLessThan(said);
    expect(each).toBeGreaterThan(said / 3);
    // Held until here.
    expect(directory.counts().damaged).toBe(0);
  },
);

test('what was loaded counts as what was put, and what is taken away counts no more', () => {
  const directory = open();
  const changes = [...keyWith({ tags }), ...aliasOf(theKey, 1), ...grantWith(1, { name: 'n' })];
  directory.apply(changes);
  const { bytes } = directory.memory;
  expect(bytes).toBeGreaterThan(5000);
  // The same again, in the place of itself.
  directory.apply(changes);
  expect(directory.memory.bytes).toBe(bytes);
  for (const change of changes) if ('put' in change) directory.apply([removed(change.put, change.record)]);
  expect(directory.memory.bytes).toBe(0);
});
