/**
 * The turn: the moment in which one change is decided and written, with no other change in between.
 *
 * `take` waits for all earlier turns, has the change decided, has its intent put on record, writes it, has every fold apply it,
 * and only then lets the next turn begin. So of the intents on record only the last can be one of which it is not known whether
 * it took effect. INVARIANT: nothing else writes records (`MetadataStore.write` is called here alone), so what a decision
 * reads from a fold is what is on disk. Where another node was faster all the same, the store refuses the write
 * (`conflict`): the records are read again, applied, and the change is decided again on what is true now.
 *
 * A turn holds everybody else up, so nothing that takes long belongs in it: what the HSM generates is generated before, what
 * it destroys is destroyed after.
 */

import type { MetadataStore } from './metadata-store.ts';
import { UnverifiedRecords } from './record-source.ts';
import type { Change } from './records/changes.ts';
import type { RecordKind } from './records/records.ts';
import { StoreError } from './store-error.ts';

/** What a decision comes to. No changes: nothing is written. */
export interface Decided<Response> {
  readonly changes: readonly Change[];
  readonly response: Response;
}

/** Something in memory that follows the records. */
export interface Fold {
  /** Takes changes that are on disk; those that are not its business it passes over. Never throws. */
  apply(changes: readonly Change[]): void;
  /** Told of changes that are about to be written. It may throw `UnverifiedRecords`, and is asked again then. */
  foresee?(changes: readonly Change[]): void;
}

/** Another node can be faster now and then, not each time. */
const maxDecisions = 5;
/** Longer than a call to an HSM may take by default: while that hangs, whoever waits behind it hears of it before he gives up. */
const defaultMaxWaitMs = 20_000;

export interface TurnsOptions {
  /** After so long without its turn a change is refused (`StoreError` `busy`), and is not made later. */
  readonly maxWaitMs?: number;
  /** Told of a fold that failed to follow: a mistake of ours, after which memory may differ from the disk. */
  readonly foldFailed?: (error: unknown) => void;
  /** Of changes that the daemon makes of its own accord. Absent: these are not announced. */
  readonly own?: Announcer;
}

/** Puts changes on record before they take effect, and what became of them after. */
export interface Announcer {
  /** @returns The id of the intent, which is on record by then. @throws when it is not: the change is not made. */
  announce(changes: readonly Change[]): Promise<string>;
  /** Told of each intent, in its turn, whether its change is on disk. Never throws. */
  settled(intentId: string, isDone: boolean): void;
}

/** How a turn is taken. */
export interface TurnTraits {
  /** Whose change it is; the daemon's own unless given. */
  readonly by?: Announcer | undefined;
  /** It has no intent: it has no caller and changes nothing that anybody may do. Only for records of `quietKinds`. */
  readonly isQuiet?: boolean;
  /** Called before the change is written, once its intent is on record. */
  readonly announce?: (changes: readonly Change[]) => Promise<void>;
  /** Waits however long it takes: for what has to be undone. */
  readonly isPatient?: boolean;
}

/** None of these says what anybody may do; those of material do not as long as no key names it. */
const quietKinds: ReadonlySet<RecordKind> = new Set<RecordKind>([
  'backingKey',
  'wrappingKey',
  'lastUse',
  'milestone',
  'upkeepWait',
  'domainKey',
  'remnant',
  'member',
]);

export class Turns {
  readonly #store: Pick<MetadataStore, 'write' | 'reread'>;
  readonly #maxWaitMs: number;
  readonly #foldFailed: (error: unknown) => void;
  readonly #own: Announcer | undefined;
  readonly #folds: Fold[] = [];
  #last: Promise<unknown> = Promise.resolve();

  constructor(store: Pick<MetadataStore, 'write' | 'reread'>, options: TurnsOptions = {}) {
    this.#store = store;
    this.#maxWaitMs = options.maxWaitMs ?? defaultMaxWaitMs;
    this.#foldFailed = options.foldFailed ?? (() => undefined);
    this.#own = options.own;
  }

  /** From now on it is told of every change. It has what was loaded. */
  follow(fold: Fold): void {
    this.#folds.push(fold);
  }

  /**
   * Takes the next turn.
   * @param decide Synchronous, so that it decides on one state of things; what it throws ends the turn, and nothing was changed.
   * Asked once more where another node was faster.
   * @throws StoreError `busy` when its turn did not come, `conflict` when others were faster each time; and what
   * `MetadataStore.write` rejects with. Once the change is on disk it does not throw.
   */
  take<Response>(decide: () => Decided<Response>, traits: TurnTraits = {}): Promise<Response> {
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    let isOver = false;
    const giveUp = (): void => {
      isOver = true;
      reject(new StoreError('busy', `the turn of a change did not come within ${this.#maxWaitMs} ms`));
    };
    const timer = traits.isPatient ? undefined : setTimeout(giveUp, this.#maxWaitMs).unref();
    this.#last = this.#last.then(async () => {
      if (isOver) return;
      clearTimeout(timer);
      await this.#perform(decide, traits).then(resolve, reject);
    });
    return promise;
  }

  async #perform<Response>(decide: () => Decided<Response>, traits: TurnTraits): Promise<Response> {
    const by = traits.isQuiet ? undefined : (traits.by ?? this.#own);
    for (let decisions = 1; ; decisions++) {
      const { changes, response } = await this.#decided(decide);
      if (changes.length === 0) return response;
      if (traits.isQuiet) assertQuiet(changes);
      const intentId = await by?.announce(changes);
      const settled = (isDone: boolean): void => {
        if (intentId !== undefined) by?.settled(intentId, isDone);
      };
      try {
        await traits.announce?.(changes);
        await this.#store.write(changes, { intentId });
      } catch (error) {
        settled(false);
        const isConflict = error instanceof StoreError && error.failure === 'conflict';
        if (!isConflict || decisions === maxDecisions) throw error;
        this.#apply(await this.#store.reread(changes));
        continue;
      }
      settled(true);
      this.#apply(changes);
      return response;
    }
  }

  /** On records that are verified: what is not yet is waited for, and the change is decided on what is true then. */
  async #decided<Response>(decide: () => Decided<Response>): Promise<Decided<Response>> {
    for (;;) {
      try {
        const decided = decide();
        for (const fold of this.#folds) fold.foresee?.(decided.changes);
        return decided;
      } catch (error) {
        if (!(error instanceof UnverifiedRecords)) throw error;
        await error.verify();
      }
    }
  }

  /** What is on disk stays: a fold that fails takes nothing back, and the others follow. */
  #apply(changes: readonly Change[]): void {
    for (const fold of this.#folds) {
      try {
        fold.apply(changes);
      } catch (error) {
        this.#foldFailed(error);
      }
    }
  }
}

/** @throws TypeError for a change of what somebody may do: a mistake of ours, which nothing would tell of. */
function assertQuiet(changes: readonly Change[]): void {
  for (const change of changes) {
    const kind = 'put' in change ? change.put : change.remove;
    if (!quietKinds.has(kind)) throw new TypeError(`a record of kind ${kind} is not changed without an intent`);
  }
}
