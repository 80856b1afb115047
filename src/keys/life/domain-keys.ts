/**
 * Domain keys: what wrapped keys are wrapped under. They are token objects, one for each key store that has wrapped keys, made when the
 * first of these needs it.
 *
 * Key stores that wrap what is new under the same one are a *domain*: what one of them wraps, each of them can use. Each has a record of its own
 * of every domain key that it has (`keys/domain/adoption.ts` says how it comes by those of another one).
 *
 * Each has a record, under a MAC as every record: whoever edits the database cannot have anything wrapped under a key of his choice. It
 * is made as a backing key is (`key-life.ts`): an intent with an owner, the object, the record that it is there. There is one set of them for
 * all Regions, because a key store may serve several.
 *
 * A domain key is rotated by making another one, under which everything new is wrapped. What is wrapped already stays where it is: a
 * token that holds to `CKA_UNWRAP_TEMPLATE` wraps nothing again that it has unwrapped. A former domain key is retired once nothing is wrapped under it,
 * in the order of a key's destruction: a mark in its turn, the object, the record (`retired-domain-keys.ts`). INVARIANT: nothing becomes a key's material that is
 * wrapped under a domain key which is not `Active` in that turn (`assertActive`), so what was generated meanwhile is not lost with it.
 */

import { domainKeyLabelPrefix, type KeyStore, KeyStoreError } from '../../hsm/key-store.ts';
import { KmsError } from '../../kms/errors.ts';
import type { Logger } from '../../kms/logger.ts';
import { type BackingKeyId, newBackingKeyId, parseBackingKeyId } from '../../kms/names.ts';
import type { Residency } from '../../kms/residencies.ts';
import type { LoadedMetadata } from '../../store/metadata-store.ts';
import { added, type Change, removed, replaced } from '../../store/records/changes.ts';
import type { BackingKeyRecord, DomainKeyRecord } from '../../store/records/records.ts';
import type { Fold, Turns } from '../../store/turns.ts';
import { fromKeyStoreError, internalMessage } from '../key-store-errors.ts';
import { isOfMissingMember } from './unfinished.ts';

export interface DomainKeysOptions {
  readonly turns: Turns;
  /** The owner of the intents that are made here. */
  readonly nodeId: string;
  /** Where new keys of a key store live, by its name; in the token unless given. */
  readonly residencies?: ReadonlyMap<string, Residency> | undefined;
  readonly log: Logger;
}

export class DomainKeys implements Fold {
  readonly #options: DomainKeysOptions;
  readonly #records = new Map<string, DomainKeyRecord>();
  /** Those under which something is wrapped, or was since the start; and each with the key store in which that is, as `nameOf` has it. */
  readonly #used = new Set<string>();
  /** Of key stores whose domain key is being made. */
  readonly #making = new Map<string, Promise<BackingKeyId>>();
  /** Those that this process has begun and neither activated nor abandoned: no start left them. */
  readonly #begun = new Set<BackingKeyId>();

