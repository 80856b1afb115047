/**
 * How key material comes to be, so that a crash at any moment leaves nothing half made and nobody waits for it in a turn.
 *
 * (1) An intent goes to the store: the backing key's record in state `Creating`, with this node as its owner. (2) The HSM
 * generates the key under the `CKA_ID` that the intent names. (3) A turn decides, and its change makes the record `Active`
 * together with whatever names it. Nobody is told of the key before (3). When (2) fails, or the turn refuses, the intent is
 * undone: the object is destroyed, then the record removed. When that fails too, or the daemon dies in between,
 * `open-keys.ts` does it at the next start.
 *
 * A metadata store that is put back from a copy made in the middle of a creation says that this creation did not finish,
 * and its key is destroyed. Copies are therefore made while the daemon is stopped.
 */

import type { KeySpec, KeyUsage } from '../../kms/key-specs.ts';
import { stateRefusal } from '../../kms/key-states.ts';
import { type BackingKeyId, type KeyId, newBackingKeyId } from '../../kms/names.ts';
import { added, type Change, removed, replaced } from '../../store/records/changes.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import type { Turns } from '../../store/turns.ts';
import type { KeyDirectory } from '../key-directory.ts';
import { fromKeyStoreError } from '../key-store-errors.ts';
import { currentBackingKeyOf, type KmsKey, keyMaterialIdOf } from '../kms-key.ts';

/** What is to be generated, and for which KMS key. */
export interface NewMaterial {
  readonly keyId: KeyId;
  readonly keySpec: KeySpec;
  readonly keyUsage: KeyUsage;
  /** The name of the key store. */
  readonly keyStore: string;
  /** 1 for the first backing key of a KMS key, then counting. */
  readonly ordinal: number;
}

/** Material that is in the HSM while no change names it yet. */
export interface GeneratedMaterial {
  readonly backingKeyId: BackingKeyId;
  readonly keyMaterialId: string;
  /** The change that makes it the KMS key's, as one of those of a turn. */
  activated(): Change;
  /** For when the turn refuses: destroys it. Never rejects; what cannot be undone now is undone at the next start. */
  undo(): Promise<void>;
}

export class KeyLife {
  readonly #directory: KeyDirectory;
  readonly #turns: Turns;
  readonly #nodeId: string;
  /** Several encryptions find the same backing key exhausted at once; one rotation serves all. */
  readonly #rotations = new Map<KeyId, Promise<KmsKey>>();

  /** @param nodeId The owner of the intents that are made here. */
  constructor(directory: KeyDirectory, turns: Turns, nodeId: string) {
    this.#directory = directory;
    this.#turns = turns;
    this.#nodeId = nodeId;
  }

  /**
   * Generates material in the HSM, which may take it seconds. No turn is held meanwhile.
   * @throws KmsError for what the key store cannot do; nothing is left behind then.
   */
  async generate(material: NewMaterial): Promise<GeneratedMaterial> {
    const { keyId, keySpec, keyUsage, keyStore: name, ordinal } = material;
    const keyStore = this.#directory.keyStore(name);
    const intent: BackingKeyRecord = {
      backingKeyId: newBackingKeyId(),
      version: 1,
      keyId,
      keyStore: name,
      residency: 'token',
      state: 'Creating',
      owner: this.#nodeId,
      ordinal,
      createdAtMs: Date.now(),
      reservedEncryptions: 0,
      publicKey: null,
      rotationType: null,
      rotatedAtMs: null,
      importedMaterialId: '',
      materialDescription: '',
      validToMs: null,
    };
    const { backingKeyId } = intent;
    await this.#turns.take(() => ({ changes: [added('backingKey', intent)], response: undefined }));
    const undo = (): Promise<void> => this.#undo(intent);
    try {
      const label = `drawbridge:${keyId}:${ordinal}`;
      const { publicKey } = await keyStore.generateKey({ backingKeyId, label, keySpec, keyUsage });
      const activated = (): Change => replaced('backingKey', intent, { state: 'Active', owner: '', publicKey });
      return { backingKeyId, keyMaterialId: keyMaterialIdOf(intent), activated, undo };
    } catch (error) {
      await undo();
      throw fromKeyStoreError(error);
    }
  }

  /**
   * Gives a KMS key a new current backing key. The old ones stay and decrypt what they encrypted.
   * @param exhausted The backing key that is to be replaced; where another one is current by now, nothing is done.
   */
  rotate(keyId: KeyId, exhausted: BackingKeyId): Promise<KmsKey> {
    let rotation = this.#rotations.get(keyId);
    if (rotation === undefined) {
      rotation = this.#rotate(keyId, exhausted).finally(() => this.#rotations.delete(keyId));
      this.#rotations.set(keyId, rotation);
    }
    return rotation;
  }

  async #rotate(keyId: KeyId, exhausted: BackingKeyId): Promise<KmsKey> {
    const key = this.#keyOf(keyId);
    if (key.record.currentBackingKeyId !== exhausted) return key;
    const { keySpec, keyUsage } = key.record;
    const { keyStore } = currentBackingKeyOf(key).record;
    const ordinal = key.materials.length + 1;
    const material = await this.generate({ keyId, keySpec, keyUsage, keyStore, ordinal });
    try {
      await this.#turns.take(() => {
        const { arn, record, materials } = this.#keyOf(keyId);
        // Whoever waits for a number must not use a key that was disabled meanwhile.
        const refusal = stateRefusal('use', { arn, state: record.state, origin: record.origin });
        if (refusal !== undefined) throw refusal;
        if (record.currentBackingKeyId !== exhausted || materials.length + 1 !== ordinal) {
          throw new TypeError(`key ${keyId} was rotated by another node at the same time`);
        }
        const rotated = replaced('key', record, { currentBackingKeyId: material.backingKeyId });
        return { changes: [material.activated(), rotated], response: undefined };
      });
    } catch (error) {
      await material.undo();
      throw error;
    }
    return this.#keyOf(keyId);
  }

  #keyOf(keyId: KeyId): KmsKey {
    const key = this.#directory.findKey(keyId);
    if (key === undefined) throw new TypeError(`key ${keyId} disappeared while it was being rotated`);
    return key;
  }

  /** Object first, then record: as long as the record stands, the next start knows what to look for. */
  async #undo(intent: BackingKeyRecord): Promise<void> {
    const { backingKeyId, keyStore } = intent;
    try {
      await this.#directory.keyStore(keyStore).destroyKey({ backingKeyId });
      const undone = { changes: [removed('backingKey', intent)], response: undefined };
      await this.#turns.take(() => undone, { isPatient: true });
    } catch (error) {
      this.#directory.log.warn({ backingKeyId, error }, 'an unfinished key creation is undone at the next start');
    }
  }
}
