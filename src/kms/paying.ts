/**
 * On whose account this process does what it is just doing, for layers below the one that knows the request: what is begun while
 * somebody pays, and all that follows from it, is his.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import type { Payer } from './payer.ts';

const paying = new AsyncLocalStorage<Payer>();

/** Runs `work`, and whatever it begins, on this account. */
export function onAccountOf<Result>(payer: Payer, work: () => Result): Result {
  return paying.run(payer, work);
}

/** `undefined`: nobody asked for it, the daemon does it of its own accord. */
export function payerNow(): Payer | undefined {
  return paying.getStore();
}
