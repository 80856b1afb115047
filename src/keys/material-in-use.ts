/**
 * The material that keys are used with, and the counting of what each piece of it encrypts.
 *
 * A part of `key-directory.ts`, which asks for the backing key that a record says to be there. A backing key that changed in
 * another respect goes on counting where it was; one that was away and is there again, from what is on record.
 */

import { EndedKeys } from '../hsm/ended-keys.ts';
import type { BackingKeyReference } from '../hsm/wrapped-key.ts';
import { KmsError } from '../kms/errors.ts';
import type { KeyOrigin } from '../kms/key-states.ts';
import type { Logger } from '../kms/logger.ts';
import type { BackingKeyId, KeyId } from '../kms/names.ts';
import { type Change, replaced } from '../store/records/changes.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';
import type { Decided, Turns } from '../store/turns.ts';
import { outlineOf, referenceOf } from './backing-key-reference.ts';
import {
  EncryptionCounter,
  type EncryptionLimits,
  exhaustionStep,
  type NumberBlock,
  type NumberSource,
  nextBlock,
} from './encryption-counter.ts';
import { internalMessage } from './key-store-errors.ts';
import type { KeyStoresOfRegion } from './key-stores-of-region.ts';
import { type BackingKey, type KmsKey, keyMaterialIdOf } from './kms-key.ts';
import { NumberReservations } from './number-reservations.ts';
import { canHaveStartNumbers, noStartNumbers, type StartNumbers } from './start-numbers.ts';

export interface MaterialInUseOptions {
  readonly turns: Turns;
  readonly limits: EncryptionLimits;
  /** Absent: none were counted. */
  readonly startNumbers?: StartNumbers | undefined;
  readonly log: Logger;
  readonly keyStores: Pick<KeyStoresOfRegion, 'isShared' | 'serving'>;
  /** What is on record of a backing key, and the origin of its KMS key. */
  readonly find: (
    backingKeyId: BackingKeyId,
  ) => { readonly record: BackingKeyRecord; readonly origin: KeyOrigin | undefined } | undefined;
  /** All keys that are in memory. */
  readonly inMemory: () => Iterable<KmsKey>;
  /** What is on record of the same backing key for other Regions, each of which has a record of its own. */
  readonly elsewhere: (material: BackingKeyRecord) => readonly BackingKeyRecord[];
  /** Told when the last numbers of a backing key are being used. */
  readonly numbersRunOut: (keyId: KeyId, backingKeyId: BackingKeyId) => void;
}

/** So many are noted, some hundred bytes each, before those in memory are gone through. */
const endedAtOnce = 4096;

export class MaterialInUse {
  readonly #options: MaterialInUseOptions;
  readonly #numbers: NumberSource;
  /** Less the numbers of all starts, which count as used. */
  readonly #limits: EncryptionLimits;
  /** Of backing keys that nothing but an operator can have replaced: the last step of which he was told since the start. */
  readonly #warnedOf = new Map<BackingKeyId, number>();
  /** Wrapped keys that somebody may hold, whether their key is in memory or not. */
  readonly #ended = new EndedKeys();
  #endedSince = 0;
  /** Of those for which numbers were reserved since the start: forgotten, they would be lost. */
  readonly #counters = new Map<BackingKeyId, EncryptionCounter>();
  readonly #reservations: NumberReservations<BackingKeyId>;

