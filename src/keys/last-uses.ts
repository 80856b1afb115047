/**
 * The last successful use of each KMS key of one Region: a part of the fold over the records that `key-directory.ts` is.
 *
 * A use is noted in memory and costs no more than that. What was noted is written in the background, `writeDelayMs` after the
 * first use that is not on disk yet, and when the daemon stops: so a crash loses the uses of less than a minute, and an orderly
 * stop none. One record says the last use alone, so a key that is always used is written once each time, whatever it does
 * meanwhile. What cannot be written (the disk is full, the HSM away) fails no request; it is kept, and tried again.
 *
 * Writing takes turns with few records each, so that nobody's change waits long behind it, however many keys there are; and between two turns
 * others come first, unless so many uses are in memory that they have to go. Then a crash loses the uses of some minutes: written at once,
 * those of 100,000 keys took all of the processor for ten seconds.
 *
 * Uses before `trackedSinceMs` are not known. Where a record of a last use did not verify, the key's last use is known from the
 * next one on; until then whoever asks for it is refused, as for all that did not verify, and using the key is not.
 */

import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import { type KeyId, parseKeyId, type Realm } from '../kms/names.ts';
import type { OperationName } from '../kms/operation-names.ts';
import { othersFirst } from '../kms/others-first.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import type { RecordSource } from '../store/record-source.ts';
import { added, type Change, replaced } from '../store/records/changes.ts';
import type { KeyRecord, LastUseRecord } from '../store/records/records.ts';
import type { Decided, Turns } from '../store/turns.ts';
import { internalMessage } from './key-store-errors.ts';

/** One use, with what finds it again. */
export interface KeyUse {
  readonly operation: OperationName;
  /** When the request arrived. */
  readonly usedAtMs: number;
  readonly requestId: string;
  /** Of the event in the audit log. */
  readonly eventId: string;
}

/** Half of what may be lost: writing takes a while, too. */
const defaultWriteDelayMs = 30_000;
/** Each takes a MAC from the HSM; a hundred are a few milliseconds of everybody's time, and at most 20 of one transaction. */
const usesPerTurn = 100;
/** Of more keys the uses are written at once: each takes some 250 bytes of memory until it is on disk. */
const mostUnwritten = 100_000;
const dayMs = 24 * 60 * 60 * 1000;

export interface LastUsesOptions {
  readonly realm: Realm;
  readonly turns: Turns;
  readonly log: Logger;
  /** When this instance began to note uses; absent: always did. */
  readonly usageTrackedSinceMs?: number | undefined;
  readonly usageWriteDelayMs?: number | undefined;
  /** Is it a key that there is? Of one that was deleted nothing is written any more. */
  readonly hasKey: (keyId: KeyId) => boolean;
}

/** What is known of one key: overwritten by each use, so that a use makes nothing new. */
interface Known {
  operation: OperationName;
  usedAtMs: number;
  requestId: string;
  eventId: string;
  /** As it is on disk; `undefined` before it was written for the first time. */
  record: LastUseRecord | undefined;
}

/** Which use of a key a turn has put on disk. */
type Written = Pick<LastUseRecord, 'keyId' | 'eventId'>;

export class LastUses {
  readonly #options: LastUsesOptions;
  readonly #known = new Map<KeyId, Known>();
  /** Of keys whose last use in memory is later than the one on disk. */
  readonly #unwritten = new Set<KeyId>();
  /** Of keys whose record did not verify: nothing can be put in its place. */
  readonly #damaged = new Set<KeyId>();
  #source: Pick<RecordSource, 'select' | 'problemOf'> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #isFailing = false;
  readonly #closed = new AbortController();

  constructor(options: LastUsesOptions) {
    this.#options = options;
  }

  /** Takes what the store loaded. */
  take({ lastUse, quarantined }: Pick<LoadedMetadata, 'lastUse' | 'quarantined'>): void {
    const { region } = this.#options.realm;
    for (const record of lastUse) if (record.region === region) this.show(record);
    for (const each of quarantined) {
      const keyId = each.kind === 'lastUse' && each.region === region ? parseKeyId(each.id) : undefined;
      if (keyId !== undefined) this.#damaged.add(keyId);
    }
  }

  /** From now on they are read there, and in memory is only what has yet to be written. */
  readFrom(source: Pick<RecordSource, 'select' | 'problemOf'>): void {
    this.#source = source;
  }

  /** Takes a record that is in the store. A later use in memory stays. */
  show(record: LastUseRecord): void {
    if (this.#source !== undefined && !this.#known.has(record.keyId)) return;
    const { keyId, operation, usedAtMs, requestId, eventId } = record;
    const known = this.#known.get(keyId);
    if (known === undefined) this.#known.set(keyId, { operation, usedAtMs, requestId, eventId, record });
    else if (this.#unwritten.has(keyId)) known.record = record;
    else Object.assign(known, { operation, usedAtMs, requestId, eventId, record });
  }

  /** Forgets a record that is in the store no more: its key was deleted. */
  hide(keyId: KeyId): void {
    this.#known.delete(keyId);
    this.#unwritten.delete(keyId);
  }

  /** What is on disk of a key, for whoever removes it together with the key. */
  recordOf(keyId: KeyId): LastUseRecord | undefined {
    return this.#known.get(keyId)?.record ?? this.#onDisk(keyId);
  }

  #onDisk(keyId: KeyId): LastUseRecord | undefined {
    const { region } = this.#options.realm;
    return this.#source?.select('lastUse', { region, keyId })[0];
  }

  #isDamaged(keyId: KeyId): boolean {
    const { region } = this.#options.realm;
    return this.#damaged.has(keyId) || this.#source?.problemOf('lastUse', keyId, region) !== undefined;
  }

