/**
 * What is wrapped under a former domain key is wrapped anew under the one of now, in the background, where the token does that.
 *
 * Whether it does was tried on it (`hsm/host/calls/protection-trials.ts`): a token that holds to `CKA_EXTRACTABLE` false wraps nothing again that
 * it has unwrapped. There everything stays under the domain key that it has, and `domain rotate --retire` says what holds that back.
 *
 * One key after the other, so that no more than one lane is busy with it; some of them in one turn; and only so many at a time, so that the
 * rest of upkeep comes between. The HSM has used what comes out of a new blob before it gives it away, and those of other Regions have opened
 * it. Nothing says how far it is but the records: whoever goes on after a crash finds what is left. The new blob replaces the old one in the record; what copies of the
 * file from before still have ends when the former domain key is retired.
 *
 * What cannot be wrapped anew holds up nothing else, and neither does what waits for the HSM of another Region that has to open it. Both are tried
 * again, with upkeep's pauses, for as long as they are under a former domain key; `status` says what is in the way.
 */

import { type KeyStore, type KeyStoreCapabilities, KeyStoreError } from '../../hsm/key-store.ts';
import type { BackingKeyReference } from '../../hsm/wrapped-key.ts';
import type { Logger } from '../../kms/logger.ts';
import type { BackingKeyId } from '../../kms/names.ts';
import { whenVerified } from '../../store/record-source.ts';
import { type Change, replaced } from '../../store/records/changes.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import type { Fold, Turns } from '../../store/turns.ts';
import { isSameBlob } from '../backing-key-reference.ts';
import type { KeyDirectory } from '../key-directory.ts';
import type { DomainKeys } from '../life/domain-keys.ts';
import { whyNotWrappedAgain } from './move-plan.ts';
import { assertOpenedEverywhere, whyNotOpened } from './opened-everywhere.ts';

type Directory = Pick<KeyDirectory, 'onRecord' | 'findSoundKey' | 'keyStores'>;

export interface RewrappingOptions {
  /** By their names. */
  readonly regions: ReadonlyMap<string, { readonly directory: Directory }>;
  /** Those that the configuration names. */
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly domainKeys: Pick<DomainKeys, 'of' | 'assertActive'>;
  readonly turns: Turns;
  readonly log: Logger;
}

/** What is about to be wrapped anew. */
export interface RewrappedKeys {
  readonly keyStore: string;
  readonly domainKeyId: BackingKeyId;
  readonly backingKeyIds: readonly BackingKeyId[];
}

/** For operators. */
export interface RewrappingStatus {
  /** Since the start. */
  readonly rewrapped: number;
  /** Why what is under a former domain key stays there; `null`: it does not. */
  readonly because: string | null;
  /** What is tried again, because the last time it could not be; `null`: nothing. */
  readonly waiting: { readonly backingKeys: number; readonly because: string } | null;
}

/** What becomes of material under a former domain key: it is wrapped anew, or was tried in vain and is tried again, or its HSM does not let it out. */
export type RewrappingProspect = 'coming' | 'failed' | 'never';

/** Of one turn: some hundred kilobytes of records at most. */
const inTurn = 64;
/** Of one tick of upkeep, each second: some tens of milliseconds of one lane of a software token for AES keys, a second for RSA. */
const inTick = 256;

interface Found {
  readonly directory: Directory;
  readonly record: BackingKeyRecord;
}

/** How far a key store has been gone through. */
interface Passage {
  /** Which Region is next. */
  region: number;
  /** Where in it. */
  from: bigint;
  /** Was anything wrapped anew, or something in the way of that? Then it is gone through once more. */
  hasChanged: boolean;
  /** Did something come under a former domain key meanwhile, perhaps where it was gone through already? */
  isBehind: boolean;
  /** By `nameOf`: what has been tried in vain, and is passed over. */
  readonly tried: Set<string>;
  /** How many wait for the HSM of another Region, by what is said of it. */
  readonly waiting: Map<string, number>;
}

/** Of a key store: by `nameOf`, what was tried in vain last, and what was in the way. */
type Obstacles = Map<string, string>;

