/**
 * The turn: the moment in which one change is decided and written, with no other change in between.
 *
 * `take` waits for all earlier turns, has the change decided, writes it, has every fold apply it, and only then lets the
 * next turn begin. INVARIANT: nothing else writes records (`MetadataStore.write` is called here alone), so what a decision
 * reads from a fold is what is on disk. Where another node was faster all the same, the store refuses the write
 * (`conflict`): the records are read again, applied, and the change is decided again on what is true now.
 *
 * A turn holds everybody else up, so nothing that takes long belongs in it: what the HSM generates is generated before, what
 * it destroys is destroyed after.
 */

import type { MetadataStore } from './metadata-store.ts';
import type { Change } from './records/changes.ts';
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
}

/** How a turn is taken. */
export interface TurnTraits {
  /** Called before the change is written. */
  readonly announce?: (changes: readonly Change[]) => Promise<void>;
  /** Waits however long it takes: for what has to be undone. */
  readonly isPatient?: boolean;
}

export class Turns {
  readonly #store: Pick<MetadataStore, 'write' | 'reread'>;
  readonly #maxWaitMs: number;
  readonly #foldFailed: (error: unknown) => void;
  readonly #folds: Fold[] = [];
  #last: Promise<unknown> = Promise.resolve();

  constructor(store: Pick<MetadataStore, 'write' | 'reread'>, options: TurnsOptions = {}) {
    this.#store = store;
    this.#maxWaitMs = options.maxWaitMs ?? defaultMaxWaitMs;
    this.#foldFailed = options.foldFailed ?? (() => undefined);
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
  take<Response>(decide: () => Decided<Response>, { announce, isPatient = false }: TurnTraits = {}): Promise<Response> {
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    let isOver = false;
    const giveUp = (): void => {
      isOver = true;
      reject(new StoreError('busy', `the turn of a change did not come within ${this.#maxWaitMs} ms`));
    };
    const timer = isPatient ? undefined : setTimeout(giveUp, this.#maxWaitMs).unref();
    this.#last = this.#last.then(async () => {
      if (isOver) return;
      clearTimeout(timer);
      await this.#perform(decide, announce).then(resolve, reject);
    });
    return promise;
  }

  async #perform<Response>(decide: () => Decided<Response>, announce: TurnTraits['announce']): Promise<Response> {
    for (let decisions = 1; ; decisions++) {
      const { changes, response } = decide();
      if (changes.length === 0) return response;
      await announce?.(changes);
      try {
        await this.#store.write(changes);
      } catch (error) {
        const isConflict = error instanceof StoreError && error.failure === 'conflict';
        if (!isConflict || decisions === maxDecisions) throw error;
        this.#apply(await this.#store.reread(changes));
        continue;
      }
      this.#apply(changes);
      return response;
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
