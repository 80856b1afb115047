/**
 * Calls that wait for a lane, and whose is next: of those who wait, that of whoever had least of the HSM's time (start-time fair
 * queueing). So somebody who asks for little is before all calls of somebody who floods, however dear each is: what stands before him
 * is what the lanes have already.
 *
 * Dear calls go to lanes of their own where there are any (`lane-choice.ts`), so each payer has a queue for these and one for the
 * others, and one account for both.
 *
 * Source: Goyal, Vin and Cheng, "Start-time fair queuing", 1997.
 */

import type { Payer } from '../kms/payer.ts';
import { CallList, type PendingCall } from './pending-call.ts';

/** Beyond so many accounts those that need not be remembered are forgotten. */
const maxIdleAccounts = 64;

export type CallClass = 'quick' | 'dear';

interface Account {
  /** How much time he had, counted from where the others are. */
  usedMs: number;
  readonly waiting: Readonly<Record<CallClass, CallList>>;
}

/** What the daemon does of its own accord is on one account, too. */
type Holder = Payer | undefined;

export class FairCalls {
  readonly #accounts = new Map<Holder, Account>();
  /** What goes before everybody's calls. */
  readonly #first = new CallList();
  readonly #counts: Record<CallClass, number> = { quick: 0, dear: 0 };
  /** How much the one who was served last had before: who comes anew begins there. */
  #servedMs = 0;

  push(call: PendingCall): void {
    const callClass = call.isDear ? 'dear' : 'quick';
    this.#accountOf(call.payer).waiting[callClass].push(call);
    this.#counts[callClass]++;
  }

  /** Puts a call before everybody's. */
  pushFirst(call: PendingCall): void {
    this.#first.push(call);
  }

  /** The call of this class that is next; whoever sends it takes it. */
  next(callClass: CallClass): PendingCall | undefined {
    if (callClass === 'quick' && this.#first.first !== undefined) return this.#first.first;
    return this.#nextAccount(callClass)?.waiting[callClass].first;
  }

  /** The class whose next call is due before that of the other one; `undefined` when nothing waits. */
  nextClass(): CallClass | undefined {
    if (this.#first.count > 0) return 'quick';
    if (this.#counts.dear === 0) return this.#counts.quick === 0 ? undefined : 'quick';
    if (this.#counts.quick === 0) return 'dear';
    const [quick, dear] = [this.#nextAccount('quick'), this.#nextAccount('dear')];
    return (dear?.usedMs ?? 0) < (quick?.usedMs ?? 0) ? 'dear' : 'quick';
  }

  /** Takes what `next` gave, and puts its time on the account. */
  take(callClass: CallClass): PendingCall | undefined {
    if (callClass === 'quick' && this.#first.count > 0) return this.#first.shift();
    const account = this.#nextAccount(callClass);
    const call = account?.waiting[callClass].shift();
    if (account === undefined || call === undefined) return undefined;
    this.#counts[callClass]--;
    this.#servedMs = Math.max(this.#servedMs, account.usedMs);
    account.usedMs += call.cost.ms;
    if (this.#accounts.size > maxIdleAccounts) this.#forgetIdle();
    return call;
  }

  /** Takes out all that have waited too long, and with `null` all there are. */
  expired(nowMs: number | null): PendingCall[] {
    const late: PendingCall[] = [];
    const lists = [
      this.#first,
      ...[...this.#accounts.values()].flatMap(({ waiting }) => [waiting.quick, waiting.dear]),
    ];
    for (const list of lists)
      while (list.first !== undefined && (nowMs === null || list.first.deadlineAtMs <= nowMs)) {
        const call = list.shift();
        if (call === undefined) break;
        late.push(call);
      }
    this.#recount();
    return late;
  }

  #accountOf(holder: Holder): Account {
    let account = this.#accounts.get(holder);
    if (account === undefined) {
      account = { usedMs: this.#servedMs, waiting: { quick: new CallList(), dear: new CallList() } };
      this.#accounts.set(holder, account);
    } else if (account.waiting.quick.count + account.waiting.dear.count === 0)
      account.usedMs = Math.max(account.usedMs, this.#servedMs);
    return account;
  }

  #nextAccount(callClass: CallClass): Account | undefined {
    if (this.#counts[callClass] === 0) return undefined;
    let next: Account | undefined;
    for (const account of this.#accounts.values())
      if (account.waiting[callClass].count > 0 && (next === undefined || account.usedMs < next.usedMs)) next = account;
    return next;
  }

  /** Whoever had no more than the others has nothing to be remembered for. */
  #forgetIdle(): void {
    for (const [holder, { usedMs, waiting }] of this.#accounts)
      if (waiting.quick.count + waiting.dear.count === 0 && usedMs <= this.#servedMs) this.#accounts.delete(holder);
  }

  #recount(): void {
    for (const callClass of ['quick', 'dear'] as const) {
      this.#counts[callClass] = 0;
      for (const { waiting } of this.#accounts.values()) this.#counts[callClass] += waiting[callClass].count;
    }
  }
}
