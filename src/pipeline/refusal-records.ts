/**
 * How refused requests go on record, at a price that nobody can raise.
 *
 * A refusal costs whoever provokes it nothing, and a line of the log each would let him fill the disk. So each payer has a
 * budget of lines for his refusals. What is over it is counted by kind: payer, operation, key and reason. The first of each
 * kind is a line of its own that says so (`counting`), and no other one of that kind is answered before that line is on
 * record; how many followed is on record within a second (`AuditCountedRefusals`), and at a stop. A payer has some kinds of
 * his own, and whatever else he is refused is one more, `other`. A kind is counted until his budget is full again.
 *
 * INVARIANT: that there were more refusals of a kind than lines is on record before the first of them is answered. A daemon
 * that is killed loses how many there were in its last second. This is the one exception to "no answer before its record".
 *
 * Beyond a second, larger budget a payer is turned away before anything of his requests is looked at. What he was allowed
 * counts in his favour, so that programs that succeed are not turned away for those that are refused as often. Operators never
 * are, and each of their refusals is a line.
 */

import type { AuditEvent, AuditLog, CountedKind, LineAccount, ServiceEvent } from '../audit/audit-log.ts';
import type { AuditBudget, RefusalBudget } from '../kms/budgets.ts';
import type { Logger } from '../kms/logger.ts';
import { isOperator, type Payer } from '../kms/payer.ts';
import { TokenBucket } from '../kms/token-bucket.ts';
import { findOperation, isUnbuilt } from '../operations/find-operation.ts';

export interface RefusalRecordsOptions {
  readonly audit: Pick<AuditLog, 'append'>;
  readonly account: string;
  readonly budget: RefusalBudget;
  readonly lines: Pick<AuditBudget, 'extraBytes' | 'extraBytesPerSecond'>;
  readonly log: Logger;
}

/** Of one payer. All of them fit into one line, each with the ARN of a key. */
const maxKinds = 24;
/** Of whom something is known at a time; more (from a network) share one budget. */
const maxPayers = 4096;
const otherPayers = 'other payers' as Payer;
/** What is thought of as one refusal that is looked at. */
const msPerRefusal = 0.1;
/** Within a second. */
const flushMs = 900;

/** Refusals of one kind, of which there are more than lines. */
interface Counted {
  readonly kind: CountedKind;
  readonly awsRegion: string;
  /** Until the line that says so is on record. */
  begun: Promise<void> | undefined;
  /** How many are not on record yet. */
  count: number;
}

class PayerRefusals {
  readonly recorded: TokenBucket;
  readonly looked: TokenBucket;
  /** Bytes of lines about what succeeded. */
  readonly extra: TokenBucket;
  readonly kinds = new Map<string, Counted>();
  /** Since when there are counts that are not on record; milliseconds since the epoch. */
  countedSinceMs: number | undefined;

  constructor({ budget, lines }: Pick<RefusalRecordsOptions, 'budget' | 'lines'>) {
    const { recorded, recordedPerSecond, looked, lookedPerSecond } = budget;
    this.recorded = new TokenBucket(recorded, recordedPerSecond);
    this.looked = new TokenBucket(looked, lookedPerSecond);
    this.extra = new TokenBucket(lines.extraBytes, lines.extraBytesPerSecond);
  }

  isQuiet(): boolean {
    return this.countedSinceMs === undefined && this.recorded.isFull() && this.looked.isFull() && this.extra.isFull();
  }
}

export class RefusalRecords {
  readonly #options: RefusalRecordsOptions;
  readonly #payers = new Map<Payer, PayerRefusals>();
  #timer: NodeJS.Timeout | undefined;
  #isClosing = false;
  #flushing: Promise<void> = Promise.resolve();

  constructor(options: RefusalRecordsOptions) {
    this.#options = options;
  }

  /** Whether this payer is over the budget of what is looked at, or of long lines: his request is answered with `ThrottlingException`. */
  turnsAway(payer: Payer): boolean {
    const refusals = this.#payers.get(payer);
    if (refusals === undefined || (refusals.looked.has(1) && refusals.extra.has(1))) return false;
    return !isOperator(payer);
  }

  /** A request was refused after it had taken so much time of the processor: a dear decision is as many as it might have been. */
  spent(payer: Payer, milliseconds: number): void {
    const more = milliseconds / msPerRefusal - 1;
    if (more > 0) this.#payers.get(payer)?.looked.charge(more);
  }

  /**
   * A request of this payer succeeded.
   * @param extraBytes What its line has more than ordinary ones.
   */
  succeeded(payer: Payer, extraBytes = 0): void {
    this.#payers.get(payer)?.looked.give(1);
    if (extraBytes > 0) this.#of(payer)[1].extra.charge(extraBytes);
  }

