/**
 * Remembers what the user database said, so that connections do not wait for it.
 *
 * An answer is believed for `freshMs`. After that it is still used, while a new one is fetched on another thread; what
 * has not been asked for longer than `staleMs` is not used any more, and nothing is that was asked for before the database's files
 * changed. How long these are depends on where users are (`user-database-watch.ts`). An answer that is another one than
 * the last is told of.
 *
 * The first question about a user has to be answered before his connection is served. It is asked on another thread and
 * his first request waits for it (`getKnown`): nobody else does, however long a directory server is silent. When too many
 * wait already (somebody may connect under thousands of subordinate uids), he is refused at once and may come again.
 *
 * Some cannot wait, such as the evaluation of a policy that names groups; their first questions block (`get`). That is fine
 * where users are in files (microseconds). Because a directory server may hang, the time spent blocking is an allowance
 * that refills slowly: when it is used up, what is not known is an error, and the question is asked on another thread.
 * A question that failed is remembered as failed and asked again on another thread only.
 *
 * INVARIANT: what could not be found out is an error and never "has no name", because a policy may deny by name.
 */

import type { UserDatabaseWatch } from './user-database-watch.ts';

export interface Lookup<Key, Value> {
  /** Blocks. `undefined`: there is none. Throws: it could not be found out. */
  now(key: Key): Value | undefined;
  later(key: Key): Promise<Value | undefined>;
}

/** Nothing is known yet, and there was no time to wait. */
export class NameNotKnownYetError extends Error {
  override readonly name = 'NameNotKnownYetError';
  /** Resolves, and never rejects, when the question is answered or has failed; `undefined` where it could not be asked. */
  readonly answered: Promise<void> | undefined;

  constructor(message: string, answered: Promise<void> | undefined) {
    super(message);
    this.answered = answered;
  }
}

/** A user who connects again is among the last this many; more are looked up again. */
export const maxEntries = 4096;
/**
 * Questions under way on other threads; each may hold one for as long as a directory server is silent. The threads are the
 * four of libuv's pool, and the audit log, for whose every line the daemon waits, writes on them as well (measured: with four
 * questions that hang, a file is not read until one of them ends).
 */
const maxAtOnce = 2;
/** Questions that wait for such a thread. */
const maxWaiting = 14;

/** How much blocking is saved up at most, and how fast: one part in ten of the time that passes. */
export const maxAllowanceMs = 1_000;
const allowanceRefill = 0.1;

/** How long questions may block, over time. */
export class BlockingAllowance {
  readonly #clock: () => number;
  #availableMs = maxAllowanceMs;
  #countedAtMs: number;

  constructor(clock: () => number) {
    this.#clock = clock;
    this.#countedAtMs = clock();
  }

  isUsedUp(): boolean {
    const nowMs = this.#clock();
    const refillMs = (nowMs - this.#countedAtMs) * allowanceRefill;
    this.#availableMs = Math.min(maxAllowanceMs, this.#availableMs + refillMs);
    this.#countedAtMs = nowMs;
    return this.#availableMs <= 0;
  }

  /** Runs it, and counts how long it took. A question that took very long costs more than there was. */
  spend<T>(question: () => T): T {
    const startMs = this.#clock();
    try {
      return question();
    } finally {
      this.#availableMs -= this.#clock() - startMs;
    }
  }
}

/** The threads that all caches together may take for questions. */
export class QuestionThreads {
  #taken = 0;
  readonly #waiting: (() => void)[] = [];

