/**
 * Whole records that somebody removed, put back or added, and whole files that he put back, with a SQLite of his own while no
 * daemon had the file open. Each record verifies by itself.
 */

import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BackingKeyId } from '../../src/kms/names.ts';
import { RecordSums, replacedInSum } from '../../src/store/record-sum.ts';
import { type Change, removed, replaced } from '../../src/store/records/changes.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { aliasPut, asPuts, eachByItself, examplePuts, examples, formerRegion, testMac, testMacs } from './records.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-store-'));
  path = join(folder, 'metadata.db');
  await run((store) => store.write(examplePuts, { intentId: 'first' }));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function run<T>(action: (store: SqliteStore) => Promise<T>): Promise<T> {
  const store = await openSqliteStore({ path, macs: testMacs, formerRegion });
  try {
    return await action(store);
  } finally {
    await store.close();
  }
}

const load = () => run((store) => store.load());
const write = (...changes: readonly Change[]) => run((store) => store.write(changes));
const standing = () =>
  run(async (store) => {
    await store.load();
    return store.standing();
  });

function edit<T>(action: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(path);
  try {
    return action(database);
  } finally {
    database.close();
  }
}
const exec = (sql: string): void => edit((database) => database.exec(sql));

/** Keeps the rows of a table, and gives back what puts them in the place of those that are there then. */
function keep(table: string): () => void {
  const kept = edit((database) => database.prepare(`SELECT * FROM ${table}`).all());
  return () =>
    edit((database) => {
      database.exec(`DELETE FROM ${table}`);
      for (const row of kept) {
        const places = Object.keys(row).map(() => '?');
        database.prepare(`INSERT INTO ${table} VALUES (${places})`).run(...Object.values(row));
      }
    });
}

const newPolicy = replaced('keyPolicy', examples.keyPolicy, { document: '{"stricter":1}' });
const revocation = removed('accessKey', examples.accessKey);

describe('is found when the store is loaded, and nothing can be written:', () => {
  const otherRecords = 'are not those that were written last: some were removed, put back or added past Drawbridge';
  const noSignature = 'does not verify: it was edited, or is of another node or of other service keys';

  test.each<[string, () => Promise<void>, string]>([
    ['a policy that was removed with its Deny', async () => exec('DELETE FROM key_policy'), otherRecords],
    ['a tombstone that was removed', async () => exec('DELETE FROM tombstone'), otherRecords],
    [
      'an access key that was revoked and put back',
      async () => {
        const putBack = keep('access_key');
        await write(revocation);
        putBack();
      },
      otherRecords,
    ],
    [
      'a policy that was put back in the place of a stricter one',
      async () => {
        const putBack = keep('key_policy');
        await write(newPolicy);
        putBack();
      },
      otherRecords,
    ],
    [
      'the root of an older state',
      async () => {
        const putBack = keep('root');
        await write(newPolicy);
        putBack();
      },
      otherRecords,
    ],
    [
      'two records that took the place of each other’s former versions',
      async () => {
        await write(aliasPut('a'), aliasPut('b'));
        const putBack = keep('alias');
        await write(aliasPut('a', 1, 1), aliasPut('b', 1, 1));
        putBack();
      },
      otherRecords,
    ],
    ['a MAC that was edited', async () => exec("UPDATE alias SET mac = replace(mac, '0', '1')"), otherRecords],
    ['an epoch that was edited', async () => exec('UPDATE root SET epoch = epoch + 1'), noSignature],
    ['a head of the audit log that was edited', async () => exec('UPDATE root SET audit_sequence = 7'), noSignature],
    ['an intent that was edited', async () => exec("UPDATE root SET intent_id = 'other'"), noSignature],
    ['a sum that was edited', async () => exec("UPDATE root SET records = replace(records, '0', '1')"), noSignature],
    ['a root that is no number', async () => exec("UPDATE root SET epoch = 'x'"), noSignature],
    ['a second root', async () => exec('INSERT INTO root SELECT * FROM root'), noSignature],
    [
      'a service key that is named beside',
      async () => exec(`INSERT INTO service_key VALUES ('session-credentials', '${'ab'.repeat(16)}')`),
      noSignature,
    ],
    ['another node', async () => exec(`UPDATE node SET node_id = '${'ab'.repeat(16)}'`), noSignature],
  ])('%s', async (_what, attack, message) => {
    await attack();
    const altered = { name: 'StoreError', failure: 'altered', message: expect.stringContaining(message) };
    await expect(load()).rejects.toMatchObject(altered);
    await expect(write(aliasPut('after'))).rejects.toMatchObject(altered);
  });

  test('a root of the same records under another key of the HSM', async () => {
    const macs = eachByItself((data) => testMac(Buffer.concat([data, Buffer.of(0)])));
    const store = await openSqliteStore({ path, macs, formerRegion });
    await expect(store.load()).rejects.toMatchObject({ failure: 'altered' });
    await store.close();
  });
});