  /**
   * Resolves when the refusal is on record, as a line or as one of those that are counted; `undefined` when it is so already.
   * Rejects when it cannot be; then the answer is withheld.
   */
  record(event: AuditEvent, account: LineAccount): Promise<void> | undefined {
    const { audit } = this.#options;
    const { payer } = account;
    // Whoever may do everything has no need to fill the disk by what he may not.
    if (payer === undefined || account.isOperator === true || this.#isClosing)
      return audit.append(event, 'written', account);
    const [whose, refusals] = this.#of(payer);
    if (event.errorCode !== 'ThrottlingException') refusals.looked.charge(1);
    if (refusals.recorded.take(1)) return audit.append(event, 'written', account);
    let kind = kindOf(whose, event);
    let counted = refusals.kinds.get(nameOf(kind));
    if (counted === undefined && refusals.kinds.size >= maxKinds) {
      kind = { payer: whose, eventName: 'other', errorCode: 'other' };
      counted = refusals.kinds.get(nameOf(kind));
    }
    if (counted === undefined) return this.#begin(refusals, kind, event, account);
    if (counted.begun !== undefined) return counted.begun.then(() => this.#count(refusals, counted));
    this.#count(refusals, counted);
    return undefined;
  }

  /** Puts on record what was counted. What is refused afterwards is a line each: the daemon stops. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#timer);
    await this.#flushing;
    await this.#flush('owed');
  }

  #of(payer: Payer): readonly [Payer, PayerRefusals] {
    const known = this.#payers.get(payer);
    if (known !== undefined) return [payer, known];
    if (this.#payers.size >= maxPayers) this.#forgetQuiet();
    const whose = this.#payers.size >= maxPayers ? otherPayers : payer;
    const refusals = this.#payers.get(whose) ?? new PayerRefusals(this.#options);
    this.#payers.set(whose, refusals);
    return [whose, refusals];
  }

  /** The first one that is over budget: a line that says so. */
  #begin(refusals: PayerRefusals, kind: CountedKind, event: AuditEvent, account: LineAccount): Promise<void> {
    const { kinds } = refusals;
    const name = nameOf(kind);
    const counted: Counted = { kind, awsRegion: event.awsRegion, begun: undefined, count: 0 };
    kinds.set(name, counted);
    counted.begun = this.#options.audit.append({ ...event, counting: kind }, 'written', account).then(
      () => {
        counted.begun = undefined;
      },
      (error: unknown) => {
        kinds.delete(name);
        throw error;
      },
    );
    this.#arrange();
    return counted.begun;
  }

  #count(refusals: PayerRefusals, counted: Counted): void {
    counted.count++;
    refusals.countedSinceMs ??= Date.now();
  }

  /** As long as anything is counted. */
  #arrange(): void {
    if (this.#timer !== undefined || this.#isClosing) return;
    this.#timer = setTimeout(() => {
      this.#flushing = this.#flush('request').then(() => {
        this.#timer = undefined;
        for (const { kinds } of this.#payers.values()) if (kinds.size > 0) return this.#arrange();
      });
    }, flushMs).unref();
  }

  async #flush(purpose: LineAccount['purpose']): Promise<void> {
    await Promise.all([...this.#payers].map(([payer, refusals]) => this.#flushOf(payer, refusals, purpose)));
  }

  async #flushOf(payer: Payer, refusals: PayerRefusals, purpose: LineAccount['purpose']): Promise<void> {
    const { countedSinceMs: fromMs, kinds } = refusals;
    if (fromMs === undefined) {
      if (refusals.recorded.isFull()) kinds.clear();
      return;
    }
    refusals.countedSinceMs = undefined;
    const byRegion = Map.groupBy(
      [...kinds.values()].filter(({ count }) => count > 0),
      ({ awsRegion }) => awsRegion,
    );
    for (const [awsRegion, counted] of byRegion) {
      const counts = counted.map(({ kind, count }) => ({ ...kind, count }));
      for (const each of counted) each.count = 0;
      try {
        await this.#options.audit.append(this.#countsEvent(awsRegion, payer, fromMs, counts), 'written', {
          payer,
          purpose,
        });
      } catch (error) {
        this.#options.log.error({ err: error, payer }, 'refusals that were counted cannot be put on record yet');
        for (const [at, each] of counted.entries()) each.count += counts[at]?.count ?? 0;
        refusals.countedSinceMs = Math.min(fromMs, refusals.countedSinceMs ?? fromMs);
      }
    }
  }

  #countsEvent(
    awsRegion: string,
    payer: Payer,
    fromMs: number,
    counts: readonly (CountedKind & { readonly count: number })[],
  ): ServiceEvent {
    const eventAtMs = Date.now();
    return {
      eventAtMs,
      eventName: 'AuditCountedRefusals',
      eventSource: 'drawbridge',
      awsRegion,
      accountId: this.#options.account,
      resources: [],
      serviceEventDetails: {
        payer,
        from: new Date(fromMs).toISOString(),
        to: new Date(eventAtMs).toISOString(),
        refusals: counts.map(({ payer: _payer, ...kind }) => kind),
      },
    };
  }

  #forgetQuiet(): void {
    for (const [payer, refusals] of this.#payers) if (refusals.isQuiet()) this.#payers.delete(payer);
  }
}

/** Names of operations that there are not are the caller's to choose, and are one. */
function kindOf(payer: Payer, { eventName, eventSource, errorCode, resources }: AuditEvent): CountedKind {
  const isKnown = eventSource !== undefined || findOperation(eventName) !== undefined || isUnbuilt(eventName);
  const [key] = resources;
  return {
    payer,
    eventName: isKnown ? eventName : 'Unknown',
    errorCode: errorCode ?? '',
    ...(key === undefined ? {} : { key }),
  };
}

function nameOf({ eventName, errorCode, key }: CountedKind): string {
  return `${eventName} ${errorCode} ${key ?? ''}`;
}