  /** Follows the records from now on. */
  constructor(options: DomainKeysOptions, { domainKey, backingKey }: Pick<LoadedMetadata, 'domainKey' | 'backingKey'>) {
    this.#options = options;
    for (const record of backingKey) this.#see(record);
    for (const record of domainKey) this.#records.set(nameOf(record), record);
    options.turns.follow(this);
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      if ('put' in change) {
        if (change.put === 'backingKey') this.#see(change.record);
        if (change.put === 'domainKey') this.#put(change.record);
      } else if (change.remove === 'domainKey') this.#records.delete(nameOf(change.record));
    }
  }

  #see({ domainKeyId, wrappedKey, keyStore }: BackingKeyRecord): void {
    if (domainKeyId === null || wrappedKey === null) return;
    this.#used.add(domainKeyId).add(nameOf({ keyStore, backingKeyId: domainKeyId }));
  }

  #put(record: DomainKeyRecord): void {
    this.#records.set(nameOf(record), record);
    if (record.state !== 'Destroying') return;
    // Whoever marked it has counted in that turn: what was wrapped under it since the start is so no more.
    this.#used.delete(nameOf(record));
    if (!this.#isActiveAnywhere(record.backingKeyId)) this.#used.delete(record.backingKeyId);
  }

  /** Would something be lost with it? What is wrapped in another key store that has it, too, is not: this one was to give it up. */
  #isNeeded(record: DomainKeyRecord): boolean {
    return this.#used.has(this.#isActiveAnywhere(record.backingKeyId) ? nameOf(record) : record.backingKeyId);
  }

  #isActiveAnywhere(backingKeyId: string): boolean {
    return this.everywhere(backingKeyId).some(({ state }) => state === 'Active');
  }

  /** Where new keys of a key store live. */
  residencyIn(keyStore: string): Residency {
    return this.#options.residencies?.get(keyStore) ?? 'token';
  }

  /** Those of a key store, the oldest first. */
  of(keyStore: string): readonly DomainKeyRecord[] {
    return [...this.#records.values()]
      .filter((record) => record.keyStore === keyStore)
      .sort((one, other) => one.ordinal - other.ordinal);
  }

  /** Is it on record that a key store has this one, and may use it? */
  holds(keyStore: string, domainKeyId: string): boolean {
    return this.#records.get(`${keyStore} ${domainKeyId}`)?.state === 'Active';
  }

  /** The one under which what is new in a key store is wrapped; `undefined` while there is none. */
  newestOf(keyStore: string): BackingKeyId | undefined {
    return this.of(keyStore).findLast(({ state }) => state === 'Active')?.backingKeyId;
  }

  /** The names of the key stores that wrap what is new under the same one, of which there are no others if it has none; this one first. */
  domainOf(keyStore: string): readonly string[] {
    const newest = this.newestOf(keyStore);
    const names = new Set([keyStore, ...[...this.#records.values()].map((record) => record.keyStore)]);
    return [...names].filter((name) => name === keyStore || (newest !== undefined && this.newestOf(name) === newest));
  }

  /** The records of one domain key, that of each key store that has it. */
  everywhere(backingKeyId: string): readonly DomainKeyRecord[] {
    return [...this.#records.values()].filter((record) => record.backingKeyId === backingKeyId);
  }

  /**
   * The domain keys that material may have been wrapped under since it was made: the one of now, and of those before it each that was not
   * followed by another one when the material was made. What copies of the metadata from before have can be opened with them. Of material that was
   * moved from another key store those of that one belong to them.
   */
  everOf(record: BackingKeyRecord): readonly BackingKeyId[] {
    const { keyStore, domainKeyId, createdAtMs } = record;
    // As on record: what is none of ours there opens nothing.
    const elsewhere = record.formerDomainKeyIds.split(' ').flatMap((id) => parseBackingKeyId(id) ?? []);
    if (domainKeyId === null) return elsewhere;
    const holders = this.everywhere(domainKeyId);
    const isOwn = holders.some((record) => record.keyStore === keyStore);
    const all = this.of(isOwn ? keyStore : (holders[0]?.keyStore ?? keyStore));
    const at = all.findIndex(({ backingKeyId }) => backingKeyId === domainKeyId);
    const before = all.slice(0, Math.max(0, at));
    const former = before.filter((_, index) => (all[index + 1]?.createdAtMs ?? 0) >= createdAtMs);
    return [...new Set([...elsewhere, ...former.map(({ backingKeyId }) => backingKeyId), domainKeyId])];
  }

  /**
   * What is on record of material as `formerDomainKeyIds` when it has come into this place: where its record will not tell any more what opens
   * copies of it from before, those domain keys, as far as they are there.
   * @param place.domainKeyId Under which it is wrapped there; absent: it is a token object there.
   */
  formerlyOf(
    record: BackingKeyRecord,
    { keyStore, domainKeyId }: Pick<BackingKeyRecord, 'keyStore'> & Partial<Pick<BackingKeyRecord, 'domainKeyId'>>,
  ): string {
    const isOwn = this.#records.has(`${keyStore} ${record.domainKeyId}`);
    if (keyStore === record.keyStore && (domainKeyId === undefined || isOwn)) return record.formerDomainKeyIds;
    return this.everOf(record)
      .filter((id) => this.isThere(id))
      .join(' ');
  }

  /** Is it still in any HSM? */
  isThere(backingKeyId: string): boolean {
    return this.everywhere(backingKeyId).length > 0;
  }

  /**
   * The domain key under which what is new is wrapped, made if there is none.
   * @throws KmsError for what the key store cannot do; nothing is left behind then.
   */
  async current(name: string, keyStore: Pick<KeyStore, 'generateDomainKey' | 'destroyKey'>): Promise<BackingKeyId> {
    const known = this.newestOf(name);
    if (known !== undefined) return known;
    return this.#making.get(name) ?? this.rotate(name, keyStore);
  }

  /**
   * Makes the domain key under which what is new is wrapped from now on.
   * @throws as `current`.
   */
  async rotate(name: string, keyStore: Pick<KeyStore, 'generateDomainKey' | 'destroyKey'>): Promise<BackingKeyId> {
    const making = this.#make(name, keyStore).finally(() => this.#making.delete(name));
    this.#making.set(name, making);
    return making;
  }

  /** In the turn that makes something a key's material. @throws KmsError `KMSInternalException`: the request can be retried. */
  assertActive(name: string, domainKeyId: BackingKeyId): void {
    if (this.#records.get(`${name} ${domainKeyId}`)?.state === 'Active') return;
    throw new KmsError('KMSInternalException', internalMessage, `the domain key ${domainKeyId} was retired meanwhile`);
  }

  /** The first step to the end of domain keys in key stores: a mark. @param which Asked in the turn. */
  async condemn(which: () => readonly DomainKeyRecord[]): Promise<void> {
    const { turns, nodeId } = this.#options;
    await turns.take(() => {
      const active = which().filter(({ state }) => state === 'Active');
      const changes = active.map((record) => replaced('domainKey', record, { state: 'Destroying', owner: nodeId }));
      return { changes, response: undefined };
    });
  }

  /**
   * The other steps.
   * @returns Was it marked, and is it gone?
   * @throws KeyStoreError when the key store is in the way; the mark stays.
   */
  async destroyMarked(
    { keyStore: name, backingKeyId, state, owner }: DomainKeyRecord,
    keyStore: Pick<KeyStore, 'destroyKey' | 'describeKey'>,
  ): Promise<boolean> {
    const { turns, nodeId, log } = this.#options;
    if (state !== 'Destroying' || owner !== nodeId) return false;
    await keyStore.destroyKey({ backingKeyId });
    if (await isInHsm(keyStore, backingKeyId))
      throw new KeyStoreError(
        'internal',
        `the key store \`${name}\` still has \`${backingKeyId}\` after destroying it`,
      );
    await turns.take(() => {
      const record = this.#records.get(`${name} ${backingKeyId}`);
      return { changes: record === undefined ? [] : [removed('domainKey', record)], response: undefined };
    });
    log.info({ keyStore: name, backingKeyId }, 'a domain key is gone, and what was wrapped under it with it');
    return true;
  }

  /**
   * At a start, or when a key store is there that was not: undoes what this node began and did not finish, before anything was wrapped
   * under it, and says in the log which domain keys the HSM lacks.
   * @throws KeyStoreError when the key store is in the way.
   */
  async settle(name: string, keyStore: Pick<KeyStore, 'destroyKey' | 'describeKey'>): Promise<void> {
    const { log } = this.#options;
    if (this.#making.has(name)) return;
    for (const record of this.of(name)) {
      try {
        await this.#settle(name, record, keyStore);
      } catch (error) {
        if (!isOfMissingMember(error)) throw error;
        const { backingKeyId, state } = record;
        const problem = { keyStore: name, backingKeyId, state, problem: error.message };
        log.warn(problem, 'a domain key is in no HSM that is there; it is looked for when another one is');
      }
    }
  }

  async #settle(
    name: string,
    record: DomainKeyRecord,
    keyStore: Pick<KeyStore, 'destroyKey' | 'describeKey'>,
  ): Promise<void> {
    const { nodeId, log } = this.#options;
    const { backingKeyId, state, owner } = record;
    if (state !== 'Active' && this.#isNeeded(record)) {
      log.error(
        { keyStore: name, backingKeyId },
        'keys are wrapped under a domain key whose record says that it is not there; an old record was put back, and nothing is destroyed',
      );
    } else if (state === 'Creating' && owner === nodeId && !this.#begun.has(backingKeyId)) {
      await this.#abandon([record], keyStore);
    } else await this.destroyMarked(record, keyStore);
    if (state === 'Active' && !(await isInHsm(keyStore, backingKeyId)))
      log.error(
        { keyStore: name, backingKeyId },
        'a domain key is not in the HSM, and the backing keys that are wrapped under it cannot be used: the HSM is older than the metadata, as one that was restored from a backup of before, or it was destroyed in it; restore its newest backup, or have it join an HSM that has it (`drawbridge domain invite --help`)',
      );
  }

  async #make(name: string, keyStore: Pick<KeyStore, 'generateDomainKey' | 'destroyKey'>): Promise<BackingKeyId> {
    return (await this.activate(await this.begin(name, keyStore), keyStore)).backingKeyId;
  }

  /**
   * Makes a domain key under which nothing is wrapped yet: for whoever takes it into other HSMs first. `activate` follows, or `abandon`, or the next start
   * undoes it.
   * @param others The names of the other key stores that get it.
   * @throws KmsError for what the key store cannot do; nothing is left behind then.
   */
  async begin(
    name: string,
    keyStore: Pick<KeyStore, 'generateDomainKey' | 'destroyKey'>,
    others: readonly string[] = [],
  ): Promise<DomainKeyRecord> {
    const { turns, nodeId } = this.#options;
    const common = { backingKeyId: newBackingKeyId(), version: 1, createdAtMs: Date.now() } as const;
    const intentIn = (each: string): DomainKeyRecord => ({
      ...{ ...common, keyStore: each, state: 'Creating', owner: nodeId },
      ordinal: (this.of(each).at(-1)?.ordinal ?? 0) + 1,
      proof: Buffer.alloc(0),
    });
    const intent = intentIn(name);
    this.#begun.add(intent.backingKeyId);
    const changes = [intent, ...others.map(intentIn)].map((record) => added('domainKey', record));
    await turns.take(() => ({ changes, response: undefined }), { isQuiet: true });
    try {
      await keyStore.generateDomainKey({ backingKeyId: intent.backingKeyId, label: domainKeyLabel(intent) });
      return intent;
    } catch (error) {
      await this.abandon(intent, keyStore);
      throw fromKeyStoreError(error);
    }
  }

  /**
   * From now on what is new is wrapped under it, in each key store for which it was begun.
   * @param also What is on record with it, or not at all; asked in the turn.
   * @param proof By which it is known again in other HSMs that have it.
   */
  async activate(
    intent: DomainKeyRecord,
    keyStore: Pick<KeyStore, 'destroyKey'>,
    {
      proof = intent.proof,
      also = () => [],
    }: { readonly proof?: Buffer; readonly also?: () => readonly Change[] } = {},
  ): Promise<DomainKeyRecord> {
    const { turns, log } = this.#options;
    const { keyStore: name, backingKeyId } = intent;
    const active = { state: 'Active', owner: '', proof } as const;
    try {
      await turns.take(
        () => {
          const begun = this.everywhere(backingKeyId).filter(({ state }) => state === 'Creating');
          // What was abandoned meanwhile is in no HSM, and nobody leaves by it.
          if (begun.length === 0) throw new KmsError('ConflictException', goneMeanwhile);
          const changes = begun.map((record) => replaced('domainKey', record, active));
          return { changes: [...changes, ...also()], response: undefined };
        },
        { isQuiet: true },
      );
    } catch (error) {
      await this.abandon(intent, keyStore);
      throw fromKeyStoreError(error);
    }
    this.#begun.delete(backingKeyId);
    log.info({ keyStore: name, backingKeyId }, 'made a domain key, under which keys are wrapped from now on');
    return intent;
  }

  /**
   * Object first, then record, as of a backing key. INVARIANT: what is in force is not abandoned, whoever asks for it.
   * @param keyStore Destroys it in each key store for which it was begun.
   */
  async abandon({ backingKeyId }: DomainKeyRecord, keyStore: Pick<KeyStore, 'destroyKey'>): Promise<void> {
    this.#begun.delete(backingKeyId);
    const begun = this.everywhere(backingKeyId).filter(({ state }) => state === 'Creating');
    await this.#abandon(begun, keyStore);
  }

  async #abandon(intents: readonly DomainKeyRecord[], keyStore: Pick<KeyStore, 'destroyKey'>): Promise<void> {
    const { turns, log } = this.#options;
    for (const backingKeyId of new Set(intents.map((intent) => intent.backingKeyId)))
      try {
        await keyStore.destroyKey({ backingKeyId });
        const changes = intents.map((intent) => removed('domainKey', intent));
        await turns.take(() => ({ changes, response: undefined }), { isPatient: true, isQuiet: true });
        log.info(
          { backingKeyId, keyStores: intents.map((intent) => intent.keyStore) },
          'undid an unfinished creation of a domain key',
        );
      } catch (error) {
        // A member that is away may have it. Nothing is wrapped under it, so nothing has to wait for that.
        log.warn({ backingKeyId, error }, 'an unfinished creation of a domain key is undone when all HSMs are there');
      }
  }

  /**
   * Puts it on record that a key store has domain keys of others.
   * @param decide Which records come: asked in the turn.
   */
  async adopt(decide: () => readonly DomainKeyRecord[]): Promise<readonly DomainKeyRecord[]> {
    return this.#options.turns.take(
      () => {
        const records = decide();
        return { changes: records.map((record) => added('domainKey', record)), response: records };
      },
      { isQuiet: true },
    );
  }
}

const goneMeanwhile = 'the new domain key was given up meanwhile, and nothing has changed; begin anew';

/** Is there a secret or private key object of this id? */
export async function isInHsm(keyStore: Pick<KeyStore, 'describeKey'>, backingKeyId: BackingKeyId): Promise<boolean> {
  try {
    await keyStore.describeKey({ backingKeyId });
    return true;
  } catch (error) {
    if (error instanceof KeyStoreError && error.failure === 'keyUnavailable') return false;
    throw error;
  }
}

/** The label of its object, in every HSM that has it. */
export function domainKeyLabel({ keyStore, ordinal }: Pick<DomainKeyRecord, 'keyStore' | 'ordinal'>): string {
  return `${domainKeyLabelPrefix}${keyStore}:${ordinal}`;
}

/** Neither part has a blank. */
function nameOf({ keyStore, backingKeyId }: Pick<DomainKeyRecord, 'keyStore' | 'backingKeyId'>): string {
  return `${keyStore} ${backingKeyId}`;
}
