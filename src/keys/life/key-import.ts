/**
 * How key material is brought here and taken away again, so that a crash at any moment leaves nothing half made, and nothing
 * that a record says to be there is destroyed by an import that failed.
 *
 * An import is prepared before its turn: (1) the HSM unwraps what was brought and says which material it is; (2) an intent goes
 * on record; (3) the HSM makes the object. The turn makes the record `Active`; when it refuses, the object is destroyed and the
 * intent taken back. Which intent it is depends on what is on record of this material:
 *
 *     nothing       a record in state `Creating`, as for material that is generated; taken back it is gone
 *     `Removed`     the same record with an owner: the object may be there. Taken back it is without one
 *     `Active`      none: the object is there and stays what it is, whatever becomes of the import
 *
 * Material that lives outside of the HSM needs no intent: step 3 leaves nothing in the HSM, and its blob is in the record that the turn
 * writes.
 *
 * A removal is decided in its turn, which marks the record `Destroying`. After it the object is destroyed, read back as gone, and
 * the record becomes `Removed`; or it goes as well, of material to which the key was not rotated yet. Of a wrapped key the mark takes
 * the blob from the record; it is then taken from every lane, and from the file (`destroyed-material.ts`).
 *
 * INVARIANT: of the imports into a key and the removals from it one is under way at a time (`enter`). So whoever is may settle
 * what an earlier one left (`#settle`), and an intent that he finds is nobody's who is still at it. What a crash left is settled
 * at the next start and, where the HSM is away then, by upkeep (`daemon/upkeep/expiry-task.ts`): what is intended is undone, what
 * is marked is finished. An old record of an intent or a mark that is put back over a newer one therefore has the object destroyed;
 * nothing is lost for good by it, because whoever imported the material has it and can import it again.
 */

import { type KeyStore, type WrappedMaterial, wrappingAlgorithms } from '../../hsm/key-store.ts';
import { type BackingKeyId, isMultiRegion, type KeyId } from '../../kms/names.ts';
import { added, type Change, removed, replaced } from '../../store/records/changes.ts';
import { type BackingKeyRecord, inToken, type WrappingKeyRecord } from '../../store/records/records.ts';
import type { Turns } from '../../store/turns.ts';
import type { ImportTokens } from '../import-tokens.ts';
import {
  importedBackingKeyIdOf,
  importedMaterialIdOf,
  isPendingRotation,
  stateWithoutMaterial,
} from '../imported-material.ts';
import type { KeyDirectory } from '../key-directory.ts';
import { fromKeyStoreError, inKeyStore } from '../key-store-errors.ts';
import type { KmsKey } from '../kms-key.ts';
import { isKeptByOthers, multiRegionKeyType, relatedKeys } from '../multi-region.ts';
import { DestroyedMaterial } from './destroyed-material.ts';
import { type DomainKeys, isInHsm } from './domain-keys.ts';
import {
  type Activation,
  type ArrivedMaterial,
  activation,
  newImportedRecord,
  type WrappedMembers,
  wrappedActivation,
} from './imported-records.ts';
import { byWrappingKey, type KeyImportsOptions, WrappingKeys } from './wrapping-keys.ts';

/** What is brought. */
export interface ArrivingMaterial {
  readonly keyId: KeyId;
  readonly wrappingKey: WrappingKeyRecord;
  readonly wrapped: Buffer;
  /** Throws when this is not material that the key, as it is now, may be given. Asked before anything is made. */
  readonly assertMayImport: (key: KmsKey, keyMaterialId: string) => void;
}

/** The right to take material from a key, and to have it destroyed. */
export interface Removal {
  /**
   * The changes that take this material from the key, as those of a turn. What the primary key was not rotated to yet goes from the
   * replicas as well; nothing else does.
   */
  of(key: KmsKey, material: BackingKeyRecord): readonly Change[];
  /** For when the turn refuses. */
  undo(): Promise<void>;
  /**
   * After the turn: destroys what is marked. Succeeds when nothing is.
   * @throws KmsError when the key store is in the way; the mark stays then.
   */
  finish(): Promise<void>;
}

/** What the imports of all Regions share. */
export interface ImportsOfRegions {
  /** By the name of the Region. */
  readonly imports: Map<string, KeyImports>;
  /** The end of the queue of each key that has one, of related keys one for all. */
  readonly last: Map<KeyId, Promise<void>>;
}

export function newImportsOfRegions(): ImportsOfRegions {
  return { imports: new Map(), last: new Map() };
}

