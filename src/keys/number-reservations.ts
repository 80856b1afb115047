/**
 * Blocks of encryption numbers, put on record for all backing keys together that ask for one while a turn is awaited.
 *
 * After a start each backing key needs a block before it encrypts anything. One turn and one sync of the disk for each would be what
 * requests under many keys wait for; those of up to 128 share them. What is wrong with the record of one is not the others' trouble:
 * where a common write is refused, each is written alone.
 */

import { UnverifiedRecords } from '../store/record-source.ts';
import { StoreError } from '../store/store-error.ts';
import type { Decided, Turns } from '../store/turns.ts';
import type { NumberBlock } from './encryption-counter.ts';

type Block = NumberBlock | undefined;

interface Waiting<Id> {
  readonly id: Id;
  readonly resolve: (block: Block) => void;
  readonly reject: (error: unknown) => void;
}

type Outcome = { readonly block: Block } | { readonly error: unknown };

/** As many as the HSM computes MACs of in one call: some milliseconds in which the store does nothing else. */
const reservedAtOnce = 128;

/** Of one backing key's record: a common write comes to the same for the others. */
const failuresOfOne: ReadonlySet<string> = new Set(['conflict', 'altered', 'damaged']);

export class NumberReservations<Id> {
  readonly #turns: Pick<Turns, 'take'>;
  readonly #decide: (id: Id) => Decided<Block>;
  /** Those that the next turn is for, and more where they are too many for one. */
  #waiting: Waiting<Id>[] = [];
  #isTurnAwaited = false;

  /** @param decide The next block of one backing key, and the changes that put it on record. Asked in the turn. */
  constructor(turns: Pick<Turns, 'take'>, decide: (id: Id) => Decided<Block>) {
    this.#turns = turns;
    this.#decide = decide;
  }

  /**
   * Resolves when the block is on disk.
   * @returns `undefined` where there is none left.
   * @throws what `decide` throws, and as `Turns.take`.
   */
  reserve(id: Id): Promise<Block> {
    const { promise, resolve, reject } = Promise.withResolvers<Block>();
    this.#waiting.push({ id, resolve, reject });
    this.#awaitTurn();
    return promise;
  }

  #awaitTurn(): void {
    if (this.#isTurnAwaited || this.#waiting.length === 0) return;
    this.#isTurnAwaited = true;
    let group: readonly Waiting<Id>[] | undefined;
    const begin = (): readonly Waiting<Id>[] => {
      this.#isTurnAwaited = false;
      const some = this.#takeGroup();
      this.#awaitTurn();
      return some;
    };
    this.#reserveAll(() => {
      group ??= begin();
      return group;
    }).catch((error) => {
      // Of a turn that did not come.
      group ??= begin();
      if (group.length > 1 && error instanceof StoreError && failuresOfOne.has(error.failure)) {
        for (const one of group) this.#reserveAll(() => [one]).catch(one.reject);
      } else {
        for (const { reject } of group) reject(error);
      }
    });
  }

  /** The first of those who wait, each backing key once: the next block of the same one comes after it. */
  #takeGroup(): readonly Waiting<Id>[] {
    const group = new Map<Id, Waiting<Id>>();
    const later: Waiting<Id>[] = [];
    for (const one of this.#waiting) {
      if (group.has(one.id) || group.size === reservedAtOnce) later.push(one);
      else group.set(one.id, one);
    }
    this.#waiting = later;
    return [...group.values()];
  }

  /** @param group Those of the turn, once it has come. */
  async #reserveAll(group: () => readonly Waiting<Id>[]): Promise<void> {
    const decide = () => {
      const decided = group().map((one) => ({ one, ...this.#decided(one.id) }));
      return { changes: decided.flatMap(({ changes }) => changes), response: decided };
    };
    for (const { one, outcome } of await this.#turns.take(decide, { isQuiet: true })) {
      if ('error' in outcome) one.reject(outcome.error);
      else one.resolve(outcome.block);
    }
  }

  #decided(id: Id): { readonly changes: Decided<Block>['changes']; readonly outcome: Outcome } {
    try {
      const { changes, response } = this.#decide(id);
      return { changes, outcome: { block: response } };
    } catch (error) {
      if (error instanceof UnverifiedRecords) throw error;
      return { changes: [], outcome: { error } };
    }
  }
}
