/** Wrapped keys in the hands of somebody whose KMS key is in memory no more, or again: used by nobody once they are wrapped anew or destroyed. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { GrantTokens } from '../../src/keys/grants/grant-tokens.ts';
import { KeyDirectory } from '../../src/keys/key-directory.ts';
import type { KmsKey } from '../../src/keys/kms-key.ts';
import { renamed } from '../../src/keys/regions-of-material.ts';
import { defaultBudgets } from '../../src/kms/budgets.ts';
import { type KeyId, newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import { whenVerified } from '../../src/store/record-source.ts';
import { added, type Change, removed, replaced } from '../../src/store/records/changes.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { compile, realm } from '../authorization/policies.ts';
import { examples, testMacs } from '../store/records.ts';

const { region } = realm;
const domainKeyId = newBackingKeyId();
const blob = Buffer.from('the blob');
const keysInMemory = 40;

function newRecords() {
  const [keyId, backingKeyId] = [newKeyId(), newBackingKeyId()];
  return {
    key: { ...examples.key, keyId, region, nextRotationDateMs: null, currentBackingKeyId: backingKeyId },
    policy: { ...examples.keyPolicy, keyId, region, document: defaultKeyPolicy(realm) },
    material: {
      ...{ ...examples.backingKey, keyId, backingKeyId, keyStore: 'default', owner: '', importedMaterialId: '' },
      ...{ residency: 'wrapped', wrappedKey: blob, domainKeyId, validToMs: null },
    } as const,
  };
}

type Records = ReturnType<typeof newRecords>;

const putAll = ({ key, policy, material }: Records): readonly Change[] => [
  added('key', key),
  added('keyPolicy', policy),
  added('backingKey', material),
];

const folder = mkdtempSync(join(tmpdir(), 'drawbridge-held-'));
let store: SqliteStore;
let directory: KeyDirectory;
let turns: Turns;

beforeAll(async () => {
  store = await openSqliteStore({ path: join(folder, 'metadata.db'), macs: testMacs, formerRegion: region });
  await store.write(putAll(newRecords()));
  const { loaded, source } = await store.begin(0);
  turns = new Turns(store);
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  directory = new KeyDirectory(
    {
      // Nothing is asked of it.
      ...{ realm, turns, keyStores: new Map([['default', {} as KeyStore]]), defaultKeyStore: 'default', log },
      compilePolicy: compile,
      budgets: { ...defaultBudgets, memory: { ...defaultBudgets.memory, keysInMemory } },
    },
    new GrantTokens(await store.deriveKey('grant-tokens')),
  );
  directory.take(loaded, source);
  turns.follow(directory);
});
afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

const change = (...changes: readonly Change[]) => turns.take(() => ({ changes, response: undefined }));
const read = async (keyId: KeyId): Promise<KmsKey> => {
  const key = await whenVerified(() => directory.findKey(keyId));
  if (key === undefined) throw new Error('it is there');
  return key;
};
const wrappedOf = (key: KmsKey) => {
  const wrapped = key.currentBackingKey?.reference.wrapped;
  if (wrapped === undefined) throw new Error('it is wrapped');
  return wrapped;
};

/** More than there is room for, more than once. */
async function readOthers(): Promise<void> {
  const others = Array.from({ length: 2 * keysInMemory }, newRecords);
  await change(...others.flatMap(putAll));
  for (const { key } of others) for (let times = 0; times < 3; times++) await read(key.keyId);
}

/** Since then others came. */
async function heldFrom(made: Records) {
  await change(...putAll(made));
  const early = await read(made.key.keyId);
  await readOthers();
  return { early, again: () => read(made.key.keyId) };
}

/** A turn, in which others come while it is written. */
async function changeUnseen(...changes: readonly Change[]): Promise<void> {
  await whenVerified(() => directory.foresee(changes));
  await readOthers();
  await store.write(changes);
  directory.apply(changes);
}

const moved = ({ material }: Records): readonly Change[] => [
  replaced('backingKey', material, { wrappedKey: Buffer.from('another blob') }),
];
const destroyed = ({ key, policy, material }: Records): readonly Change[] => [
  removed('backingKey', material),
  removed('keyPolicy', policy),
  removed('key', key),
];
const forgotten = ({ key, material }: Records): readonly Change[] => [
  replaced('key', key, { state: 'PendingImport', currentBackingKeyId: null }),
  replaced('backingKey', material, { state: 'Destroying', owner: 'a node', wrappedKey: null }),
];

describe.each([
  ['wrapped anew', moved],
  ['destroyed with its KMS key', destroyed],
  ['destroyed', forgotten],
])('Material that was %s', (_, changesOf) => {
  test('is used by nobody who had it from memory that was given to others since', async () => {
    const made = newRecords();
    const { early, again } = await heldFrom(made);
    expect(await again()).not.toBe(early);
    const late = await again();
    expect([wrappedOf(early).outline?.blob, wrappedOf(late).outline?.blob]).toEqual([blob, blob]);
    await change(...changesOf(made));
    expect([wrappedOf(early).outline, wrappedOf(late).outline]).toEqual([undefined, undefined]);
  });

  test('is used by nobody who had it before, when it was not in memory', async () => {
    const made = newRecords();
    const { early } = await heldFrom(made);
    await changeUnseen(...changesOf(made));
    expect(wrappedOf(early).outline).toBeUndefined();
  });

  test('is used by nobody who had it before, when somebody read it as it was on disk already and nobody was told', async () => {
    const made = newRecords();
    const { early } = await heldFrom(made);
    const changes = changesOf(made);
    await store.write(changes);
    await whenVerified(() => directory.findKey(made.key.keyId));
    directory.apply(changes);
    expect(wrappedOf(early).outline).toBeUndefined();
  });
});

test.each([
  ['in memory', change],
  ['not in memory', changeUnseen],
])('Material that another Region has too since, when it was %s, is used by whoever has it', async (_, changeIt) => {
  const made = newRecords();
  const { early, again } = await heldFrom(made);
  await changeIt(...renamed(made.material, [region, 'eu-west-1']));
  expect(wrappedOf(early).outline?.blob).toEqual(blob);
  expect(wrappedOf(await again()).outline?.blob).toEqual(blob);
});

test('Material of which something else was written is used by whoever has it', async () => {
  const made = newRecords();
  const { early, again } = await heldFrom(made);
  await change(replaced('backingKey', made.material, { reservedEncryptions: 131_072 }));
  const late = await again();
  await change(replaced('key', made.key, { description: 'another' }));
  expect([wrappedOf(early).outline?.blob, wrappedOf(late).outline?.blob]).toEqual([blob, blob]);
});

test('Material that was wrapped anew is used by whoever has it since, also when many others have ended', async () => {
  const made = newRecords();
  const { early, again } = await heldFrom(made);
  await change(...moved(made));
  const late = await again();
  await again(); // The second time it stays in memory.
  const inMemory = await again();
  for (let from = 0; from < 5000; from += 250) {
    const gone = Array.from({ length: 250 }, newRecords);
    await change(...gone.flatMap(({ material }) => [added('backingKey', { ...material, state: 'Creating' as const })]));
    await change(...gone.map(({ material }) => removed('backingKey', { ...material, state: 'Creating' as const })));
  }
  const blobs = [early, late, inMemory, await again()].map((key) => wrappedOf(key).outline?.blob.toString());
  expect(blobs).toEqual([undefined, 'another blob', 'another blob', 'another blob']);
});