  /**
   * The last use of a key since uses are noted; `undefined`: there was none.
   * @throws KmsError `KMSInternalException` when the record of it did not verify.
   */
  of(keyId: KeyId): KeyUse | undefined {
    const known = this.#known.get(keyId) ?? this.#onDisk(keyId);
    if (known === undefined && this.#isDamaged(keyId)) {
      throw new KmsError(
        'KMSInternalException',
        internalMessage,
        `the record of the last use of ${keyId} did not verify`,
      );
    }
    return known;
  }

  /** Since when uses of this key are noted. */
  trackedSinceMs({ createdAtMs }: Pick<KeyRecord, 'createdAtMs'>): number {
    return Math.max(this.#options.usageTrackedSinceMs ?? 0, createdAtMs);
  }

  /** For how many whole days a key has not been used; where no use is known, since uses of it are noted. Throws as `of`. */
  daysWithoutUse(key: Pick<KeyRecord, 'keyId' | 'createdAtMs'>, nowMs: number): number {
    const sinceMs = this.of(key.keyId)?.usedAtMs ?? this.trackedSinceMs(key);
    // A clock that was put back must not make a key look unused.
    return Math.max(Math.floor((nowMs - sinceMs) / dayMs), 0);
  }

  /** Notes a use that succeeded and is on record. On the path of every request: five members, and no promise. */
  used(keyId: KeyId, operation: OperationName, usedAtMs: number, requestId: string, eventId: string): void {
    const known = this.#known.get(keyId);
    if (known === undefined) {
      this.#known.set(keyId, { operation, usedAtMs, requestId, eventId, record: undefined });
    } else {
      known.operation = operation;
      known.usedAtMs = usedAtMs;
      known.requestId = requestId;
      known.eventId = eventId;
    }
    this.#unwritten.add(keyId);
    if (this.#timer === undefined) this.#schedule();
  }

  /** Writes what is not on disk yet. @throws what a turn throws; what was not written is kept. */
  write(): Promise<void> {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
    });
    return this.#writing;
  }

  /** At a stop, when no request runs any more. Never rejects: what cannot be written in this time is lost, and in the log. */
  async close(withinMs: number): Promise<void> {
    this.#closed.abort();
    clearTimeout(this.#timer);
    if (this.#unwritten.size === 0 && this.#writing === undefined) return;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error(`it took longer than ${withinMs} ms`)), withinMs);
    // One write may be under way that knows nothing of what came since.
    const all = Promise.resolve(this.#writing).catch(() => undefined);
    try {
      await Promise.race([all.then(() => this.write()), late]);
    } catch (error) {
      const keys = this.#unwritten.size;
      this.#options.log.warn({ err: error, keys }, 'the last uses of some keys could not be written before the stop');
    } finally {
      clearTimeout(timer);
    }
  }

  #schedule(): void {
    if (this.#closed.signal.aborted) return;
    const write = (): void => {
      this.#timer = undefined;
      this.write().then(
        () => this.#tell(undefined),
        (error: unknown) => this.#tell(error),
      );
    };
    this.#timer = setTimeout(write, this.#options.usageWriteDelayMs ?? defaultWriteDelayMs).unref();
  }

  /** Once when it begins to fail and once when it works again; what is left is tried again. */
  #tell(error: unknown): void {
    const { log, realm } = this.#options;
    const { region } = realm;
    const isFailing = error !== undefined;
    if (isFailing && !this.#isFailing) {
      log.warn(
        { region, err: error },
        'the last uses of keys cannot be written; it is tried again, and no request fails',
      );
    }
    if (!isFailing && this.#isFailing) log.info({ region }, 'the last uses of keys are written again');
    this.#isFailing = isFailing;
    if (this.#unwritten.size > 0 && this.#timer === undefined) this.#schedule();
  }

  async #writeAll(): Promise<void> {
    const { turns, hasKey } = this.#options;
    // What is used again meanwhile is written by the next round.
    const waiting = [...this.#unwritten];
    for (let first = 0; first < waiting.length; first += usesPerTurn) {
      const some = waiting.slice(first, first + usesPerTurn);
      for (const keyId of some) if (!hasKey(keyId)) this.hide(keyId);
      const beganAtMs = performance.now();
      const written = await turns.take(() => this.#decide(some.filter(hasKey)), { isQuiet: true });
      for (const { keyId, eventId } of written) {
        if (this.#known.get(keyId)?.eventId !== eventId) continue;
        this.#unwritten.delete(keyId);
        if (this.#source !== undefined) this.#known.delete(keyId);
      }
      const isLast = first + usesPerTurn >= waiting.length;
      if (isLast || this.#unwritten.size > mostUnwritten) continue;
      await othersFirst(performance.now() - beganAtMs, this.#closed.signal);
    }
  }

  /** The changes that put the last uses of these keys on record, as they are in this turn. */
  #decide(keyIds: readonly KeyId[]): Decided<readonly Written[]> {
    const { region } = this.#options.realm;
    const changes: Change[] = [];
    const response: Written[] = [];
    for (const keyId of keyIds) {
      const known = this.#known.get(keyId);
      if (known === undefined) continue;
      const { operation, usedAtMs, requestId, eventId, record = this.#onDisk(keyId) } = known;
      response.push({ keyId, eventId });
      if (this.#isDamaged(keyId)) continue;
      const use = { operation, usedAtMs, requestId, eventId };
      changes.push(
        record === undefined
          ? added('lastUse', { region, keyId, version: 1, ...use })
          : replaced('lastUse', record, use),
      );
    }
    return { changes, response };
  }
}
