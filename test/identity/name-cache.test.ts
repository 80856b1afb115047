import { beforeEach, describe, expect, test } from 'vitest';
import {
  BlockingAllowance,
  type Lookup,
  maxAllowanceMs,
  maxEntries,
  NameCache,
  NameNotKnownYetError,
  QuestionThreads,
} from '../../src/identity/name-cache.ts';

/** A clock that moves when it is told to. */
let nowMs: number;
const clock = (): number => nowMs;

/** A user database in memory, which says how it was asked. */
class Database implements Lookup<number, string> {
  readonly names = new Map<number, string>();
  readonly asked: string[] = [];
  /** How long a blocking question takes. */
  delayMs = 0;
  failure: Error | undefined;

  now(key: number): string | undefined {
    this.asked.push(`now ${key}`);
    nowMs += this.delayMs;
    if (this.failure !== undefined) throw this.failure;
    return this.names.get(key);
  }

  async later(key: number): Promise<string | undefined> {
    this.asked.push(`later ${key}`);
    if (this.failure !== undefined) throw this.failure;
    return this.names.get(key);
  }
}

let database: Database;
let cache: NameCache<number, string>;
let filesState: number;
let changes: unknown[];
const [freshMs, staleMs] = [60_000, 600_000];

beforeEach(() => {
  nowMs = 1_000_000;
  database = new Database();
  database.names.set(1, 'alice');
  filesState = 1;
  changes = [];
  cache = new NameCache({
    lookup: database,
    allowance: new BlockingAllowance(clock),
    threads: new QuestionThreads(),
    clock,
    watch: { filesState: () => filesState, freshness: { freshMs, staleMs } },
    answeredOtherwise: (...change) => changes.push(change),
  });
});

