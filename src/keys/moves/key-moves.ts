/**
 * How a key's material gets another place: from the token into the metadata or back, or into another key store, while the key is used.
 *
 * Backing keys keep their ids, so ciphertexts and `KeyMaterialId` stay what they are. One after the other, each in this order, so that a
 * crash at any moment leaves the old place or the new one in force, and nothing that is named nowhere:
 *
 *  1. Into a token: a `remnant` on record, an intent that says that an object of this id may be there from now on.
 *  2. The new material: a blob that the HSM wraps, or a token object of what a blob holds. Nobody sees the key.
 *  3. The proof: what the old one encrypts, the new one opens; their MACs are equal; a pair fits the public key on record. Of what is wrapped, each
 *     HSM has opened it that will have to.
 *  4. A turn, on record as a change of whoever asked: the backing key's record names the new place. In it the remnant of 1 goes, and where
 *     the old place is a token, the remnant of that comes: the duty to destroy the old object.
 *  5. The old object is destroyed, and read back as gone; or every lane forgets what it has unwrapped. Then the remnant goes.
 *
 * A request that was under way with the old material when it ended is done again with the new one (`pipeline/moved-meanwhile.ts`).
 *
 * INVARIANT: nothing is destroyed but the object of a remnant, and that only where the backing key's record does not name it, and what the
 * record names has just been used and is the same key (`settle`); or where the material itself is being destroyed. So an old
 * record that somebody puts back destroys nothing that is not there a second time.
 *
 * While a key moves it is neither rotated, nor is anything imported into it or removed from it. What a crash left is settled by upkeep.
 */

import { type KeyStore, type KeyStoreCapabilities, KeyStoreError } from '../../hsm/key-store.ts';
import { KmsError } from '../../kms/errors.ts';
import type { Logger } from '../../kms/logger.ts';
import type { KeyId } from '../../kms/names.ts';
import type { LoadedMetadata } from '../../store/metadata-store.ts';
import { added, type Change, removed, replaced } from '../../store/records/changes.ts';
import type { BackingKeyRecord, RemnantRecord } from '../../store/records/records.ts';
import type { Announcer, Fold, Turns } from '../../store/turns.ts';
import { isSameBlob, nameInLanes, referenceOf } from '../backing-key-reference.ts';
import type { KeyDirectory } from '../key-directory.ts';
import { fromKeyStoreError, internalMessage } from '../key-store-errors.ts';
import type { KmsKey } from '../kms-key.ts';
import type { DomainKeys } from '../life/domain-keys.ts';
import { isInHsm } from '../life/domain-keys.ts';
import type { KeyLife } from '../life/key-life.ts';
import { type MoveTarget, movePlan, type PlannedMove, unmovable } from './move-plan.ts';
import { assertOpenedEverywhere } from './opened-everywhere.ts';
import { whyNotSame } from './same-material.ts';
import { type MovedBlob, type Place, WaysIntoKeyStores, wrappedIn } from './ways-into-key-stores.ts';

export interface KeyMovesOptions {
  /** By Region. */
  readonly regions: ReadonlyMap<string, { readonly directory: KeyDirectory; readonly life: Pick<KeyLife, 'alone'> }>;
  /** Those that the configuration names. */
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly domainKeys: Pick<DomainKeys, 'of' | 'holds' | 'newestOf' | 'formerlyOf' | 'assertActive' | 'current'>;
  readonly turns: Turns;
  /** The owner of the intents and duties that are made here. */
  readonly nodeId: string;
  readonly log: Logger;
}

/** Puts on record that an object is about to be destroyed because its key has moved. */
export type RecordDestruction = (remnant: RemnantRecord) => Promise<void>;

export class KeyMoves implements Fold {
  readonly #options: KeyMovesOptions;
  readonly #remnants = new Map<string, RemnantRecord>();
  /** Of keys that are being moved, whose remnants are nobody else's. */
  readonly #underWay = new Set<KeyId>();
  readonly #ways: WaysIntoKeyStores;
  #recordDestruction: RecordDestruction = async () => undefined;