describe('the root', () => {
  test('counts each write of records, and has the last intent and the same hash for the same records', async () => {
    const first = await standing();
    expect(first).toMatchObject({ epoch: 1, intentId: 'first', audit: null });
    await write(aliasPut('quiet'));
    const second = await standing();
    expect(second).toMatchObject({ epoch: 2, intentId: 'first' });
    await run((store) => store.write([removed('alias', aliasPut('quiet').record)], { intentId: 'second' }));
    expect(second.treeHash).not.toBe(first.treeHash);
    expect(await standing()).toEqual({ ...first, epoch: 3, intentId: 'second' });
  });

  test('is not counted up by a write that failed, by one of nothing, or by the head of the audit log', async () => {
    const head = { sequence: 7, hash: 'ab'.repeat(32), bytes: 4_096 };
    const before = await standing();
    await run(async (store) => {
      await store.load();
      await store.write([]);
      await expect(store.write([aliasPut('new'), removed('alias', aliasPut('other').record)])).rejects.toThrow();
      store.noteAuditHead(head);
    });
    expect(await standing()).toEqual({ ...before, audit: head });
  });

  test('takes the head of the audit log along with the next write, and by itself when there is none', async () => {
    const heads = [1, 2].map((sequence) => ({ sequence, hash: `0${sequence}`.repeat(32), bytes: sequence }));
    const inFile = (): unknown =>
      edit((database) => database.prepare('SELECT epoch, audit_sequence AS sequence FROM root').get());
    await run(async (store) => {
      await store.load();
      store.noteAuditHead(heads[0] as never);
      await store.write([aliasPut('next')]);
      expect(store.standing()).toMatchObject({ epoch: 2, audit: heads[0] });
      store.noteAuditHead(heads[1] as never);
      await expect.poll(() => store.standing().audit, { timeout: 170_000 }).toEqual(heads[1]);
      expect(store.standing().epoch).toBe(2);
      expect(store.standingAtLoad()).toMatchObject({ epoch: 1, audit: null });
    });
    expect(inFile()).toMatchObject({ epoch: 2, sequence: 2 });
  });

  test('names service keys and is still ours after one was named', async () => {
    await run((store) => store.nameServiceKey('session-credentials', 'ab'.repeat(16) as BackingKeyId));
    expect(asPuts(await load())).toHaveLength(examplePuts.length);
    exec("DELETE FROM service_key WHERE purpose = 'session-credentials'");
    await expect(load()).rejects.toMatchObject({ failure: 'altered' });
  });

  test('is made for a store that has none, which says so', async () => {
    exec('DELETE FROM root');
    expect(await standing()).toMatchObject({ epoch: 0, intentId: null, audit: null });
    await run(async (store) => {
      await store.load();
      store.noteAuditHead({ sequence: 1, hash: 'ab'.repeat(32), bytes: 1 });
    });
    expect(await standing()).toMatchObject({ epoch: 1 });
    exec('DELETE FROM alias');
    await expect(load()).rejects.toMatchObject({ failure: 'altered' });
  });

  test('of a whole file that was put back is that of its time, which the file alone cannot tell from today’s', async () => {
    copyFileSync(path, join(folder, 'older.db'));
    await write(revocation);
    expect(await standing()).toMatchObject({ epoch: 2 });
    copyFileSync(join(folder, 'older.db'), path);
    expect(await standing()).toMatchObject({ epoch: 1, intentId: 'first' });
  });
});