/** Lets questions on other threads come back. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the user database', () => {
  test('is asked once for many connections of one user', () => {
    for (let count = 0; count < 1000; count++) expect(cache.get(1)).toBe('alice');
    expect(database.asked).toEqual(['now 1']);
  });

  test('is asked once for many connections of a uid without a name', () => {
    for (let count = 0; count < 1000; count++) expect(cache.get(2)).toBeUndefined();
    expect(database.asked).toEqual(['now 2']);
  });

  test('is asked again on another thread when an answer is no longer fresh, and the old one serves until then', async () => {
    cache.get(1);
    database.names.set(1, 'bob');
    nowMs += freshMs - 1;
    expect(cache.get(1)).toBe('alice');
    nowMs += 1;
    expect([cache.get(1), cache.get(1)]).toEqual(['alice', 'alice']);
    await settle();
    expect(cache.get(1)).toBe('bob');
    expect(database.asked).toEqual(['now 1', 'later 1']);
  });

  test('is asked anew about a user who has not been there for long', () => {
    cache.get(1);
    database.names.set(1, 'bob');
    nowMs += staleMs;
    expect(cache.get(1)).toBe('bob');
    expect(database.asked).toEqual(['now 1', 'now 1']);
  });
});

describe('when the files of the database have changed', () => {
  test('nothing that was learnt before is used, and another answer is told of', async () => {
    cache.get(1);
    database.names.set(1, 'bob');
    filesState++;
    expect(cache.get(1)).toBe('bob');
    database.names.delete(1);
    filesState++;
    expect(() => cache.getKnown(1)).toThrow(NameNotKnownYetError);
    await settle();
    expect(cache.getKnown(1)).toBeUndefined();
    expect(changes).toEqual([
      [1, 'alice', 'bob'],
      [1, 'bob', undefined],
    ]);
  });

  test('an answer to what was asked before is not used either', async () => {
    expect(() => cache.getKnown(1)).toThrow(NameNotKnownYetError);
    filesState++;
    await settle();
    expect(() => cache.getKnown(1)).toThrow(NameNotKnownYetError);
    await settle();
    expect(cache.getKnown(1)).toBe('alice');
  });

  test('an answer that failed in between hides no change', async () => {
    cache.get(1);
    database.failure = new Error('the user database does not answer');
    filesState++;
    expect(() => cache.get(1)).toThrow(database.failure);
    database.failure = undefined;
    database.names.set(1, 'bob');
    filesState++;
    expect(cache.get(1)).toBe('bob');
    expect(changes).toEqual([[1, 'alice', 'bob']]);
  });
});

describe('an answer that cannot be had', () => {
  const failure = new Error('the user database does not answer');

  test('is an error and not a user without a name', () => {
    database.failure = failure;
    expect(() => cache.get(1)).toThrow(failure);
  });

  test('is asked for again on another thread only', async () => {
    database.failure = failure;
    expect(() => cache.get(1)).toThrow(failure);
    expect(() => cache.get(1)).toThrow(failure);
    nowMs += freshMs;
    expect(() => cache.get(1)).toThrow(failure);
    await settle();
    expect(() => cache.get(1)).toThrow(failure);
    database.failure = undefined;
    nowMs += freshMs;
    expect(() => cache.get(1)).toThrow(failure);
    await settle();
    expect(cache.get(1)).toBe('alice');
    expect(database.asked).toEqual(['now 1', 'later 1', 'later 1']);
  });

  test('replaces the old one when that is no longer fresh', async () => {
    cache.get(1);
    database.failure = failure;
    nowMs += freshMs;
    expect(cache.get(1)).toBe('alice');
    await settle();
    expect(() => cache.get(1)).toThrow(failure);
  });
});

describe('a slow user database', () => {
  const notYet = expect.objectContaining({
    name: 'NameNotKnownYetError',
    message: 'the user database has not said yet who `2` is',
  });

  test('blocks until the allowance is used up; then unknown users are refused until they are known', async () => {
    database.names.set(2, 'bob');
    database.delayMs = 2 * maxAllowanceMs; // While it blocks, a tenth comes back.
    expect(cache.get(1)).toBe('alice');
    expect(() => cache.get(2)).toThrow(notYet);
    expect(cache.get(1)).toBe('alice');
    await settle();
    expect(cache.get(2)).toBe('bob');
    expect(database.asked).toEqual(['now 1', 'later 2']);
  });

  test('blocks at most a tenth of the time, however many users come', () => {
    database.delayMs = 3 * maxAllowanceMs;
    const startMs = nowMs;
    let blockedMs = 0;
    for (let uid = 0; uid < 20_000; uid++) {
      const beforeMs = nowMs;
      try {
        cache.get(uid);
      } catch (error) {
        expect(error).toBeInstanceOf(NameNotKnownYetError);
      }
      blockedMs += nowMs - beforeMs;
      nowMs += 10;
    }
    expect(blockedMs).toBeGreaterThan(0);
    expect(blockedMs).toBeLessThanOrEqual((nowMs - startMs) * 0.1 + maxAllowanceMs + database.delayMs);
  });

  test('has two questions under way at once, and few more that wait', async () => {
    const later = (): number => database.asked.filter((question) => question.startsWith('later')).length;
    database.delayMs = 100 * maxAllowanceMs;
    cache.get(1);
    for (let uid = 2; uid < 1000; uid++) expect(() => cache.get(uid)).toThrow(NameNotKnownYetError);
    expect(later()).toBe(2);
    await expect.poll(later).toBe(16);
    await settle();
    expect(later()).toBe(16);
  });
});

describe('who can wait for an answer', () => {
  const refusal = (key: number): NameNotKnownYetError => {
    try {
      cache.getKnown(key);
    } catch (error) {
      if (error instanceof NameNotKnownYetError) return error;
    }
    throw new Error('nothing was known of this user');
  };

  test('blocks nobody, and is told when to come again', async () => {
    const error = refusal(1);
    expect(error.message).toBe('the user database has not said yet who `1` is');
    expect(refusal(1).answered).toBe(error.answered);
    await error.answered;
    expect(cache.getKnown(1)).toBe('alice');
    expect(database.asked).toEqual(['later 1']);
  });

  test('is told as well when there is no answer', async () => {
    database.failure = new Error('the user database does not answer');
    await refusal(1).answered;
    expect(() => cache.getKnown(1)).toThrow(database.failure);
  });

  test('is refused when too many wait', () => {
    const answers = Array.from({ length: 17 }, (_, uid) => refusal(uid + 1).answered);
    expect(answers.map((answered) => answered === undefined)).toEqual([...Array(16).fill(false), true]);
  });
});

test('the cache keeps the users who were learnt last, and no more than fit', () => {
  for (let uid = 0; uid <= maxEntries; uid++) cache.get(uid);
  database.asked.length = 0;
  for (let uid = 1; uid <= maxEntries; uid++) cache.get(uid);
  expect(database.asked).toEqual([]);
  cache.get(0);
  expect(database.asked).toEqual(['now 0']);
});
