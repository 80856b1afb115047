/**
 * On whose account this process does what it is just doing, for layers below the one that knows the request: what is begun while
 * somebody pays, and all that follows from it, is his.
 */

import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import type { Payer } from './payer.ts';
import { RecentEntries } from './recent-entries.ts';

const paying = new AsyncLocalStorage<Payer>();
/** What was made for one request of a payer serves the next one, too: `run` of the storage makes it anew each time, twice (0.7 µs, not 0.03). */
const scopes = new RecentEntries<AsyncResource>(128);

/** Runs `work`, and whatever it begins, on this account. */
export function onAccountOf<Result>(payer: Payer, work: () => Result): Result {
  let scope = scopes.get(payer);
  if (scope === undefined) {
    scope = paying.run(payer, () => new AsyncResource('payer'));
    scopes.set(payer, scope);
  }
  return scope.runInAsyncScope(work);
}

/** `undefined`: nobody asked for it, the daemon does it of its own accord. */
export function payerNow(): Payer | undefined {
  return paying.getStore();
}