export class KeyImports {
  readonly tokens: ImportTokens;
  readonly wrappingKeys: WrappingKeys;
  readonly #directory: KeyDirectory;
  readonly #turns: Turns;
  readonly #nodeId: string;
  readonly #domainKeys: DomainKeys;
  readonly #destroyed: DestroyedMaterial;
  readonly #ofRegions: ImportsOfRegions;

  /** @param options.ofRegions Absent: there is no other Region. */
  constructor(options: KeyImportsOptions & { readonly ofRegions?: ImportsOfRegions | undefined }) {
    const { directory, turns, nodeId, tokens, domainKeys, store, ofRegions = newImportsOfRegions() } = options;
    this.#ofRegions = ofRegions;
    ofRegions.imports.set(directory.realm.region, this);
    this.#domainKeys = domainKeys;
    this.#destroyed = new DestroyedMaterial(directory, store);
    this.tokens = tokens;
    this.wrappingKeys = new WrappingKeys(options);
    this.#directory = directory;
    this.#turns = turns;
    this.#nodeId = nodeId;
  }

  /**
   * Brings material into the HSM, before the turn that makes it the key's.
   * @throws KmsError `InvalidCiphertextException` for what cannot be unwrapped, `IncorrectKeyMaterialException` for what is no
   * material of the key's KeySpec, what `assertMayImport` refuses with, and what else the key store cannot do.
   */
  async bring(material: ArrivingMaterial): Promise<ArrivedMaterial> {
    const leave = await this.enter(material.keyId);
    try {
      await this.#settle(material.keyId);
      return await this.#bring(material, leave);
    } catch (error) {
      leave();
      throw fromKeyStoreError(error);
    }
  }

  async #bring({ keyId, wrappingKey, wrapped, assertMayImport }: ArrivingMaterial, leave: () => void) {
    const key = this.#keyOf(keyId);
    const { keySpec, keyUsage, region: regions } = key.record;
    const { backingKeyId: wrappingKeyId, keyStore: name } = wrappingKey;
    const wrappingAlgorithm = wrappingAlgorithms.find((each) => each === wrappingKey.wrappingAlgorithm);
    if (wrappingAlgorithm === undefined) throw new TypeError(`${wrappingKey.wrappingAlgorithm} is not known any more`);
    const outline = { wrappingKeyId, wrappingAlgorithm, wrapped, keyIdDigits: key.idDigits, keySpec, keyUsage };
    const keyStore = this.#directory.keyStore(name);
    const { fingerprint, publicKey } = await byWrappingKey(() => keyStore.examineImport(outline));
    const keyMaterialId = importedMaterialIdOf(fingerprint);
    const backingKeyId = importedBackingKeyIdOf(keyMaterialId);
    assertMayImport(key, keyMaterialId);