  constructor(options: MaterialInUseOptions) {
    const { limits, startNumbers = noStartNumbers } = options;
    this.#options = options;
    const maxEncryptionsPerBackingKey = Math.max(0, limits.maxEncryptionsPerBackingKey - startNumbers.ofAllStarts);
    this.#limits = { ...limits, maxEncryptionsPerBackingKey };
    this.#reservations = new NumberReservations(options.turns, (id) => this.#nextBlock(id));
    this.#numbers = {
      limits: this.#limits,
      reserveBlock: (counter) => {
        const { backingKeyId } = counter.material;
        this.#counters.set(backingKeyId, counter);
        return this.#reservations.reserve(backingKeyId);
      },
      runOut: ({ keyId, backingKeyId }) => options.numbersRunOut(keyId, backingKeyId),
      takeOfStart: ({ backingKeyId }) => startNumbers.tryTake(backingKeyId),
    };
  }

  /**
   * What its record says now; the counter goes on counting.
   * @throws TypeError for a residency that this version does not know.
   */
  of(record: BackingKeyRecord, known: BackingKey | undefined): BackingKey {
    if (known?.record === record) return known;
    const reference = this.#reference(record, known?.reference);
    const { keyStores } = this.#options;
    const { backingKeyId, reservedEncryptions } = record;
    const counter = known?.counter ?? this.#counters.get(backingKeyId) ?? this.#newCounter(record);
    counter.follow(reservedEncryptions);
    return new UsedMaterial({ record, reference, counter }, keyStores);
  }

  #newCounter(record: BackingKeyRecord): EncryptionCounter {
    const { keyId, backingKeyId, reservedEncryptions } = record;
    const hasStartNumbers = canHaveStartNumbers(record);
    return new EncryptionCounter(reservedEncryptions, { keyId, backingKeyId, hasStartNumbers }, this.#numbers);
  }

  /** Reads the record in its turn, so that what else was written of it since stays. */
  #nextBlock(backingKeyId: BackingKeyId): Decided<NumberBlock | undefined> {
    const { find, elsewhere } = this.#options;
    const found = find(backingKeyId);
    if (found === undefined) throw new KmsError('KMSInternalException', internalMessage, `${backingKeyId} is gone`);
    const { record, origin } = found;
    // The limit is that of the material: all its records have one number, whichever Region encrypts with it.
    const all = [record, ...elsewhere(record)];
    const reserved = Math.max(...all.map(({ reservedEncryptions }) => reservedEncryptions));
    const block = nextBlock(reserved, this.#limits);
    if (origin === 'EXTERNAL') this.#warnOfExhaustion(record, block?.to ?? reserved);
    const changes =
      block === undefined ? [] : all.map((each) => replaced('backingKey', each, { reservedEncryptions: block.to }));
    return { changes, response: block };
  }

  /** What did not change is not made anew. */
  #reference(record: BackingKeyRecord, known: BackingKeyReference | undefined): BackingKeyReference {
    const made = referenceOf(record, this.#ended.end);
    return known?.wrapped?.isOf(made.wrapped) === true ? { ...made, wrapped: known.wrapped } : made;
  }

  /**
   * Told of what is on disk, of this Region, before any key is made anew of it: what somebody holds of material that changed or is gone
   * cannot be used any more. Whatever is in memory, since a key may have been read already as it is on disk now. What is taken out and put
   * under other Regions' names is there as before.
   */
  follow(changes: readonly Change[]): void {
    const last = new Map<BackingKeyId, BackingKeyRecord | undefined>();
    for (const change of changes) {
      if ('put' in change) {
        if (change.put === 'backingKey') last.set(change.record.backingKeyId, change.record);
      } else if (change.remove === 'backingKey') last.set(change.record.backingKeyId, undefined);
    }
    for (const [backingKeyId, now] of last) {
      this.#end(backingKeyId, now);
      if (now === undefined) this.#counters.delete(backingKeyId);
      else this.#counters.get(backingKeyId)?.follow(now.reservedEncryptions);
    }
  }

  /** Nobody can use a wrapped key any more that a key does not have now: what is destroyed is not unwrapped by a request that comes late. */
  endOthers(former: KmsKey | undefined, now: KmsKey | undefined): void {
    for (const [backingKeyId, { reference }] of former?.backingKeys ?? []) {
      const { wrapped } = reference;
      const ofNow = now?.backingKeys.get(backingKeyId);
      // Mostly its own change has told everybody.
      if (wrapped === ofNow?.reference.wrapped || wrapped?.outline === undefined) continue;
      wrapped.end();
      this.#end(backingKeyId, ofNow?.record);
    }
  }

  #end(backingKeyId: BackingKeyId, now: BackingKeyRecord | undefined): void {
    this.#ended.note(backingKeyId, now?.residency === 'wrapped' ? outlineOf(now) : undefined);
    if (++this.#endedSince < endedAtOnce) return;
    this.#endedSince = 0;
    // What is in memory is as it is on record, so it need not read what was noted: it would hold all of that until somebody uses it.
    const { end } = this.#ended;
    for (const { backingKeys } of this.#options.inMemory())
      for (const { reference } of backingKeys.values()) reference.wrapped?.readFrom(end);
  }

  /** Where no new material can be generated, somebody has to import some in time: he hears of it early, once at each step. */
  #warnOfExhaustion({ keyId, backingKeyId }: BackingKeyRecord, reserved: number): void {
    const { log } = this.#options;
    const step = exhaustionStep(reserved, this.#limits);
    if (step <= (this.#warnedOf.get(backingKeyId) ?? 0)) return;
    this.#warnedOf.set(backingKeyId, step);
    log.warn(
      { keyId, backingKeyId, encryptions: reserved, most: this.#limits.maxEncryptionsPerBackingKey },
      'the encryptions that imported key material is good for are being used up; import new key material and rotate the key on demand',
    );
  }
}

/** A backing key that is there. A class, so that what is seldom asked for is made when it is. */
class UsedMaterial implements BackingKey {
  readonly record: BackingKeyRecord;
  readonly reference: BackingKeyReference;
  readonly counter: EncryptionCounter;
  readonly #keyStores: MaterialInUseOptions['keyStores'];
  /** Absent where it may change while the record stays: which key store of the Region has the domain key. */
  readonly #keyStore: BackingKey['keyStore'] | undefined;
  #keyMaterialId: string | undefined;

  constructor(
    { record, reference, counter }: Pick<BackingKey, 'record' | 'reference' | 'counter'>,
    keyStores: MaterialInUseOptions['keyStores'],
  ) {
    this.record = record;
    this.reference = reference;
    this.counter = counter;
    this.#keyStores = keyStores;
    this.#keyStore = keyStores.isShared(record) ? undefined : keyStores.serving(record);
  }

  get keyStore(): BackingKey['keyStore'] {
    return this.#keyStore ?? this.#keyStores.serving(this.record);
  }

  get keyMaterialId(): string {
    this.#keyMaterialId ??= keyMaterialIdOf(this.record);
    return this.#keyMaterialId;
  }
}