describe('a state that an operator accepts by its name', () => {
  async function stateAfter(sql: string): Promise<string> {
    exec(sql);
    const refusal = await load().catch((error: Error) => error.message);
    return /accept --state ([0-9a-f]{16})$/.exec(String(refusal))?.[1] ?? '';
  }
  const accept = (state: string) =>
    run(async (store) => {
      await store.load(undefined, { acceptedState: state });
      await store.accept(9);
    });

  test.each([
    ['records that are fewer', 'DELETE FROM key_policy', 'first'],
    ['a root that is not ours', 'UPDATE root SET epoch = 2', null],
    ['two roots', 'INSERT INTO root SELECT * FROM root', null],
  ])('is signed as it is, and the next start is like any other: %s', async (_what, sql, intentId) => {
    await accept(await stateAfter(sql));
    expect(await standing()).toMatchObject({ epoch: 9, intentId });
    await write(aliasPut('after'));
    expect(await standing()).toMatchObject({ epoch: 10, intentId });
    exec("DELETE FROM alias WHERE alias_name = 'alias/after'");
    await expect(load()).rejects.toMatchObject({ failure: 'altered' });
  });

  test('is no other than the one that he named', async () => {
    const state = await stateAfter('DELETE FROM key_policy');
    exec('DELETE FROM access_key');
    for (const name of [state, state.slice(0, 8), '']) {
      await expect(accept(name)).rejects.toMatchObject({ failure: 'altered' });
    }
    await expect(load()).rejects.toMatchObject({ failure: 'altered' });
  });

  test('is not written anew, and nothing is where it does not fit what is known elsewhere', async () => {
    exec('UPDATE alias SET format = 1');
    exec('DELETE FROM root');
    const before = edit((database) => database.prepare('SELECT * FROM alias').all());
    await run(async (store) => {
      const assertFits = (): never => {
        throw new RangeError('an older one');
      };
      await expect(store.load(undefined, { assertFits })).rejects.toThrow(new RangeError('an older one'));
    });
    expect(edit((database) => database.prepare('SELECT * FROM alias').all())).toEqual(before);
    expect(edit((database) => database.prepare('SELECT * FROM root').all())).toEqual([]);
  });

  test('has no epoch that was there before', async () => {
    await run(async (store) => {
      await store.load();
      await expect(store.accept(1)).rejects.toThrow(new TypeError('epoch 1 was there before'));
    });
  });
});

describe('the sum over records', () => {
  const sums = new RecordSums(Buffer.alloc(32, 7));
  const macs = Array.from({ length: 5 }, (_, index) => `${index}a`.repeat(32));

  test('is the same in whatever order and in however many lists, and counts copies', () => {
    const all = sums.sumOf(macs);
    expect(sums.sumOf(macs.toReversed())).toBe(all);
    expect(replacedInSum(sums.sumOf(macs.slice(0, 2)), 0n, sums.sumOf(macs.slice(2)))).toBe(all);
    expect(replacedInSum(all, sums.sumOf(macs.slice(1)), 0n)).toBe(sums.sumOf(macs.slice(0, 1)));
    expect(sums.sumOf([...macs, ...macs])).not.toBe(all);
    expect(sums.sumOf([])).toBe(0n);
  });

  test('differs when the halves of MACs change places, and with the key', () => {
    const [one, other] = ['01'.repeat(16), '02'.repeat(16)];
    const crossed = [`${one}${one}`, `${other}${other}`];
    expect(sums.sumOf([`${one}${other}`, `${other}${one}`])).not.toBe(sums.sumOf(crossed));
    expect(new RecordSums(Buffer.alloc(32, 8)).sumOf(macs)).not.toBe(sums.sumOf(macs));
  });

  test('takes what is no MAC of ours for nothing', () => {
    expect(sums.sumOf([...macs, 'AB'.repeat(32), '', null, 7n, `${macs[0]}00`])).toBe(sums.sumOf(macs));
  });
});
