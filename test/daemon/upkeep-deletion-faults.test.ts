/**
 * The deletion of KMS keys when things go wrong: dates that come over a stop, tokens that are away or refuse, old rows that
 * somebody puts back, callers who change their minds at the last moment.
 */

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfiguration } from '../../src/config/load.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import { type KeyStore, KeyStoreError } from '../../src/hsm/key-store.ts';
import { removed } from '../../src/store/records/changes.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { newGrant } from '../end-to-end/support/grants.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { removeRoot } from '../store/records.ts';
import { objectsInToken, readFormerFacts, unpackFormerInstance } from '../support/former-instance.ts';
import { changeKeys } from '../support/key-records.ts';
import { program } from '../support/program.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { createUpkeptInstance, type Running, region, type UpkeptInstance } from './upkept-instance.ts';

const hourMs = 60 * 60 * 1000;
const dayMs = 24 * hourMs;
if (softHsm2.missing !== null) process.stdout.write(`skipped: the deletion of keys with faults: ${softHsm2.missing}\n`);

describe.skipIf(softHsm2.missing !== null)('The deletion of a key', () => {
  let token: TestToken;
  let instance: UpkeptInstance;
  let clocks: SetClocks;
  let running: Running;
  beforeAll(async () => {
    token = softHsm2.create();
    instance = await createUpkeptInstance(token);
    clocks = new SetClocks();
    running = await instance.start(clocks);
  });
  afterAll(async () => {
    await running.stop();
    await instance.remove();
    token.remove();
  });

  /** A key that is to be deleted in seven days of the test's clocks. */
  async function pendingKey(): Promise<string> {
    await clocks.setWall(Date.now() - clocks.now().wallMs);
    const KeyId = present((await running.kms.createKey({})).KeyMetadata?.KeyId);
    await running.kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await clocks.settled();
    return KeyId;
  }

  const stateOf = async (KeyId: string) => (await running.kms.describeKey({ KeyId })).KeyMetadata?.KeyState;
  const hasMaterial = async (KeyId: string) => (await instance.objects()).includes(`drawbridge:${KeyId}:1`);

  async function restart(stoppedMs: number, keyStore?: KeyStore): Promise<void> {
    await running.stop();
    clocks.jump({ wallMs: stoppedMs, bootMs: stoppedMs });
    running = await instance.start(clocks, keyStore);
    await clocks.settled();
  }

  async function drawbridge(...words: readonly string[]): Promise<string> {
    // The daemon is in this process, so nothing here may wait for it without letting it run.
    const args = [program, ...words, '--socket', running.socketPath];
    return (await promisify(execFile)(process.execPath, args)).stdout;
  }
  const upkeep = async (): Promise<readonly Record<string, unknown>[]> =>
    JSON.parse(await drawbridge('upkeep', '--json')).work;

  test('whose date came over a stop waits for 24 hours of running time, over restarts, and its cancelling is in time', async () => {
    const [going, kept] = [await pendingKey(), await pendingKey()];
    await restart(30 * dayMs);
    for (let night = 0; night < 4; night++) {
      await clocks.pass(5 * hourMs);
      expect(await stateOf(going)).toBe('PendingDeletion');
      await restart(19 * hourMs);
    }
    await running.kms.cancelKeyDeletion({ KeyId: kept });
    await clocks.pass(4 * hourMs + 60_000);
    expect((await refusal(running.kms.describeKey({ KeyId: going }))).name).toBe('NotFoundException');
    expect(await hasMaterial(going)).toBe(false);
    expect(await stateOf(kept)).toBe('Disabled');
    await clocks.pass(30 * dayMs);
    expect(await hasMaterial(kept)).toBe(true);
  });

  test('that waits is shown with why and for how long, and is done when an operator confirms it by name', async () => {
    const KeyId = await pendingKey();
    const work = `deletion ${region} ${KeyId}`;
    await restart(30 * dayMs);
    const status = await drawbridge('status');
    expect(status).toContain(`${work}, due since`);
    expect(status).toContain('is waiting: it came due while the daemon was stopped');
    expect(status).toContain('1 day of running time, or when it is confirmed');
    expect(await health()).toContain('"ok"');
    expect(await drawbridge('upkeep', 'confirm', ...work.split(' '))).toContain(`${work} is confirmed`);
    await clocks.settled();
    expect((await refusal(running.kms.describeKey({ KeyId }))).name).toBe('NotFoundException');
    expect(await instance.events('ConfirmUpkeep')).toMatchObject([
      { eventSource: 'drawbridge', readOnly: false, requestParameters: { work }, userIdentity: { type: 'Root' } },
    ]);
    expect(await upkeep()).toEqual([]);
  });

  async function health(): Promise<string> {
    const args = ['-s', '--unix-socket', running.socketPath, 'http://kms/health'];
    return (await promisify(execFile)('curl', args)).stdout;
  }

  test('is put off while its key store is away, with nothing begun: it says so, and can be cancelled', async () => {
    let isAway = false;
    const status = () => ({ ...instance.keyStore.status(), ...(isAway ? { state: 'reconnecting' as const } : {}) });
    await restart(0, instead(instance.keyStore, { status }));
    const [going, kept] = [await pendingKey(), await pendingKey()];
    isAway = true;
    await clocks.pass(8 * dayMs);
    const because = 'the key store `default` is reconnecting';
    expect((await upkeep()).map((each) => [each['state'], each['because']])).toEqual([
      ['late', because],
      ['late', because],
    ]);
    expect(await drawbridge('status')).toContain(`is late: ${because}; it is tried again in`);
    const warnings = instance.log.filter(({ fields }) => fields['reason'] === because);
    expect(warnings).toHaveLength(2);
    await running.kms.cancelKeyDeletion({ KeyId: kept });
    isAway = false;
    await clocks.pass(hourMs);
    expect(await hasMaterial(going)).toBe(false);
    expect((await refusal(running.kms.describeKey({ KeyId: going }))).name).toBe('NotFoundException');
    expect(await hasMaterial(kept)).toBe(true);
    expect(await stateOf(kept)).toBe('Disabled');
  });

  test('that the HSM refuses in the middle cannot be cancelled any more, and is gone on with, after a restart at once', async () => {
    const refuse = () => Promise.reject(new KeyStoreError('busy', 'the device is busy'));
    await restart(0, instead(instance.keyStore, { destroyKey: refuse }));
    const KeyId = await pendingKey();
    await clocks.pass(8 * dayMs);
    expect(await stateOf(KeyId)).toBe('PendingDeletion');
    expect(await refusal(running.kms.cancelKeyDeletion({ KeyId }))).toMatchObject({
      name: 'KMSInvalidStateException',
      message: expect.stringContaining(`${KeyId} is being deleted`),
    });
    expect((await refusal(running.kms.scheduleKeyDeletion({ KeyId }))).name).toBe('KMSInvalidStateException');
    expect((await refusal(running.kms.enableKey({ KeyId }))).name).toBe('KMSInvalidStateException');
    expect(await upkeep()).toMatchObject([{ state: 'late', because: 'the device is busy' }]);
    await restart(1);
    expect((await refusal(running.kms.describeKey({ KeyId }))).name).toBe('NotFoundException');
    expect(await hasMaterial(KeyId)).toBe(false);
  });

  test('is not taken for done while the HSM still has the material', async () => {
    await restart(0, instead(instance.keyStore, { destroyKey: () => Promise.resolve() }));
    const KeyId = await pendingKey();
    await clocks.pass(8 * dayMs);
    expect(await upkeep()).toMatchObject([{ state: 'late', because: expect.stringContaining('still has') }]);
    expect(await stateOf(KeyId)).toBe('PendingDeletion');
    await restart(1);
    expect(await hasMaterial(KeyId)).toBe(false);
  });

  test('and its cancelling at the same moment end with the whole key or none of it', async () => {
    const keys = await Promise.all([1, 2, 3, 4, 5, 6].map(pendingKey));
    const { kms } = running;
    const passing = clocks.pass(7 * dayMs + hourMs);
    const outcomes = await Promise.all(
      keys.map((KeyId) =>
        kms.cancelKeyDeletion({ KeyId }).then(
          () => 'kept',
          ({ name }) => String(name),
        ),
      ),
    );
    await passing;
    await clocks.settled();
    for (const [index, KeyId] of keys.entries()) {
      if (outcomes[index] === 'kept') {
        expect(await stateOf(KeyId)).toBe('Disabled');
        expect(await hasMaterial(KeyId)).toBe(true);
      } else {
        expect(['KMSInvalidStateException', 'NotFoundException']).toContain(outcomes[index]);
        expect((await refusal(kms.describeKey({ KeyId }))).name).toBe('NotFoundException');
        expect(await hasMaterial(KeyId)).toBe(false);
      }
    }
  });

  test('is not undone by old rows that somebody puts back: they are named and not used', async () => {
    const KeyId = await pendingKey();
    const { kms } = running;
    await kms.cancelKeyDeletion({ KeyId });
    await kms.enableKey({ KeyId });
    await kms.createAlias({ AliasName: 'alias/replayed', TargetKeyId: KeyId });
    await newGrant(kms, KeyId, { Operations: ['Decrypt'] });
    await running.stop();
    const path = join(instance.folder, 'data', 'metadata.db');
    const tables = ['kms_key', 'backing_key', 'key_policy', 'alias', 'key_grant'];
    const old = edit(path, (database) =>
      tables.map((table) => database.prepare(`SELECT * FROM ${table} WHERE key_id = ?`).all(KeyId)),
    );
    running = await instance.start(clocks);
    await running.kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await clocks.settled();
    await clocks.pass(8 * dayMs);
    expect((await refusal(running.kms.describeKey({ KeyId }))).name).toBe('NotFoundException');
    await running.stop();
    // All that could tell of it goes with them.
    rmSync(join(instance.folder, 'data', 'audit'), { recursive: true });
    edit(path, (database) => {
      removeRoot(database);
      for (const [index, table] of tables.entries()) {
        for (const row of old[index] ?? []) {
          const names = Object.keys(row);
          const marks = names.map(() => '?').join();
          database.prepare(`INSERT INTO ${table} (${names.join()}) VALUES (${marks})`).run(...Object.values(row));
        }
      }
    });
    const before = instance.log.length;
    running = await instance.start(clocks);
    const named = instance.log
      .slice(before)
      .filter(({ level, fields }) => level === 'error' && fields['keyId'] === KeyId);
    expect(named.map(({ fields }) => fields['kind']).sort()).toEqual([
      'alias',
      'backingKey',
      'grant',
      'key',
      'keyPolicy',
    ]);
    expect((await refusal(running.kms.describeKey({ KeyId }))).name).toBe('NotFoundException');
    expect((await refusal(running.kms.describeKey({ KeyId: 'alias/replayed' }))).name).toBe('NotFoundException');
    expect((await running.kms.listKeys({})).Keys?.map((key) => key.KeyId)).not.toContain(KeyId);
    const other = present((await running.kms.createKey({})).KeyMetadata?.KeyId);
    // The row is in the way, and what it says does not come true for that.
    expect((await refusal(running.kms.createAlias({ AliasName: 'alias/replayed', TargetKeyId: other }))).name).toMatch(
      /KMSInternalException/,
    );
    expect((await refusal(running.kms.describeKey({ KeyId: 'alias/replayed' }))).name).toBe('NotFoundException');
    await running.kms.scheduleKeyDeletion({ KeyId: other });
  });

  test('whose date passed under a version that destroyed nothing comes seven days after the first start of one that does', async () => {
    const KeyId = await pendingKey();
    await running.stop();
    await instance.records(({ milestone }) => milestone.map((record) => removed('milestone', record)));
    clocks.jump({ wallMs: 400 * dayMs, bootMs: 400 * dayMs });
    running = await instance.start(clocks);
    await clocks.pass(4 * dayMs);
    await restart(dayMs);
    await clocks.pass(2 * dayMs - hourMs);
    expect(await stateOf(KeyId)).toBe('PendingDeletion');
    await clocks.pass(2 * hourMs);
    expect((await refusal(running.kms.describeKey({ KeyId }))).name).toBe('NotFoundException');
  });
});

