/** A turn that a test holds, so that what waits behind it waits for the test and not for a time. */

import type { Change } from '../../src/store/records/changes.ts';
import type { Turns } from '../../src/store/turns.ts';

export interface HeldTurn {
  /** Lets the changes be written, and waits until they are and every fold has them. */
  letGo(): Promise<void>;
}

/**
 * Takes a turn and holds it between its decision and its writing: nothing of the changes shows yet, and no other change can
 * come before them. Resolves when it is held.
 * @param changes What the turn will have changed; at least one.
 */
export async function holdTurn(turns: Turns, changes: () => readonly Change[]): Promise<HeldTurn> {
  const decided = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const turn = turns.take(() => ({ changes: changes(), response: undefined }), {
    announce() {
      decided.resolve();
      return released.promise;
    },
  });
  await Promise.race([decided.promise, turn]);
  return {
    letGo() {
      released.resolve();
      return turn;
    },
  };
}
