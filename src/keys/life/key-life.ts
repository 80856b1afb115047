/**
 * How key material comes to be, so that a crash at any moment leaves nothing half made and nobody waits for it in a turn.
 *
 * (1) An intent goes to the store: the backing key's record in state `Creating`, with this node as its owner. (2) The HSM
 * generates the key under the `CKA_ID` that the intent names. (3) A turn decides, and its change makes the record `Active`
 * together with whatever names it. Nobody is told of the key before (3). When (2) fails, or the turn refuses, the intent is
 * undone: the object is destroyed, then the record removed. When that fails too, it is done when the HSM is back (`left-intents.ts`); when the
 * daemon dies in between, `open-keys.ts` does it at the next start.
 *
 * Material that lives outside of the HSM needs (3) alone: of (2) nothing is left in the HSM, and what it wrapped is in the record.
 *
 * A copy of the metadata that is made in the middle of a creation has its intent for ever, whatever became of it. Whoever puts
 * one back, by `restore` or `metadata accept`, has the intents in it dropped and not undone (`unfinished.ts`). A data folder that is
 * put back with its audit log starts as it is, and undoes them; such a copy is therefore made while the daemon is stopped.
 */

import type { KeyStore } from '../../hsm/key-store.ts';
import type { KeySpec, KeyUsage } from '../../kms/key-specs.ts';
import { type BackingKeyId, type KeyId, newBackingKeyId } from '../../kms/names.ts';
import type { Residency } from '../../kms/residencies.ts';
import { added, type Change, removed, replaced } from '../../store/records/changes.ts';
import { type BackingKeyRecord, inToken } from '../../store/records/records.ts';
import type { Turns } from '../../store/turns.ts';
import type { KeyDirectory } from '../key-directory.ts';
import { fromKeyStoreError, inKeyStore } from '../key-store-errors.ts';
import { type BackingKey, currentBackingKeyOf, type KmsKey, keyMaterialIdOf } from '../kms-key.ts';
import { assertUsedInAll, relatedRegions, replacedInAll } from '../multi-region.ts';
import { namedRegions } from '../regions-of-material.ts';
import type { DomainKeys } from './domain-keys.ts';
import type { KeyImports } from './key-import.ts';
import type { LeftIntents } from './left-intents.ts';
import { type NewRotation, type Rotation, replacementOf, rotatesByItself, rotationDue } from './rotation.ts';

/** What is to be generated, and for which KMS key. */
export interface NewMaterial {
  readonly keyId: KeyId;
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  /** The name of the key store. */
  readonly keyStore: string;
  /** 1 for the first backing key of a KMS key, then counting. */
  readonly ordinal: number;
  /** Where it is to live: as all new keys of the key store unless given. */
  readonly residency?: Residency;
}

/** Material that is in the HSM while no change names it yet. */
export interface GeneratedMaterial {
  readonly backingKeyId: BackingKeyId;
  readonly keyMaterialId: string;
  /**
   * The change that makes it the KMS key's, as one of those of a turn.
   * @param rotation How it becomes the current one; absent for the first material of a key.
   */
  activated(rotation?: Rotation): Change;
  /** For when the turn refuses: destroys it. Never rejects; what cannot be undone now is undone when the HSM is back. */
  undo(): Promise<void>;
}

/**
 * A rotation whose material is there and waits for the turn that makes it current. Until it is settled or undone no other rotation
 * of the key begins, so each is prepared on what the one before left.
 */
export interface PreparedRotation {
  /** Of the new material. */
  readonly backingKeyId: BackingKeyId;
  /**
   * The changes of the turn.
   * @param key As it is then.
   */
  changes(key: KmsKey, rotation: NewRotation): readonly Change[];
  /** After the changes are on disk: the key's next rotation may begin. */
  settle(): void;
  /** As that of `GeneratedMaterial`; then the key's next rotation may begin. */
  undo(): Promise<void>;
}

/** A rotation that nobody asked for, when it is done. */
export interface DoneRotation extends Rotation {
  readonly keyId: KeyId;
  /** The material that was current before, and the one that is now. */
  readonly previous: BackingKeyRecord;
  readonly current: BackingKeyRecord;
}

/** Puts it on record. */
export type RecordRotation = (rotation: DoneRotation) => Promise<void>;