  /** Follows the records from now on. */
  constructor(options: KeyMovesOptions, { remnant }: Pick<LoadedMetadata, 'remnant'>) {
    this.#options = options;
    for (const record of remnant) this.#remnants.set(nameOf(record), record);
    options.turns.follow(this);
    this.#ways = new WaysIntoKeyStores({
      domainKeys: options.domainKeys,
      keyStore: (name) => this.#keyStore(name),
      capabilities: (name) => this.#capabilities(name),
    });
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      if ('put' in change) {
        if (change.put === 'remnant') this.#remnants.set(nameOf(change.record), change.record);
      } else if (change.remove === 'remnant') this.#remnants.delete(nameOf(change.record));
    }
  }

  recordDestructions(record: RecordDestruction): void {
    this.#recordDestruction = record;
  }

  /** What this node has to settle, but for what is being moved now. */
  unsettled(): readonly RemnantRecord[] {
    const { nodeId } = this.#options;
    return [...this.#remnants.values()].filter(({ owner, keyId }) => owner === nodeId && !this.#underWay.has(keyId));
  }

  /**
   * What has to be moved of a key.
   * @throws KmsError as `movePlan`, and for another key store that is not in the domain.
   */
  plan(region: string, key: KmsKey, target: MoveTarget): readonly PlannedMove[] {
    const { directory } = this.#region(region);
    const { domainKeys } = this.#options;
    const parts = { directory, domainKeys, capabilities: (name: string) => this.#capabilities(name) };
    const planned = movePlan(key, target, parts);
    for (const move of planned) this.#ways.of(move);
    return planned;
  }

  /**
   * Moves what of a key is not where it is wanted.
   * @returns How many pieces of material were moved.
   * @throws KmsError with what is in the way, for operators; what was moved before stays moved.
   */
  async move(region: string, keyId: KeyId, target: MoveTarget, by: Announcer): Promise<number> {
    const { directory, life } = this.#region(region);
    const leave = await life.alone(keyId);
    this.#underWay.add(keyId);
    try {
      for (const remnant of this.#of(keyId)) await this.#settle(remnant);
      for (let moved = 0; ; moved++) {
        const key = directory.findKey(keyId);
        if (key === undefined || directory.tombstones.has(keyId))
          throw new KmsError('NotFoundException', `Key '${keyId}' does not exist`);
        const [next] = this.plan(region, key, target);
        if (next === undefined) return moved;
        await this.#moveOne(directory, key, next, by);
      }
    } catch (error) {
      throw toldToOperators(error);
    } finally {
      this.#underWay.delete(keyId);
      leave();
    }
  }

  /**
   * Destroys what is left of former places of a key, once nobody moves it.
   * @param leavesMaterial What is in a key store that is away, or that the configuration has dropped, is left there, and is nobody's any more;
   * but for the default key store, without which nobody is served: that one is back soon.
   * @throws KeyStoreError for a key store that is in the way, and for what is left alone because it may be all that there is.
   */
  async settle(keyId: KeyId, { leavesMaterial }: { readonly leavesMaterial: boolean }): Promise<void> {
    if (this.#of(keyId).length === 0) return;
    // Wherever the key is; one that is gone is moved by nobody.
    const { life } = [...this.#options.regions.values()].find(({ directory }) => directory.knows(keyId)) ?? {};
    const leave = await life?.alone(keyId);
    try {
      for (const remnant of this.#of(keyId))
        await (leavesMaterial && this.#isOutOfReach(remnant) ? this.#giveUp(remnant) : this.#settle(remnant));
    } finally {
      leave?.();
    }
  }

  #isOutOfReach({ keyStore: name }: RemnantRecord): boolean {
    const { regions, keyStores } = this.#options;
    if ([...regions.values()].some(({ directory }) => directory.defaultKeyStore === name)) return false;
    return keyStores.get(name)?.status().state !== 'connected';
  }

  /** The object that there may be in a token is named nowhere from now on. */
  async #giveUp(remnant: RemnantRecord): Promise<void> {
    const { backingKeyId, keyStore, keyId } = remnant;
    this.#options.log.warn(
      { keyStore, backingKeyId, keyId },
      'what a move has left in an HSM is left there, by an operator',
    );
    await this.#forget(remnant);
  }

  async #moveOne(directory: KeyDirectory, key: KmsKey, move: PlannedMove, by: Announcer): Promise<void> {
    const { record, to } = move;
    const { keyId } = key.record;
    if (record.state === 'Removed') {
      const place = to.residency === 'token' ? inToken(to.keyStore) : wrappedIn(to.keyStore, key, record);
      return this.#commit(directory, record, () => ({ place, also: [] }), by);
    }
    const from = this.#keyStore(record.keyStore);
    const blob = await this.#ways.blobFor(key, move);
    if (to.residency === 'token') await this.#intoToken(directory, key, { ...move, blob }, by);
    else {
      const place = { ...wrappedIn(to.keyStore, key, blob), domainKeyId: blob.domainKeyId };
      await this.#assertSame(key, record, place);
      await assertOpenedEverywhere({ ...record, ...place }, this.#options.regions);
      const former = remnantOf(record, this.#options.nodeId);
      await this.#commit(
        directory,
        record,
        () => {
          if (blob.domainKeyId !== null) this.#options.domainKeys.assertActive(to.keyStore, blob.domainKeyId);
          return { place, also: record.residency === 'wrapped' ? [] : [added('remnant', former)] };
        },
        by,
      );
    }
    // Whatever has unwrapped it where it is wrapped no more: no new call comes there.
    const unwrapping = new Set<KeyStore>();
    if (record.residency === 'wrapped') unwrapping.add(from);
    if (to.residency === 'token') unwrapping.add(this.#keyStore(to.keyStore));
    for (const keyStore of unwrapping)
      for (const backingKeyId of new Set([nameInLanes(record), record.backingKeyId]))
        await keyStore.forgetWrappedKey({ backingKeyId });
    for (const remnant of this.#of(keyId)) await this.#settle(remnant);
  }

  /** Steps 1 to 4 of a move into a token. */
  async #intoToken(
    directory: KeyDirectory,
    key: KmsKey,
    { record, to, blob }: PlannedMove & { readonly blob: MovedBlob },
    by: Announcer,
  ): Promise<void> {
    const { turns, nodeId } = this.#options;
    const { backingKeyId, keyId, ordinal } = record;
    const keyStore = this.#keyStore(to.keyStore);
    if (await isInHsm(keyStore, backingKeyId))
      throw unmovable(
        `the token of \`${to.keyStore}\` has an object with the id of the backing key ${backingKeyId} already: is it that of \`${record.keyStore}\`?`,
      );
    const coming = { ...remnantOf(record, nodeId), keyStore: to.keyStore };
    await turns.take(() => ({ changes: [added('remnant', coming)], response: undefined }), { isQuiet: true });
    try {
      const { wrapped } = referenceOf({
        ...record,
        ...wrappedIn(to.keyStore, key, blob),
        domainKeyId: blob.domainKeyId,
      });
      if (wrapped === undefined) throw new TypeError('what is moved into a token is wrapped on its way');
      await keyStore.keepWrappedKey({ backingKeyId, wrapped, label: `drawbridge:${keyId}:${ordinal}` });
      await this.#assertSame(key, record, inToken(to.keyStore));
      const isLeft = record.residency === 'token';
      await this.#commit(
        directory,
        record,
        () => ({
          place: inToken(to.keyStore),
          also: [removed('remnant', coming), ...(isLeft ? [added('remnant', remnantOf(record, nodeId))] : [])],
        }),
        by,
      );
    } catch (error) {
      await this.#settle(coming).catch((reason: unknown) =>
        this.#options.log.warn({ backingKeyId, err: reason }, 'what a move has left in an HSM is destroyed later'),
      );
      throw error;
    }
  }

  /** @throws KeyStoreError `internal`, and whatever keeps a token from being asked. */
  async #assertSame({ record: { keySpec, keyUsage } }: KmsKey, record: BackingKeyRecord, place: Place): Promise<void> {
    const placed = (members: Partial<Place>) => {
      const material = { ...record, ...members };
      return { keyStore: this.#keyStore(material.keyStore), record: material, keySpec, keyUsage };
    };
    const why = await whyNotSame(placed({}), placed(place));
    if (why === null) return;
    throw new KeyStoreError(
      'internal',
      `the material of ${record.backingKeyId} is another key in its new place: ${why}`,
    );
  }

  /** The turn in which the record names the new place. @throws KmsError when the material was changed since it was looked at. */
  async #commit(
    directory: KeyDirectory,
    former: BackingKeyRecord,
    decide: () => { readonly place: Place; readonly also: readonly Change[] },
    by: Announcer,
  ): Promise<void> {
    await this.#options.turns.take(
      () => {
        const record = directory.onRecord.findMaterial(former.backingKeyId)?.record;
        const isSame =
          record?.state === former.state &&
          record.residency === former.residency &&
          record.keyStore === former.keyStore &&
          record.regions === former.regions &&
          isSameBlob(record.wrappedKey, former.wrappedKey);
        if (record === undefined || !isSame)
          throw new KmsError('KMSInternalException', internalMessage, 'the material was changed while it was moved');
        const { place, also } = decide();
        const formerDomainKeyIds = this.#options.domainKeys.formerlyOf(record, place);
        return {
          changes: [replaced('backingKey', record, { ...place, formerDomainKeyIds }), ...also],
          response: undefined,
        };
      },
      { by },
    );
  }

  /** Step 5 for what is in a token, whoever began it. Only for whoever is alone with the key. */
  async #settle(remnant: RemnantRecord): Promise<void> {
    const { backingKeyId, keyStore: name, keyId } = remnant;
    const { log } = this.#options;
    const keyStore = this.#keyStore(name);
    const materials = this.#materialsOf(remnant);
    if (materials.some(({ record }) => record.residency === 'token' && record.keyStore === name)) {
      log.error(
        { keyStore: name, backingKeyId, keyId },
        'a record says that an object of a key which was moved is to be destroyed, and the key has its material there; an old record was put back, and nothing is destroyed',
      );
    } else {
      const isThere = await isInHsm(keyStore, backingKeyId);
      for (const { key, record } of isThere ? materials : [])
        if (key !== undefined && record.state === 'Active') await this.#assertSame(key, record, inToken(name));
      if (isThere) await this.#recordDestruction(remnant);
      // Also the public half of a pair whose private one is gone.
      await keyStore.destroyKey({ backingKeyId });
      if (await isInHsm(keyStore, backingKeyId))
        throw new KeyStoreError(
          'internal',
          `the key store \`${name}\` still has \`${backingKeyId}\` after destroying it`,
        );
    }
    await this.#forget(remnant);
  }

  async #forget(remnant: RemnantRecord): Promise<void> {
    await this.#options.turns.take(
      () => {
        const found = this.#remnants.get(nameOf(remnant));
        return { changes: found === undefined ? [] : [removed('remnant', found)], response: undefined };
      },
      { isPatient: true, isQuiet: true },
    );
  }

  #of(keyId: KeyId): readonly RemnantRecord[] {
    const { nodeId } = this.#options;
    return [...this.#remnants.values()].filter((remnant) => remnant.keyId === keyId && remnant.owner === nodeId);
  }

  /** In whichever Regions it is. */
  #materialsOf({ keyId, backingKeyId }: RemnantRecord) {
    return [...this.#options.regions.values()].flatMap(({ directory }) => {
      const record = directory.onRecord.findMaterial(backingKeyId)?.record;
      return record === undefined ? [] : [{ record, key: directory.findKey(keyId) }];
    });
  }

  #region(name: string) {
    const region = this.#options.regions.get(name);
    if (region === undefined) throw new TypeError(`there is no Region ${name} here`);
    return region;
  }

  /** @throws KmsError for one that the configuration does not name. */
  #keyStore(name: string): KeyStore {
    const keyStore = this.#options.keyStores.get(name);
    if (keyStore !== undefined) return keyStore;
    throw new KmsError(
      'UnsupportedOperationException',
      `\`${name}\` is no key store that the configuration names: keys of a custom key store stay in it.`,
    );
  }

  #capabilities(name: string): KeyStoreCapabilities | undefined {
    try {
      return this.#keyStore(name).capabilities();
    } catch (error) {
      if (error instanceof KeyStoreError) return undefined;
      throw error;
    }
  }
}

/** The domain key stays on record: what was wrapped under it stands in copies of the metadata from before. */
function inToken(keyStore: string): Place {
  return { keyStore, residency: 'token', wrappedKey: null, wrappedKeySpec: null, wrappedKeyUsage: null };
}

function remnantOf({ keyStore, backingKeyId, keyId }: BackingKeyRecord, owner: string): RemnantRecord {
  return { keyStore, backingKeyId, keyId, version: 1, owner, createdAtMs: Date.now() };
}

/** Neither part has a blank. */
function nameOf({ keyStore, backingKeyId }: RemnantRecord): string {
  return `${keyStore} ${backingKeyId}`;
}

/** Whoever moves keys is the operator, who needs to know what the token said. */
function toldToOperators(error: unknown): unknown {
  if (!(error instanceof KeyStoreError)) return error;
  const { name } = fromKeyStoreError(error) as KmsError;
  return new KmsError(name, error.message, error);
}
