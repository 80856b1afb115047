/**
 * The material that keys are used with, and the counting of what each piece of it encrypts.
 *
 * A part of `key-directory.ts`, which asks for the backing key that a record says to be there. A backing key that changed in
 * another respect goes on counting where it was; one that was away and is there again, from what is on record.
 */

import type { KeyStore } from '../hsm/key-store.ts';
import type { BackingKeyReference } from '../hsm/wrapped-key.ts';
import { KmsError } from '../kms/errors.ts';
import type { KeyOrigin } from '../kms/key-states.ts';
import type { Logger } from '../kms/logger.ts';
import type { BackingKeyId, KeyId } from '../kms/names.ts';
import { replaced } from '../store/records/changes.ts';
import type { BackingKeyRecord } from '../store/records/records.ts';
import type { Turns } from '../store/turns.ts';
import { referenceOf } from './backing-key-reference.ts';
import {
  EncryptionCounter,
  type EncryptionLimits,
  exhaustionStep,
  type NumberBlock,
  nextBlock,
} from './encryption-counter.ts';
import { internalMessage } from './key-store-errors.ts';
import { type BackingKey, type KmsKey, keyMaterialIdOf } from './kms-key.ts';

export interface MaterialInUseOptions {
  readonly turns: Turns;
  readonly limits: EncryptionLimits;
  readonly log: Logger;
  /** The key store of that name. */
  readonly keyStore: (name: string) => KeyStore;
  /** What is on record of a backing key, and the origin of its KMS key. */
  readonly find: (
    backingKeyId: BackingKeyId,
  ) => { readonly record: BackingKeyRecord; readonly origin: KeyOrigin | undefined } | undefined;
  /** What is on record of the same backing key for other Regions, each of which has a record of its own. */
  readonly elsewhere: (material: BackingKeyRecord) => readonly BackingKeyRecord[];
  /** Told when the last numbers of a backing key are being used. */
  readonly numbersRunOut: (keyId: KeyId, backingKeyId: BackingKeyId) => void;
}

export class MaterialInUse {
  readonly #options: MaterialInUseOptions;
  /** Of backing keys that nothing but an operator can have replaced: the last step of which he was told since the start. */
  readonly #warnedOf = new Map<BackingKeyId, number>();

  constructor(options: MaterialInUseOptions) {
    this.#options = options;
  }

  /**
   * What its record says now; the counter goes on counting.
   * @throws TypeError for a residency that this version does not know.
   */
  of(record: BackingKeyRecord, known: BackingKey | undefined): BackingKey {
    if (known?.record === record) return known;
    const reference = keptReference(record, known);
    const { limits, keyStore, numbersRunOut } = this.#options;
    const { keyId, backingKeyId, reservedEncryptions } = record;
    const counter =
      known?.counter ??
      new EncryptionCounter(
        reservedEncryptions,
        () => this.#reserveBlock(backingKeyId),
        limits,
        () => numbersRunOut(keyId, backingKeyId),
      );
    counter.follow(reservedEncryptions);
    return { record, keyStore: keyStore(record.keyStore), keyMaterialId: keyMaterialIdOf(record), reference, counter };
  }

  /** Reads the record in its turn, so that what else was written of it since stays. */
  #reserveBlock(backingKeyId: BackingKeyId): Promise<NumberBlock | undefined> {
    const { turns, limits, find, elsewhere } = this.#options;
    const decide = () => {
      const found = find(backingKeyId);
      if (found === undefined) throw new KmsError('KMSInternalException', internalMessage, `${backingKeyId} is gone`);
      const { record, origin } = found;
      // The limit is that of the material: all its records have one number, whichever Region encrypts with it.
      const all = [record, ...elsewhere(record)];
      const reserved = Math.max(...all.map(({ reservedEncryptions }) => reservedEncryptions));
      const block = nextBlock(reserved, limits);
      if (origin === 'EXTERNAL') this.#warnOfExhaustion(record, block?.to ?? reserved);
      const changes =
        block === undefined ? [] : all.map((each) => replaced('backingKey', each, { reservedEncryptions: block.to }));
      return { changes, response: block };
    };
    return turns.take(decide, { isQuiet: true });
  }

  /** Where no new material can be generated, somebody has to import some in time: he hears of it early, once at each step. */
  #warnOfExhaustion({ keyId, backingKeyId }: BackingKeyRecord, reserved: number): void {
    const { limits, log } = this.#options;
    const step = exhaustionStep(reserved, limits);
    if (step <= (this.#warnedOf.get(backingKeyId) ?? 0)) return;
    this.#warnedOf.set(backingKeyId, step);
    log.warn(
      { keyId, backingKeyId, encryptions: reserved, most: limits.maxEncryptionsPerBackingKey },
      'the encryptions that imported key material is good for are being used up; import new key material and rotate the key on demand',
    );
  }
}

/** One that was ended stays so for whoever holds it, so what did not change is not made anew. */
function keptReference(record: BackingKeyRecord, known: BackingKey | undefined): BackingKeyReference {
  const isSame = known?.reference.wrapped !== undefined && known.record.wrappedKey === record.wrappedKey;
  return isSame ? known.reference : referenceOf(record);
}

/** Nobody can use a wrapped key any more that a key does not have now: what is destroyed is not unwrapped by a request that comes late. */
export function endOthers(former: KmsKey | undefined, now: KmsKey | undefined): void {
  for (const [backingKeyId, { reference }] of former?.backingKeys ?? [])
    if (reference.wrapped !== now?.backingKeys.get(backingKeyId)?.reference.wrapped) reference.wrapped?.end();
}