export interface KeyLifeOptions {
  readonly directory: KeyDirectory;
  readonly turns: Turns;
  /** The owner of the intents that are made here. */
  readonly nodeId: string;
  readonly imports: KeyImports;
  readonly domainKeys: DomainKeys;
  /** Takes what cannot be undone now; absent: the next start does it. */
  readonly leftIntents?: Pick<LeftIntents, 'add'> | undefined;
}

export class KeyLife {
  /** Of key material that is not generated here. */
  readonly imports: KeyImports;
  readonly #directory: KeyDirectory;
  readonly #turns: Turns;
  readonly #nodeId: string;
  readonly #domainKeys: DomainKeys;
  readonly #leftIntents: KeyLifeOptions['leftIntents'];
  /** The last rotation that was begun of each key, for as long as it is not over. */
  readonly #lastRotations = new Map<KeyId, Promise<void>>();
  /** Several encryptions find the same backing key exhausted at once; one rotation serves all. */
  readonly #replacements = new Map<BackingKeyId, Promise<KmsKey>>();
  #recordRotation: RecordRotation | undefined;

  constructor({ directory, turns, nodeId, imports, domainKeys, leftIntents }: KeyLifeOptions) {
    this.imports = imports;
    this.#leftIntents = leftIntents;
    this.#domainKeys = domainKeys;
    this.#directory = directory;
    this.#turns = turns;
    this.#nodeId = nodeId;
    directory.whenNumbersRunOut((keyId, backingKeyId) => void this.#rotateAhead(keyId, backingKeyId));
  }

  /** Where new keys of a key store live. */
  residencyIn(keyStore: string): Residency {
    return this.#domainKeys.residencyIn(keyStore);
  }

  /** Where automatic rotations go on record, of either cause; those on demand are requests, which are on record as such. */
  recordRotations(record: RecordRotation): void {
    this.#recordRotation = record;
  }

  /**
   * Generates material in the HSM, which may take it seconds. No turn is held meanwhile.
   * @throws KmsError for what the key store cannot do; nothing is left behind then.
   */
  async generate(material: NewMaterial): Promise<GeneratedMaterial> {
    const { keyId, keySpec, keyUsage, keyStore: name, ordinal } = material;
    const keyStore = this.#directory.keyStore(name);
    const residency = material.residency ?? this.residencyIn(name);
    if (residency === 'wrapped') return this.#generateWrapped(material, keyStore);
    const intent: BackingKeyRecord = {
      ...newMaterialRecord(material, this.#directory.realm.region),
      ...inToken,
      residency,
      state: 'Creating',
      owner: this.#nodeId,
    };
    const { backingKeyId } = intent;
    // No key names it yet.
    await this.#turns.take(() => ({ changes: [added('backingKey', intent)], response: undefined }), { isQuiet: true });
    const undo = (): Promise<void> => this.#undo(intent);
    try {
      const label = `drawbridge:${keyId}:${ordinal}`;
      const { publicKey } = await keyStore.generateKey({ backingKeyId, label, keySpec, keyUsage });
      const activated = (rotation?: Rotation): Change =>
        replaced('backingKey', intent, { state: 'Active', owner: '', publicKey, ...rotation });
      return { backingKeyId, keyMaterialId: keyMaterialIdOf(intent), activated, undo };
    } catch (error) {
      await undo();
      throw fromKeyStoreError(error);
    }
  }

  /** Nothing is left in the HSM, and before the turn nothing stands anywhere: no intent is needed, and there is nothing to undo. */
  async #generateWrapped(material: NewMaterial, keyStore: KeyStore): Promise<GeneratedMaterial> {
    const { keySpec, keyUsage, keyStore: name } = material;
    const domainKeyId = await this.#domainKeys.current(name, keyStore);
    assertUsedInAll(this.#directory, material.keyId, { keyStore: name, domainKeyId });
    const made = await inKeyStore(() => keyStore.generateWrappedKey({ domainKeyId, keySpec, keyUsage }));
    const { blob: wrappedKey, publicKey } = made;
    const record: BackingKeyRecord = {
      ...newMaterialRecord(material, this.#directory.realm.region),
      ...{ residency: 'wrapped', state: 'Active', owner: '', publicKey },
      ...{ wrappedKey, domainKeyId, wrappedKeySpec: keySpec, wrappedKeyUsage: keyUsage },
    };
    return {
      backingKeyId: record.backingKeyId,
      keyMaterialId: keyMaterialIdOf(record),
      activated: (rotation) => {
        this.#domainKeys.assertActive(name, domainKeyId);
        assertUsedInAll(this.#directory, record.keyId, record);
        const regions = namedRegions([...relatedRegions(this.#directory, record.keyId), record.regions]);
        return added('backingKey', { ...record, regions, ...rotation });
      },
      undo: async () => undefined,
    };
  }

  /**
   * Generates the material of a rotation, once the key's rotations that were begun before are over.
   * @param isWanted Is it to be rotated? Asked when its place has come, before anything is generated; it may throw.
   * @returns `undefined` when it is not wanted. Otherwise whoever asked settles or undoes it, whatever happens.
   * @throws as `generate`.
   */
  async prepareRotation(keyId: KeyId, isWanted: (key: KmsKey) => boolean): Promise<PreparedRotation | undefined> {
    const settle = await this.#placeInLine(keyId);
    try {
      const before = this.#keyOf(keyId);
      if (!isWanted(before)) {
        settle();
        return undefined;
      }
      const { keySpec, keyUsage } = before.record;
      const { keyStore, residency } = this.#residenceOf(currentBackingKeyOf(before));
      const ordinal = before.materials.length + 1;
      const material = await this.generate({ keyId, keySpec, keyUsage, keyStore, ordinal, residency });
      const { backingKeyId } = material;
      const directory = this.#directory;
      return {
        backingKeyId,
        changes(key, { rotationType, rotatedAtMs, nextRotationDateMs }) {
          if (key.materials.length + 1 !== ordinal) {
            throw new TypeError(`key ${keyId} was rotated by another node at the same time`);
          }
          const schedule = nextRotationDateMs === undefined ? {} : { nextRotationDateMs };
          return [
            material.activated({ rotationType, rotatedAtMs }),
            ...replacedInAll(directory, key, { currentBackingKeyId: backingKeyId }, schedule),
          ];
        },
        settle,
        undo: () => material.undo().finally(settle),
      };
    } catch (error) {
      settle();
      throw error;
    }
  }

  /**
   * Gives a KMS key new current material because the numbers of this one are used up: a rotation that no schedule has, and
   * that changes none.
   * @param exhausted The backing key that is to be replaced; where another one is current by now, nothing is done.
   * @returns The key as it is then.
   * @throws KmsError what AWS answers to the use of a key in its state, `KMSInvalidStateException` when its material is imported,
   * and as `generate`.
   */
  rotate(keyId: KeyId, exhausted: BackingKeyId): Promise<KmsKey> {
    let replacement = this.#replacements.get(exhausted);
    if (replacement === undefined) {
      replacement = this.#rotate(keyId, (key) => replacementOf(key, exhausted))
        .then(() => this.#keyOf(keyId))
        .finally(() => this.#replacements.delete(exhausted));
      this.#replacements.set(exhausted, replacement);
    }
    return replacement;
  }

  /**
   * Rotates a KMS key because a date of its schedule has come, and gives it the next one. Idempotent: where that date is not the
   * key's any more, or the key is not in use, nothing is done.
   * @param nowMs By the clock that says that the date has come.
   * @returns Was it rotated?
   * @throws as `generate`.
   */
  async rotateOnDate(keyId: KeyId, dateMs: number, nowMs: number): Promise<boolean> {
    return (
      this.#directory.findKey(keyId) !== undefined && this.#rotate(keyId, (key) => rotationDue(key, dateMs, nowMs))
    );
  }

  /**
   * @param wanted What is to be written of the key as it is; asked before anything is generated, and again in the turn.
   * @returns Was it rotated?
   */
  async #rotate(keyId: KeyId, wanted: (key: KmsKey) => NewRotation | undefined): Promise<boolean> {
    const prepared = await this.prepareRotation(keyId, (key) => wanted(key) !== undefined);
    if (prepared === undefined) return false;
    let before: { readonly rotation: NewRotation; readonly replacedId: BackingKeyId | null } | undefined;
    try {
      before = await this.#turns.take(() => {
        const key = this.#keyOf(keyId);
        const rotation = wanted(key);
        if (rotation === undefined) return { changes: [], response: undefined };
        const response = { rotation, replacedId: key.record.currentBackingKeyId };
        return { changes: prepared.changes(key, rotation), response };
      });
    } catch (error) {
      await prepared.undo();
      throw error;
    }
    if (before === undefined) {
      await prepared.undo();
      return false;
    }
    prepared.settle();
    await this.#putOnRecord(keyId, before.rotation, { from: before.replacedId, to: prepared.backingKeyId });
    return true;
  }

  async #putOnRecord(
    keyId: KeyId,
    { rotationType, rotatedAtMs }: Rotation,
    { from, to }: { readonly from: BackingKeyId | null; readonly to: BackingKeyId },
  ): Promise<void> {
    const { materials } = this.#keyOf(keyId);
    const [previous, current] = [from, to].map((id) => materials.find(({ backingKeyId }) => backingKeyId === id));
    if (previous === undefined || current === undefined)
      throw new TypeError(`key ${keyId} lost material in a rotation`);
    await this.#recordRotation?.({ keyId, rotationType, rotatedAtMs, previous, current });
  }

  /** While there are numbers left. Whoever finds them used up rotates by himself, and hears of what is in the way. Never rejects. */
  async #rotateAhead(keyId: KeyId, exhausted: BackingKeyId): Promise<void> {
    try {
      if (rotatesByItself(this.#keyOf(keyId).record)) await this.rotate(keyId, exhausted);
    } catch (error) {
      this.#directory.log.warn(
        { keyId, err: error },
        'a key whose encryptions are nearly used up could not be rotated yet',
      );
    }
  }

  /** Waits until nothing gives the key other material, and keeps it so. @returns What lets that go on. */
  async alone(keyId: KeyId): Promise<() => void> {
    const rotate = await this.#placeInLine(keyId);
    const bring = await this.imports.enter(keyId);
    return () => {
      bring();
      rotate();
    };
  }

  /** Waits until the rotations of this key that were begun before are over. @returns What lets the next one begin. */
  async #placeInLine(keyId: KeyId): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = this.#lastRotations.get(keyId);
    this.#lastRotations.set(keyId, promise);
    await before;
    return () => {
      if (this.#lastRotations.get(keyId) === promise) this.#lastRotations.delete(keyId);
      resolve();
    };
  }

  /**
   * New material of a key lives where its current one does, whatever new keys of the key store do. That of a multi-Region key whose primary
   * is elsewhere by now is made where the primary's Region uses it.
   */
  #residenceOf({ record }: BackingKey): Pick<NewMaterial, 'keyStore'> & { residency: Residency } {
    const keyStore = this.#directory.keyStores.servingName(record) ?? record.keyStore;
    return { keyStore, residency: record.residency === 'wrapped' ? 'wrapped' : 'token' };
  }

  #keyOf(keyId: KeyId): KmsKey {
    const key = this.#directory.findKey(keyId);
    if (key === undefined) throw new TypeError(`key ${keyId} disappeared while it was being rotated`);
    return key;
  }

  /** Object first, then record: as long as the record stands, it is known what to look for. */
  async #undo(intent: BackingKeyRecord): Promise<void> {
    const { backingKeyId, keyStore } = intent;
    let isDestroyed = false;
    try {
      await this.#directory.keyStore(keyStore).destroyKey({ backingKeyId });
      isDestroyed = true;
      const undone = { changes: [removed('backingKey', intent)], response: undefined };
      await this.#turns.take(() => undone, { isPatient: true, isQuiet: true });
    } catch (error) {
      if (!isDestroyed) this.#leftIntents?.add(intent);
      const when = isDestroyed ? 'at the next start' : 'when its HSM is back';
      this.#directory.log.warn({ backingKeyId, error }, `an unfinished key creation is undone ${when}`);
    }
  }
}

function newMaterialRecord({ keyId, keyStore, ordinal }: NewMaterial, region: string) {
  return {
    backingKeyId: newBackingKeyId(),
    version: 1,
    keyId,
    regions: region,
    keyStore,
    ordinal,
    createdAtMs: Date.now(),
    reservedEncryptions: 0,
    publicKey: null,
    rotationType: null,
    rotatedAtMs: null,
    importedMaterialId: '',
    materialDescription: '',
    validToMs: null,
    formerDomainKeyIds: '',
  };
}