export class Rewrapping implements Fold {
  readonly #options: RewrappingOptions;
  /** Key stores in which nothing was under a former domain key when somebody looked last. */
  readonly #done = new Set<string>();
  readonly #rewrapped = new Map<string, number>();
  /** Of those that are not done. */
  readonly #passages = new Map<string, Passage>();
  /** By key store. */
  readonly #obstacles = new Map<string, Obstacles>();
  /** As a passage had it when it ended, by key store. */
  readonly #waiting = new Map<string, ReadonlyMap<string, number>>();

  constructor(options: RewrappingOptions) {
    this.#options = options;
    options.turns.follow(this);
  }

  apply(changes: readonly Change[]): void {
    for (const change of changes) {
      const kind = 'put' in change ? change.put : change.remove;
      if (kind === 'domainKey') {
        this.#done.clear();
        this.#passages.clear();
        this.#waiting.clear();
      }
      if (kind !== 'backingKey') continue;
      const record = change.record as BackingKeyRecord;
      for (const obstacles of this.#obstacles.values()) obstacles.delete(nameOf(record));
      for (const { tried } of this.#passages.values()) tried.delete(nameOf(record));
      if ('put' in change && this.#isFormer(record)) this.#missed(record.keyStore);
    }
  }

  /** The key stores in which there may be something to do. */
  *pending(): Iterable<{ readonly keyStore: string; readonly sinceMs: number }> {
    for (const name of this.#options.keyStores.keys()) {
      const current = this.#current(name);
      if (current === undefined || this.#done.has(name) || this.#whyNot(name) !== null) continue;
      yield { keyStore: name, sinceMs: current.createdAtMs };
    }
  }

  /** `null` where there was one domain key alone. */
  status(name: string): RewrappingStatus | null {
    const rewrapped = this.#rewrapped.get(name) ?? 0;
    if (this.#current(name) === undefined && rewrapped === 0) return null;
    return { rewrapped, because: this.#whyNot(name), waiting: this.#inTheWay(name) };
  }

  prospect(record: Pick<BackingKeyRecord, 'keyStore' | 'backingKeyId' | 'regions'>): RewrappingProspect {
    if (this.#whyNot(record.keyStore) !== null) return 'never';
    return this.#obstacles.get(record.keyStore)?.has(nameOf(record)) === true ? 'failed' : 'coming';
  }

  /**
   * Wraps some of what is left in a key store.
   * @param announce Puts on record what is about to be done; nothing is done without it.
   * @returns Is there more?
   * @throws KeyStoreError when the key store is in the way, or something is in the way of all that is left, and what the store refuses with;
   * what was done stays so. The next call goes on.
   */
  async some(name: string, announce: (keys: RewrappedKeys) => Promise<void>): Promise<boolean> {
    const current = this.#current(name);
    if (current === undefined || this.#whyNot(name) !== null) return false;
    const passage = this.#passages.get(name) ?? newPassage();
    this.#passages.set(name, passage);
    const found = await this.#find(name, current.backingKeyId, passage);
    const isAgain = found.every(({ record }) => this.#obstaclesIn(name).has(nameOf(record)));
    let done = 0;
    for (let at = 0; at < found.length; at += inTurn) {
      const some = found.slice(at, at + inTurn);
      // What is in the way leaves some behind, which are found when it is gone through once more.
      const hadChanged = passage.hasChanged;
      passage.hasChanged = true;
      const count = await this.#rewrap(name, current.backingKeyId, some, { announce, passage });
      passage.hasChanged = hadChanged || count > 0;
      done += count;
    }
    if (passage.region < this.#options.regions.size) {
      // Where it is in vain once more, the others are tried after a pause, and not each second.
      if (isAgain && done === 0) this.#assertNothingInTheWay(name);
      return true;
    }
    this.#passages.delete(name);
    this.#waiting.set(name, passage.waiting);
    // A rotation in between has made everything former anew.
    if (this.#current(name)?.backingKeyId !== current.backingKeyId) return true;
    if (passage.hasChanged || passage.isBehind) {
      this.#passages.set(name, newPassage(passage.tried));
      return true;
    }
    this.#assertNothingInTheWay(name);
    this.#done.add(name);
    return false;
  }

  /** @returns How many it did, or has to look at once more. */
  async #rewrap(
    name: string,
    domainKeyId: BackingKeyId,
    some: readonly Found[],
    { announce, passage }: { readonly announce: (keys: RewrappedKeys) => Promise<void>; readonly passage: Passage },
  ): Promise<number> {
    const { keyStores, turns, domainKeys, log, regions } = this.#options;
    const keyStore = keyStores.get(name);
    if (keyStore === undefined) return 0;
    await announce({ keyStore: name, domainKeyId, backingKeyIds: some.map(({ record }) => record.backingKeyId) });
    const made: (Found & { readonly wrappedKey: Buffer })[] = [];
    const inTheWay = new Map<Found, string>();
    const waiting = new Set<Found>();
    for (const each of some) {
      const { directory, record } = each;
      const { wrappedKeySpec: keySpec, wrappedKeyUsage: keyUsage, publicKey } = record;
      if (keySpec === null || keyUsage === null) continue;
      const reference = await whenVerified(() => this.#referenceNow(each));
      if (reference === undefined) continue;
      try {
        const { blob } = await keyStore.wrapKey({ ...reference, domainKeyId, keySpec, keyUsage, publicKey });
        await assertOpenedEverywhere({ ...record, wrappedKey: blob, domainKeyId }, regions, name);
        // One that was lost meanwhile has opened nothing.
        if (whyNotOpened({ ...record, domainKeyId }, regions, name) === undefined)
          made.push({ directory, record, wrappedKey: blob });
        else waiting.add(each);
      } catch (error) {
        if (!(error instanceof KeyStoreError) || error.failure !== 'keyUnavailable') throw error;
        const { backingKeyId, keyId } = record;
        if ((await whenVerified(() => this.#recordNow(each))) === undefined) continue;
        inTheWay.set(each, error.message);
        if (this.#obstaclesIn(name).get(nameOf(record)) !== error.message)
          log.error({ keyStore: name, keyId, backingKeyId, err: error }, 'a backing key cannot be wrapped anew');
      }
    }
    const changed = await turns.take(
      () => {
        domainKeys.assertActive(name, domainKeyId);
        const now = made.flatMap(({ wrappedKey, ...each }) => {
          const record = this.#recordNow(each);
          return record === undefined ? [] : [{ record, wrappedKey }];
        });
        const changes = now.map(({ record, wrappedKey }) =>
          replaced('backingKey', record, { wrappedKey, domainKeyId }),
        );
        return { changes, response: new Set(now.map(({ record }) => nameOf(record))) };
      },
      { isQuiet: true },
    );
    let again = 0;
    for (const each of some) {
      const ofRegions = nameOf(each.record);
      if (changed.has(ofRegions)) continue;
      if (waiting.has(each) || this.#hasOtherRegions(each)) again++;
      else {
        this.#obstaclesIn(name).set(ofRegions, inTheWay.get(each) ?? notAsFound);
        passage.tried.add(ofRegions);
      }
    }
    this.#rewrapped.set(name, (this.#rewrapped.get(name) ?? 0) + changed.size);
    return changed.size + again;
  }

  /** Was it replicated, or a replica deleted, since it was found? Then it is asked of others whether they open it. */
  #hasOtherRegions({ directory, record }: Found): boolean {
    const now = directory.onRecord.findMaterial(record.backingKeyId)?.record;
    return now !== undefined && now.regions !== record.regions;
  }

  /** `undefined`: it was destroyed, moved, imported anew or replicated since it was found. */
  #recordNow({ directory, record: former }: Found): BackingKeyRecord | undefined {
    const record = directory.onRecord.findMaterial(former.backingKeyId)?.record;
    const isSame =
      record?.state === 'Active' &&
      record.keyStore === former.keyStore &&
      record.regions === former.regions &&
      isSameBlob(record.wrappedKey, former.wrappedKey);
    return isSame ? record : undefined;
  }

  /** What everybody uses it by: it ends with the destruction of the key, and no lane unwraps it once more that was made to forget it. */
  #referenceNow(found: Found): BackingKeyReference | undefined {
    const record = this.#recordNow(found);
    if (record === undefined) return undefined;
    const key = found.directory.findSoundKey(record.keyId);
    return key?.backingKeys.get(record.backingKeyId)?.reference;
  }

  /** The next of them, up to `inTick`. */
  async #find(keyStore: string, domainKeyId: BackingKeyId, passage: Passage): Promise<readonly Found[]> {
    const regions = [...this.#options.regions];
    for (;;) {
      const [region, parts] = regions[passage.region] ?? [];
      if (region === undefined || parts === undefined) return [];
      const { directory } = parts;
      const which = { keyStore, region, domainKeyId };
      const { records, next } = await whenVerified(() =>
        directory.onRecord.wrappedOtherwise(which, passage.from, inTick),
      );
      passage.from = next ?? 0n;
      if (next === null) passage.region++;
      const found = records.filter((record) => {
        if (passage.tried.has(nameOf(record))) return false;
        const why = whyNotOpened({ ...record, domainKeyId }, this.#options.regions, keyStore);
        // What Regions share may be found in each of them.
        const first = record.regions.split(' ').find((each) => this.#options.regions.has(each));
        if (why !== undefined && first === region) passage.waiting.set(why, (passage.waiting.get(why) ?? 0) + 1);
        return why === undefined;
      });
      if (found.length > 0) return found.map((record) => ({ directory, record }));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Something came into a key store, or stays in it, that is under a former domain key. */
  #missed(name: string): void {
    this.#done.delete(name);
    const passage = this.#passages.get(name);
    if (passage !== undefined) passage.isBehind = true;
  }

  #obstaclesIn(name: string): Obstacles {
    const obstacles = this.#obstacles.get(name) ?? new Map<string, string>();
    this.#obstacles.set(name, obstacles);
    return obstacles;
  }

  /** Of what was found when all of it was gone through last. */
  #inTheWay(name: string): RewrappingStatus['waiting'] {
    const obstacles = this.#obstaclesIn(name);
    const waiting = this.#waiting.get(name) ?? new Map<string, number>();
    const [because] = [...waiting.keys(), ...obstacles.values()];
    if (because === undefined) return null;
    return { backingKeys: [...waiting.values()].reduce((sum, count) => sum + count, obstacles.size), because };
  }

  #assertNothingInTheWay(name: string): void {
    const inTheWay = this.#inTheWay(name);
    if (inTheWay === null) return;
    const { backingKeys, because } = inTheWay;
    const those = backingKeys === 1 ? '1 backing key is' : `${backingKeys} backing keys are`;
    throw new KeyStoreError('keyUnavailable', `${those} not wrapped anew: ${because}`);
  }

  #isFormer({ state, keyStore, wrappedKey, domainKeyId }: BackingKeyRecord): boolean {
    return state === 'Active' && wrappedKey !== null && domainKeyId !== this.#current(keyStore)?.backingKeyId;
  }

  /** The domain key of now; `undefined` where there is no former one. */
  #current(name: string) {
    const active = this.#options.domainKeys.of(name).filter(({ state }) => state === 'Active');
    return active.length > 1 ? active.at(-1) : undefined;
  }

  #whyNot(name: string): string | null {
    return whyNotWrappedAgain(this.#capabilities(name));
  }

  #capabilities(name: string): KeyStoreCapabilities | undefined {
    try {
      return this.#options.keyStores.get(name)?.capabilities();
    } catch (error) {
      if (error instanceof KeyStoreError) return undefined;
      throw error;
    }
  }
}

/** Of what was not changed, though nothing was seen to be in the way. */
const notAsFound = 'its record, or that of its KMS key, was not as it had been found';

/** Imported material has one id in several Regions, and is each Region's own. */
function nameOf({ regions, backingKeyId }: Pick<BackingKeyRecord, 'regions' | 'backingKeyId'>): string {
  return `${regions} ${backingKeyId}`;
}

function newPassage(tried: ReadonlySet<string> = new Set()): Passage {
  return { region: 0, from: 0n, hasChanged: false, isBehind: false, tried: new Set(tried), waiting: new Map() };
}