    const known = key.materials.find((each) => each.backingKeyId === backingKeyId);
    if (isMultiRegion(keyId) || this.#isToBeWrapped(key, known, name)) {
      const kept = { backingKeyId, keyMaterialId, leave, undo: async () => leave() };
      // Its blob is on record, and what it opens was compared when it was made.
      if (known?.state === 'Active') return { ...kept, activated: activation(known) };
      const made = await this.#wrap(outline, { keyStore, name, fingerprint });
      return {
        ...kept,
        activated: (...[owner, members]: Parameters<Activation>) => {
          if (made.domainKeyId !== null) this.#domainKeys.assertActive(name, made.domainKeyId);
          const material = { ...made, backingKeyId, importedMaterialId: keyMaterialId, keyStore: name, regions };
          const formerly = (record: BackingKeyRecord) => ({
            formerDomainKeyIds: this.#domainKeys.formerlyOf(record, material),
          });
          return wrappedActivation(material, owner, members, formerly);
        },
      };
    }
    const common = { backingKeyId, keyMaterialId, leave };
    const importAs = async ({ ordinal }: BackingKeyRecord): Promise<void> => {
      const label = `drawbridge:${keyId}:${ordinal}`;
      // The key store compares the fingerprint once more, in constant time; ids are no secrets, and only tell which it is.
      await byWrappingKey(() => keyStore.importKey({ ...outline, backingKeyId, label, fingerprint }));
    };
    if (known?.state === 'Active') {
      // What is there is kept; what the HSM has lost, though it is on record, is there again.
      if (known.keyStore === name) await importAs(known);
      return { ...common, activated: activation(known), undo: async () => leave() };
    }
    const intent = await this.#intend(key, { backingKeyId, importedMaterialId: keyMaterialId, keyStore: name });
    const undo = async (): Promise<void> => {
      await this.#tryToSettle(keyId);
      leave();
    };
    try {
      await importAs(intent);
      return { ...common, activated: activation({ ...intent, publicKey }), undo };
    } catch (error) {
      await this.#tryToSettle(keyId);
      throw error;
    }
  }

  /** As the material that the key has or had; where it had none, as new keys of the key store. */
  #isToBeWrapped({ materials }: KmsKey, known: BackingKeyRecord | undefined, keyStore: string): boolean {
    const like = known ?? materials[0];
    return (like?.residency ?? this.#domainKeys.residencyIn(keyStore)) === 'wrapped';
  }

  async #wrap(
    outline: WrappedMaterial,
    {
      keyStore,
      name,
      fingerprint,
    }: { readonly keyStore: KeyStore; readonly name: string; readonly fingerprint: Buffer },
  ): Promise<WrappedMembers> {
    const domainKeyId = await this.#domainKeys.current(name, keyStore);
    const { blob: wrappedKey, publicKey } = await byWrappingKey(
      () => keyStore.importWrappedKey({ ...outline, domainKeyId, fingerprint }),
      () => isInHsm(keyStore, domainKeyId),
    );
    const { keySpec: wrappedKeySpec, keyUsage: wrappedKeyUsage } = outline;
    return { residency: 'wrapped', publicKey, wrappedKey, domainKeyId, wrappedKeySpec, wrappedKeyUsage };
  }

  /** Puts on record that the object may be there from now on: in the record that the material has, or in a new one. */
  #intend(
    { record: { keyId, region: regions } }: KmsKey,
    members: Pick<BackingKeyRecord, 'backingKeyId' | 'importedMaterialId' | 'keyStore'>,
  ): Promise<BackingKeyRecord> {
    const decide = () => {
      const { materials } = this.#keyOf(keyId);
      const known = materials.find(({ backingKeyId }) => backingKeyId === members.backingKeyId);
      if (known === undefined) {
        const unowned = newImportedRecord({ ...members, keyId, regions, ordinal: materials.length + 1 });
        const intent: BackingKeyRecord = { ...unowned, ...inToken, residency: 'token', owner: this.#nodeId };
        return { changes: [added('backingKey', intent)], response: intent };
      }
      const again = { owner: this.#nodeId, keyStore: members.keyStore };
      const changes = [replaced('backingKey', known, again)];
      return { changes, response: { ...known, ...again, version: known.version + 1 } };
    };
    return this.#turns.take<BackingKeyRecord>(decide, { isQuiet: true });
  }

  /** Begins a removal. Nothing is destroyed before a turn has decided it. */
  async removal(keyId: KeyId): Promise<Removal> {
    const leave = await this.enter(keyId);
    return {
      of: (key, material) => this.#taken(key, material),
      undo: async () => leave(),
      finish: async () => {
        try {
          await inKeyStore(() => this.#settleRelated(keyId));
        } finally {
          leave();
        }
      },
    };
  }

  /**
   * Removes material that has expired. While its key store is away it is left as it is, and can be given back.
   * @param isDue Is it still so? Asked in the turn.
   * @param announce Puts on record that it is removed, before it is marked: none goes without.
   * @throws what the key store or the store refuse with, and `announce`, with nothing begun.
   */
  async removeExpired(
    doomed: BackingKeyRecord,
    isDue: (material: BackingKeyRecord) => boolean,
    announce: () => Promise<void>,
  ): Promise<void> {
    const { keyId, backingKeyId } = doomed;
    this.#destroyed.assertPossible(doomed);
    const removal = await this.removal(keyId);
    const decide = () => {
      const key = this.#directory.findKey(keyId);
      const material = key?.materials.find((each) => each.backingKeyId === backingKeyId);
      const isOver = key === undefined || material?.state !== 'Active' || !isDue(material);
      return { changes: isOver ? [] : removal.of(key, material), response: undefined };
    };
    try {
      await this.#turns.take(decide, { announce });
    } catch (error) {
      await removal.undo();
      throw error;
    }
    await removal.finish();
  }

  /** What the key was not rotated to yet goes with that of its primary key. */
  #taken(key: KmsKey, material: BackingKeyRecord): readonly Change[] {
    const isOfAll = isPendingRotation(key, material) && multiRegionKeyType(key.record) !== 'REPLICA';
    if (!isOfAll) return this.#marked(key, material);
    return relatedKeys(this.#directory, key.record.keyId).flatMap((related) => {
      const theirs = related.materials.find(({ backingKeyId }) => backingKeyId === material.backingKeyId);
      if (theirs === undefined) return [];
      if (theirs.state === 'Removed') return [removed('backingKey', theirs)];
      return this.#in(related.record.region).#marked(related, theirs);
    });
  }

  #in(region: string): KeyImports {
    return this.#ofRegions.imports.get(region) ?? this;
  }

  #marked(key: KmsKey, material: BackingKeyRecord): readonly Change[] {
    const members = { state: 'Destroying', owner: this.#nodeId, validToMs: null, wrappedKey: null } as const;
    const marked = replaced('backingKey', material, members);
    const state = stateWithoutMaterial(key.record);
    if (isPendingRotation(key, material) || state === key.record.state) return [marked];
    return [marked, replaced('key', key.record, { state })];
  }

  /**
   * Finishes and undoes what is left of imports and removals that did not end, once nobody is at it.
   * @throws what the key store or the store refuse with.
   */
  async settle(keyId: KeyId): Promise<void> {
    const leave = await this.enter(keyId);
    try {
      await this.#settle(keyId);
    } finally {
      leave();
    }
  }

  /** As `#settle`, in all Regions that have the key. */
  async #settleRelated(keyId: KeyId): Promise<void> {
    await this.#settle(keyId);
    const others = [...this.#ofRegions.imports.values()].filter((imports) => imports !== this);
    for (const imports of others) if (imports.hasUnsettled(keyId)) await imports.#settle(keyId);
  }

  /** At start, when all Regions' keys are there: what a crash left is settled. What the HSM is in the way of now, upkeep settles later. */
  async settleAll(): Promise<void> {
    for (const keyId of this.unsettled()) await this.#tryToSettle(keyId);
    for (const record of this.wrappingKeys.all())
      if (this.wrappingKeys.isUnfinished(record)) await this.wrappingKeys.tryToDestroy(record.backingKeyId);
  }

  /** Keys of whose imported material something is on record that this node has to finish or to undo. */
  *unsettled(): Iterable<KeyId> {
    for (const keyId of this.#directory.watchedKeys.unsettledImports) if (this.hasUnsettled(keyId)) yield keyId;
  }

  hasUnsettled(keyId: KeyId): boolean {
    return this.#unsettled(keyId).length > 0;
  }

  #unsettled(keyId: KeyId): readonly BackingKeyRecord[] {
    // A key that is being destroyed is the business of its destruction.
    if (this.#directory.tombstones.has(keyId)) return [];
    return this.#directory
      .materialRecords(keyId)
      .filter(({ owner, importedMaterialId }) => owner === this.#nodeId && importedMaterialId !== '');
  }

  /** Finishes what is marked and undoes what was intended. Only for whoever has entered, or before anybody can. */
  async #settle(keyId: KeyId): Promise<void> {
    for (const record of this.#unsettled(keyId)) {
      const { backingKeyId } = record;
      await this.#destroyed.destroy([record]);
      await this.#turns.take(() => ({ changes: this.#settled(keyId, backingKeyId), response: undefined }), {
        isPatient: true,
        isQuiet: true,
      });
    }
  }

  /** The change by which the record of material that is gone says so. */
  #settled(keyId: KeyId, backingKeyId: BackingKeyId): readonly Change[] {
    const record = this.#unsettled(keyId).find((each) => each.backingKeyId === backingKeyId);
    if (record === undefined) return [];
    const key = this.#directory.findKey(keyId);
    const isForgotten =
      record.state === 'Creating' ||
      (key !== undefined && isPendingRotation(key, record) && !isKeptByOthers(this.#directory, key, record));
    if (isForgotten) return [removed('backingKey', record)];
    return [replaced('backingKey', record, { state: 'Removed', owner: '' })];
  }

  async #tryToSettle(keyId: KeyId): Promise<void> {
    try {
      await this.#settle(keyId);
    } catch (error) {
      this.#directory.log.warn({ keyId, error }, 'what is left of an import or a removal is settled later');
    }
  }

  #keyOf(keyId: KeyId): KmsKey {
    const key = this.#directory.findKey(keyId);
    if (key === undefined) throw new TypeError(`key ${keyId} disappeared while material was imported into it`);
    return key;
  }

  /** Waits until no other import into the key, nor removal from it, is under way. @returns What ends this one. */
  async enter(keyId: KeyId): Promise<() => void> {
    const before = this.#ofRegions.last.get(keyId);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ofRegions.last.set(keyId, promise);
    await before;
    return () => {
      if (this.#ofRegions.last.get(keyId) === promise) this.#ofRegions.last.delete(keyId);
      resolve();
    };
  }
}
