/** What was removed from a database, and whether anything of it is left in its files. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { copyDatabase } from '../../src/store/copied-database.ts';
import { Scrubbing } from '../../src/store/scrubbing.ts';
import { openDatabaseFile } from '../../src/store/sqlite-database.ts';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'drawbridge-scrubbing-'));
  path = join(folder, 'metadata.db');
});

afterEach(() => rmSync(folder, { recursive: true }));

const inTurn = (task: () => void): Promise<void> => Promise.resolve().then(task);

/** Nobody waits for the disk. */
function opened(): DatabaseSync {
  const database = openDatabaseFile(path);
  database.exec('PRAGMA synchronous = OFF');
  return database;
}

/** Rows with a secret each, beside which other columns grow and shrink so that pages are split, filled anew and merged. */
class Rows {
  readonly database: DatabaseSync;
  readonly removed: string[] = [];
  readonly #live = new Map<number, string>();
  #random: number;
  #next = 0;

  constructor(database: DatabaseSync, seed: number) {
    this.database = database;
    this.#random = seed;
    database.exec('create table if not exists sealed (id text primary key, secret text not null, other text not null)');
  }

  /** At once, as one transaction. */
  change(times: number): void {
    this.database.exec('BEGIN');
    for (let time = 0; time < times; time++) this.#changeOne();
    this.database.exec('COMMIT');
  }

  #changeOne(): void {
    const kind = this.#drawn(10);
    const ids = [...this.#live.keys()];
    const id = ids[this.#drawn(ids.length)];
    if (id === undefined || kind < 4) {
      const secret = `secret-${this.#next}-${'0123456789abcdef'.repeat(1 + this.#drawn(12))}-${this.#next}-secret`;
      this.database.prepare('insert into sealed values (?, ?, ?)').run(`${this.#next}`, secret, this.#other());
      this.#live.set(this.#next++, secret);
    } else if (kind < 8) {
      this.database.prepare('update sealed set other = ? where id = ?').run(this.#other(), `${id}`);
    } else {
      if (kind === 8) this.database.prepare('delete from sealed where id = ?').run(`${id}`);
      else this.database.prepare("update sealed set secret = '' where id = ?").run(`${id}`);
      this.removed.push(this.#live.get(id) ?? '');
      this.#live.delete(id);
    }
  }

  #other(): string {
    return 'x'.repeat(this.#drawn(4) === 0 ? this.#drawn(6000) : this.#drawn(700));
  }

  #drawn(below: number): number {
    this.#random = (Math.imul(this.#random, 1_103_515_245) + 12_345) & 0x7fffffff;
    return below === 0 ? 0 : (this.#random >>> 8) % below;
  }
}

/** Those of which a part is in some files that no other has. */
function leftIn(secrets: readonly string[], ...files: readonly string[]): readonly string[] {
  const found = new Set<string>();
  for (const file of files)
    for (const [, first, last] of readFileSync(file, 'latin1').matchAll(/secret-(\d+)-|-(\d+)-secret/g))
      found.add(first ?? last ?? '');
  return secrets.filter((secret) => found.has(secret.split('-')[1] ?? ''));
}

/** SQLite by itself leaves something in the file. */
function changeUntilLeft(rows: Rows): void {
  do {
    rows.change(20);
    rows.database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  } while (leftIn(rows.removed, path).length === 0);
}

const everything = () => [path, `${path}-wal`];

test.each([1, 2, 3])('nothing is left of what was removed, however its pages were filled anew (%i)', async (seed) => {
  const database = opened();
  const scrubbing = new Scrubbing(database, path);
  const rows = new Rows(database, seed);
  for (let round = 0; round < 4; round++) {
    for (let time = 0; time < 15; time++) {
      rows.change(20);
      scrubbing.follow();
    }
    await scrubbing.scrub(inTurn);
    const gone = [...rows.removed];
    expect(leftIn(gone, ...everything())).toEqual([]);
    // Nor does it come back with pages that had it in memory.
    rows.change(100);
    expect(leftIn(gone, ...everything())).toEqual([]);
  }
  expect(rows.removed.length).toBeGreaterThan(150);
  expect(database.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
  database.close();
  scrubbing.close();
});

test('SQLite by itself leaves copies, which are overwritten in the file of a former version while others write to it', async () => {
  const before = opened();
  const rows = new Rows(before, 4);
  changeUntilLeft(rows);
  before.close();

  const database = opened();
  const scrubbing = new Scrubbing(database, path);
  const others = database.prepare("update sealed set other = other || 'y' where id = (select max(id) from sealed)");
  const scrubbed = scrubbing.scrub(inTurn);
  const write = (): void => {
    others.run();
    scrubbing.follow();
  };
  write();
  setImmediate(write);
  await scrubbed;
  expect(leftIn(rows.removed, ...everything())).toEqual([]);
  expect(database.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
  database.close();
  scrubbing.close();
});

test('nothing is left in the file of a store that was closed, into which SQLite brings the log', async () => {
  const database = opened();
  const scrubbing = new Scrubbing(database, path);
  const rows = new Rows(database, 6);
  await scrubbing.scrub(inTurn);
  // All of it is in the log until then.
  for (let time = 0; time < 300; time++) rows.change(20);
  await scrubbing.end();
  database.close();
  scrubbing.close();
  expect(rows.removed.length).toBeGreaterThan(50);
  expect(leftIn(rows.removed, path)).toEqual([]);
});

test('a copy has nothing of what was removed either', async () => {
  const database = opened();
  const rows = new Rows(database, 5);
  database.exec('create table root (epoch, intent_id, records, audit_sequence, audit_hash, audit_bytes, mac)');
  changeUntilLeft(rows);
  const copy = join(folder, 'copy');
  await expect(copyDatabase(database, undefined as never, copy)).rejects.toThrow();
  expect(leftIn(rows.removed, copy)).toEqual([]);
  database.close();
});

test('to scrub costs as much as was written, and once as much as there is', async () => {
  const database = opened();
  const scrubbing = new Scrubbing(database, path);
  database.exec('create table sealed (id integer primary key, secret text not null)');
  const insertion = database.prepare('insert into sealed values (?, ?)');
  database.exec('BEGIN');
  for (let id = 0; id < 10_000; id++) insertion.run(id, 's'.repeat(600));
  database.exec('COMMIT');
  await scrubbing.scrub(inTurn);
  const once = scrubbing.pagesRead;
  expect(once).toBeGreaterThan(1600);
  const removal = database.prepare("update sealed set secret = '' where id = ?");
  for (let id = 500; id < 520; id++) {
    removal.run(id * 10);
    await scrubbing.scrub(inTurn);
  }
  expect(scrubbing.pagesRead - once).toBeLessThan(20 * 5);
  // Of several that wait, one does it for all.
  removal.run(1);
  const turns: (() => void)[] = [];
  const all = Promise.all(
    Array.from({ length: 8 }, () =>
      scrubbing.scrub(
        (task) =>
          new Promise((resolve) => {
            turns.push(() => resolve(task()));
          }),
      ),
    ),
  );
  await expect.poll(() => turns.length).toBe(1);
  turns[0]?.();
  await all;
  expect(turns).toHaveLength(1);
  // What is written comes into the file after as much as SQLite would have let the log grow to.
  for (let id = 0; id < 3000; id++) {
    removal.run(id);
    scrubbing.follow();
  }
  expect(readFileSync(`${path}-wal`).length).toBeLessThan(1100 * 4200);
  database.close();
  scrubbing.close();
});
