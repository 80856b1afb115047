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
  readonly quick: CallList;
  readonly dear: CallList;
}

/** What the daemon does of its own accord is on one account, too. */
type Holder = Payer | undefined;

export class FairCalls {
  readonly #accounts = new Map<Holder, Account>();
  /** Whose account was asked for last: mostly it is asked for again. */
  #last: { readonly holder: Holder; readonly account: Account } | undefined;
  /** What goes before everybody's calls. */
  readonly #first = new CallList();
  readonly #counts: Record<CallClass, number> = { quick: 0, dear: 0 };
  /** How much the one who was served last had before: who comes anew begins there. */
  #servedMs = 0;

  /** Does nothing wait? */
  get isEmpty(): boolean {
    return this.#counts.quick === 0 && this.#counts.dear === 0 && this.#first.count === 0;
  }

  push(call: PendingCall): void {
    const callClass = call.isDear ? 'dear' : 'quick';
    this.#accountOf(call.payer)[callClass].push(call);
    this.#counts[callClass]++;
  }

  /** Puts a call before everybody's. */
  pushFirst(call: PendingCall): void {
    this.#first.push(call);
  }

  /** Puts the time of a call on its payer's account that did not wait here, because nothing does. */
  charge(call: PendingCall): void {
    this.#charge(this.#accountOf(call.payer), call);
  }

  /** The call of this class that is next; whoever sends it takes it. */
  next(callClass: CallClass): PendingCall | undefined {
    if (callClass === 'quick' && this.#first.first !== undefined) return this.#first.first;
    return this.#nextAccount(callClass)?.[callClass].first;
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
    const call = account?.[callClass].shift();
    if (account === undefined || call === undefined) return undefined;
    this.#counts[callClass]--;
    this.#charge(account, call);
    return call;
  }

  /** Takes out all that have waited too long, and with `null` all there are. */
  expired(nowMs: number | null): PendingCall[] {
    if (this.isEmpty) return [];
    const late: PendingCall[] = [];
    const lists = [this.#first, ...[...this.#accounts.values()].flatMap(({ quick, dear }) => [quick, dear])];
    for (const list of lists)
      while (list.first !== undefined && (nowMs === null || list.first.deadlineAtMs <= nowMs)) {
        const call = list.shift();
        if (call === undefined) break;
        late.push(call);
      }
    this.#recount();
    return late;
  }

  #charge(account: Account, call: PendingCall): void {
    this.#servedMs = Math.max(this.#servedMs, account.usedMs);
    account.usedMs += call.cost.ms;
    if (this.#accounts.size > maxIdleAccounts) this.#forgetIdle();
  }

  #accountOf(holder: Holder): Account {
    const last = this.#last;
    let account = last !== undefined && last.holder === holder ? last.account : this.#accounts.get(holder);
    if (account === undefined) {
      account = { usedMs: this.#servedMs, quick: new CallList(), dear: new CallList() };
      this.#accounts.set(holder, account);
    } else if (account.quick.count + account.dear.count === 0)
      account.usedMs = Math.max(account.usedMs, this.#servedMs);
    if (last?.account !== account) this.#last = { holder, account };
    return account;
  }

  #nextAccount(callClass: CallClass): Account | undefined {
    if (this.#counts[callClass] === 0) return undefined;
    // Mostly it is one payer alone who has calls that wait.
    const last = this.#last?.account;
    if (last?.[callClass].count === this.#counts[callClass]) return last;
    let next: Account | undefined;
    for (const account of this.#accounts.values())
      if (account[callClass].count > 0 && (next === undefined || account.usedMs < next.usedMs)) next = account;
    return next;
  }

  /** Whoever had no more than the others has nothing to be remembered for. */
  #forgetIdle(): void {
    for (const [holder, { usedMs, quick, dear }] of this.#accounts)
      if (quick.count + dear.count === 0 && usedMs <= this.#servedMs) this.#accounts.delete(holder);
    this.#last = undefined;
  }

  #recount(): void {
    for (const callClass of ['quick', 'dear'] as const) {
      this.#counts[callClass] = 0;
      for (const account of this.#accounts.values()) this.#counts[callClass] += account[callClass].count;
    }
  }
}