describe.skipIf(softHsm2.missing !== null)(
  'An instance of Drawbridge 0.1.0 whose key was to be deleted long ago',
  () => {
    test('keeps it for seven days from its first start, and then destroys it', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'drawbridge-former-deletion-'));
      const dir = join(folder, 'instance');
      try {
        unpackFormerInstance('0.1.0', dir);
        const { keys } = readFormerFacts('0.1.0');
        const { keyId, currentBackingKeyId } = present(Object.values(keys).find(({ state }) => state === 'Disabled'));
        await changeKeys(dir, new Set([keyId]), { state: 'PendingDeletion', deletionDateMs: Date.now() - 100 * dayMs });
        const clocks = new SetClocks();
        const log = { debug() {}, info() {}, warn() {}, error() {} };
        const configuration = await loadConfiguration(join(dir, 'drawbridge.yaml'));
        const daemon = await startDaemon({ configuration, environment: {}, log, clocks });
        const kms = kmsOver(daemon.regions[0].socketPath);
        try {
          await clocks.pass(7 * dayMs - hourMs);
          expect((await kms.describeKey({ KeyId: keyId })).KeyMetadata?.KeyState).toBe('PendingDeletion');
          await clocks.pass(2 * hourMs);
          expect((await refusal(kms.describeKey({ KeyId: keyId }))).name).toBe('NotFoundException');
        } finally {
          kms.destroy();
          await daemon.stop();
        }
        expect([...(await objectsInToken(dir)).keys()]).not.toContain(currentBackingKeyId);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  },
);

/** The same key store, with other members; its own keep their `this`. */
function instead(keyStore: KeyStore, members: Partial<KeyStore>): KeyStore {
  return new Proxy(keyStore, {
    get(target, name) {
      if (name in members) return members[name as keyof KeyStore];
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

/** Edits the file behind the store's back. */
function edit<T>(path: string, action: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(path);
  try {
    return action(database);
  } finally {
    database.close();
  }
}
