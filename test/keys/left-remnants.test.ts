/** What a move has left in an HSM that is away, when an operator says that an HSM is lost: it is left there, but for what is in the default key store. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DetachableKeyStore } from '../../src/hsm/detachable-key-store.ts';
import { KeyStoreError } from '../../src/hsm/key-store.ts';
import { GrantTokens } from '../../src/keys/grants/grant-tokens.ts';
import { KeyDirectory } from '../../src/keys/key-directory.ts';
import { KeyMoves, type KeyMovesOptions } from '../../src/keys/moves/key-moves.ts';
import { newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import { added } from '../../src/store/records/changes.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { compile, realm } from '../authorization/policies.ts';
import { examples, testMacs } from '../store/records.ts';

const log = { debug() {}, info() {}, warn() {}, error() {} };
const folder = mkdtempSync(join(tmpdir(), 'drawbridge-left-'));
let store: SqliteStore;

beforeAll(async () => {
  store = await openSqliteStore({ path: join(folder, 'metadata.db'), macs: testMacs, formerRegion: realm.region });
});
afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

test.each([
  ['default', 1],
  ['vault', 0],
  ['dropped from the configuration', 0],
])('of what is in the key store `%s`, %d stay on record', async (keyStore, left) => {
  const loaded = await store.load();
  const turns = new Turns(store);
  // None is connected.
  const keyStores = new Map(['default', 'vault'].map((name) => [name, new DetachableKeyStore(name)]));
  const options = { realm, turns, keyStores, defaultKeyStore: 'default', log, compilePolicy: compile };
  const directory = new KeyDirectory(options, new GrantTokens(await store.deriveKey('grant-tokens')));
  directory.take(loaded);
  const { nodeId } = store;
  const alone = async () => () => undefined;
  const regions = new Map([[realm.region, { directory, life: { alone } }]]);
  const nothingAsked = {} as KeyMovesOptions['domainKeys'];
  const moves = new KeyMoves({ regions, keyStores, domainKeys: nothingAsked, turns, nodeId, log }, loaded);

  const remnant = { ...examples.remnant, keyStore, backingKeyId: newBackingKeyId(), keyId: newKeyId(), owner: nodeId };
  await turns.take(() => ({ changes: [added('remnant', remnant)], response: undefined }));
  const failure = await moves.settle(remnant.keyId, { leavesMaterial: true }).catch((error: unknown) => error);
  expect(failure instanceof KeyStoreError).toBe(left > 0);
  const { remnant: onRecord } = await store.load();
  expect(onRecord.filter(({ keyId }) => keyId === remnant.keyId).length).toBe(left);
});