  /** `undefined` when too many wait already. */
  ask<T>(question: () => Promise<T>): Promise<T> | undefined {
    if (this.#taken < maxAtOnce) return this.#run(question);
    if (this.#waiting.length >= maxWaiting) return undefined;
    return new Promise((resolve) => this.#waiting.push(() => resolve(this.#run(question))));
  }

  async #run<T>(question: () => Promise<T>): Promise<T> {
    this.#taken++;
    try {
      return await question();
    } finally {
      this.#taken--;
      this.#waiting.shift()?.();
    }
  }
}

type Answer<Value> = { readonly value: Value | undefined } | { readonly error: unknown };

interface Entry<Value> {
  readonly answer: Answer<Value>;
  readonly atMs: number;
  /** Of the database's files, before it was asked. */
  readonly filesState: number;
  /** What it last said, where the answer is that it did not. */
  readonly lastValue: { readonly value: Value | undefined } | undefined;
}

export interface NameCacheOptions<Key, Value> {
  readonly lookup: Lookup<Key, Value>;
  readonly allowance: BlockingAllowance;
  readonly threads: QuestionThreads;
  readonly clock: () => number;
  readonly watch: Pick<UserDatabaseWatch, 'filesState' | 'freshness'>;
  /** The answer is another one than it was. */
  readonly answeredOtherwise: (key: Key, before: Value | undefined, now: Value | undefined) => void;
}

export class NameCache<Key, Value> {
  readonly #options: NameCacheOptions<Key, Value>;
  /** In the order in which they were learnt. */
  readonly #entries = new Map<Key, Entry<Value>>();
  readonly #pending = new Map<Key, Promise<void>>();

  constructor(options: NameCacheOptions<Key, Value>) {
    this.#options = options;
  }

  /**
   * What the user database says, or said a short time ago.
   *
   * @throws whatever the look-up throws; NameNotKnownYetError.
   */
  get(key: Key): Value | undefined {
    const answer = this.#answerTo(key);
    if (answer !== undefined) return unwrap(answer);
    const { allowance, lookup, watch } = this.#options;
    if (allowance.isUsedUp()) throw this.#notKnownYet(key);
    const filesState = watch.filesState();
    const found = allowance.spend(() => attempt(() => lookup.now(key)));
    this.#learn(key, found, filesState);
    return unwrap(found);
  }

  /**
   * As `get`, and never blocks.
   *
   * @throws whatever the look-up throws; NameNotKnownYetError, which says when to come again.
   */
  getKnown(key: Key): Value | undefined {
    const answer = this.#answerTo(key);
    if (answer !== undefined) return unwrap(answer);
    throw this.#notKnownYet(key);
  }

  /** One that can be used. */
  #answerTo(key: Key): Answer<Value> | undefined {
    const { watch, clock } = this.#options;
    const filesState = watch.filesState();
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.filesState !== filesState) return undefined;
    const { freshMs, staleMs } = watch.freshness;
    const ageMs = clock() - entry.atMs;
    if (ageMs >= staleMs) return undefined;
    if (ageMs >= freshMs) this.#refresh(key);
    return entry.answer;
  }

  #notKnownYet(key: Key): NameNotKnownYetError {
    return new NameNotKnownYetError(`the user database has not said yet who \`${key}\` is`, this.#refresh(key));
  }

  /** Resolves when the question is answered or has failed. */
  #refresh(key: Key): Promise<void> | undefined {
    const pending = this.#pending.get(key);
    if (pending !== undefined) return pending;
    const { threads, lookup, watch } = this.#options;
    let filesState = watch.filesState();
    const question = threads.ask(() => {
      // It may have waited for a thread.
      filesState = watch.filesState();
      return lookup.later(key);
    });
    if (question === undefined) return undefined;
    const answered = question
      .then(
        (value) => this.#learn(key, { value }, filesState),
        (error: unknown) => this.#learn(key, { error }, filesState),
      )
      .finally(() => this.#pending.delete(key));
    this.#pending.set(key, answered);
    return answered;
  }

  #learn(key: Key, answer: Answer<Value>, filesState: number): void {
    const before = this.#entries.get(key)?.lastValue;
    const lastValue = 'error' in answer ? before : answer;
    this.#entries.delete(key);
    this.#entries.set(key, { answer, atMs: this.#options.clock(), filesState, lastValue });
    if (this.#entries.size > maxEntries) {
      const [oldest] = this.#entries.keys();
      if (oldest !== undefined) this.#entries.delete(oldest);
    }
    if (before !== undefined && lastValue !== undefined && String(before.value) !== String(lastValue.value))
      this.#options.answeredOtherwise(key, before.value, lastValue.value);
  }
}

function attempt<Value>(question: () => Value | undefined): Answer<Value> {
  try {
    return { value: question() };
  } catch (error) {
    return { error };
  }
}

function unwrap<Value>(answer: Answer<Value>): Value | undefined {
  if ('error' in answer) throw answer.error;
  return answer.value;
}
