/**
 * How often somebody was wrong about the password that a custom key store has. Whoever may create custom key stores is told whether he gave the
 * same one (`create-custom-key-store.ts`), and the HSM, which locks itself at some wrong one, is not asked.
 *
 * INVARIANT: of one password there are no more than `mostWrong` wrong guesses while the daemon runs, as only one is compared at a time. After them every
 * one counts as wrong.
 */

import type { CustomKeyStoreRecord } from '../../store/records/records.ts';

/** After as many AWS CloudHSM locks the user. Source: AWS KMS developer guide, "How to fix invalid `kmsuser` credentials". */
const mostWrong = 5;

interface Guesses {
  wrong: number;
  last: Promise<unknown>;
}

export class GuessedPasswords {
  readonly #guesses = new WeakMap<Buffer, Guesses>();

  /** @param compare Whether it is the one. */
  isRight(
    { sealedPassword }: Pick<CustomKeyStoreRecord, 'sealedPassword'>,
    compare: () => Promise<boolean>,
  ): Promise<boolean> {
    const guesses = this.#guesses.get(sealedPassword) ?? { wrong: 0, last: Promise.resolve() };
    this.#guesses.set(sealedPassword, guesses);
    const answer = guesses.last.then(async () => {
      if (guesses.wrong >= mostWrong) return false;
      const isRight = await compare();
      if (!isRight) guesses.wrong += 1;
      return isRight;
    });
    guesses.last = answer.catch(() => undefined);
    return answer;
  }
}
