/**
 * All grants of one Region: a part of the fold over the records that `key-directory.ts` is. They are in memory, or, where there is a
 * source of them, those of the keys that were asked for last are.
 *
 * A grant is in force from the moment that its record is on disk until the moment that its removal is: each is one change of
 * one row, so a crash leaves it or not. What a grant allows is judged in `authorization/`; here it is only kept and found.
 */

import type { Quotas } from '../../kms/budgets.ts';
import { KmsError } from '../../kms/errors.ts';
import { type GrantId, type GrantPrincipal, newGrantId } from '../../kms/grant-terms.ts';
import type { KeyId } from '../../kms/names.ts';
import { added, type Change } from '../../store/records/changes.ts';
import type { GrantRecord } from '../../store/records/records.ts';
import { type NameList, type Page, SortedNames } from '../lists/sorted-names.ts';
import type { GrantTokens } from './grant-tokens.ts';
import { constraintBytesOf, type GrantParameters, KeyGrants } from './key-grants.ts';

/**
 * Of all constraints of one key's grants, which are held in memory: 1,342 bytes for each of 50,000 grants. Without this bound, they could have 8 KB each, and one grantee with CreateGrant could fill the memory.
 */
const maxConstraintBytesPerKey = 64 * 1024 * 1024;

/** Where grants are read that are not in memory. */
export interface GrantSource {
  readonly records: {
    select(kind: 'grant', members: Partial<Record<'region' | 'keyId' | 'grantId', string>>): readonly GrantRecord[];
    grantIds(region: string, retiring: string, after: string | undefined, limit: number): Page<GrantId>;
  };
  readonly region: string;
  /** So many are kept in memory, and those of one key beside. */
  readonly maxKept: number;
}

export class Grants {
  readonly #tokens: GrantTokens;
  readonly #maxPerKey: number;
  readonly #byId = new Map<GrantId, GrantRecord>();
  /** Where there is a source, those that were read last are the last. */
  readonly #byKey = new Map<KeyId, KeyGrants>();
  readonly #idsByRetiring = new Map<GrantPrincipal, SortedNames<GrantId>>();

  /** Keys that were found to have none. */
  readonly #without = new Set<KeyId>();
  #source: GrantSource | undefined;

  constructor(tokens: GrantTokens, { grantsPerKey }: Pick<Quotas, 'grantsPerKey'>) {
    this.#tokens = tokens;
    this.#maxPerKey = grantsPerKey;
  }

  /** From now on they are read there. */
  readFrom(source: GrantSource): void {
    this.#source = source;
  }

  find(grantId: GrantId): GrantRecord | undefined {
    const known = this.#byId.get(grantId);
    if (known !== undefined || this.#source === undefined) return known;
    const { records, region } = this.#source;
    return records.select('grant', { region, grantId })[0];
  }

  /** The grant that a token names; `undefined` for what is no token, and when the grant is gone. */
  findByToken(token: string): GrantRecord | undefined {
    const grantId = this.#tokens.read(token);
    return grantId === undefined ? undefined : this.find(grantId);
  }

  newToken(grantId: GrantId): string {
    return this.#tokens.issue(grantId);
  }

  /** The grants of a key; `undefined` when it has none. */
  ofKey(keyId: KeyId): KeyGrants | undefined {
    if (this.#without.has(keyId)) return undefined;
    return this.#byKey.get(keyId) ?? this.#read(keyId);
  }

  /** The store was looked into for another reason: there is no grant of this key. */
  hasNone(keyId: KeyId): void {
    if (this.#source !== undefined && !this.#byKey.has(keyId)) this.#addWithout(keyId, this.#source.maxKept);
  }

  /** The key is in memory no more. */
  forgetNone(keyId: KeyId): void {
    this.#without.delete(keyId);
  }

  /** The records of all grants of a key. */
  allOf(keyId: KeyId): readonly GrantRecord[] {
    const ids = this.ofKey(keyId)?.ids;
    if (ids === undefined) return [];
    return ids.page(undefined, ids.size).names.flatMap((grantId) => this.#byId.get(grantId) ?? []);
  }

  /** The ids of all grants that this principal may retire, whatever their keys. */
  idsRetirableBy(retiring: GrantPrincipal): NameList<GrantId> {
    const source = this.#source;
    if (source !== undefined)
      return { page: (after, limit) => source.records.grantIds(source.region, retiring, after, limit) };
    return this.#idsByRetiring.get(retiring) ?? new SortedNames();
  }

  /**
   * The change that makes a grant, with the grant that it makes.
   * @throws KmsError `LimitExceededException` when the key has as many grants, or constraints, as it can have.
   */
  newGrant(parameters: GrantParameters, nowMs: number): { readonly change: Change; readonly record: GrantRecord } {
    const { count, constraintBytes } = this.ofKey(parameters.keyId) ?? { count: 0, constraintBytes: 0 };
    if (count >= this.#maxPerKey) {
      throw new KmsError(
        'LimitExceededException',
        `Grants per key quota for this account in this region is ${this.#maxPerKey}, current usage is ${count}.`,
      );
    }
    if (constraintBytes + constraintBytesOf(parameters) > maxConstraintBytesPerKey) {
      throw new KmsError(
        'LimitExceededException',
        `The constraints of the grants of a KMS key can have at most ${maxConstraintBytesPerKey} bytes.`,
      );
    }
    const record: GrantRecord = { ...parameters, version: 1, grantId: newGrantId(), createdAtMs: nowMs };
    return { change: added('grant', record), record };
  }

  /** Takes a grant that is in the store. */
  show(grant: GrantRecord): void {
    this.#without.delete(grant.keyId);
    // Those of its key are read when they are asked for, this one among them.
    if (this.#source !== undefined && !this.#byKey.has(grant.keyId)) return;
    this.#show(grant);
  }

  #show(grant: GrantRecord): void {
    this.hide(grant.grantId);
    this.#byId.set(grant.grantId, grant);
    const ofKey = this.#byKey.get(grant.keyId) ?? new KeyGrants();
    this.#byKey.set(grant.keyId, ofKey);
    ofKey.add(grant);
    if (grant.retiring === null) return;
    const retirable = this.#idsByRetiring.get(grant.retiring) ?? new SortedNames<GrantId>();
    this.#idsByRetiring.set(grant.retiring, retirable);
    retirable.add(grant.grantId);
  }

  #read(keyId: KeyId): KeyGrants | undefined {
    if (this.#source === undefined) return undefined;
    const { records, region, maxKept } = this.#source;
    const grants = records.select('grant', { region, keyId });
    if (grants.length === 0) {
      this.#addWithout(keyId, maxKept);
      return undefined;
    }
    for (const [oldest, { ids }] of this.#byKey) {
      if (this.#byId.size <= maxKept) break;
      for (const grantId of ids.page(undefined, ids.size).names) this.hide(grantId);
      this.#byKey.delete(oldest);
    }
    for (const grant of grants) this.#show(grant);
    return this.#byKey.get(keyId);
  }

  #addWithout(keyId: KeyId, maxKept: number): void {
    if (this.#without.size >= maxKept) this.#without.clear();
    this.#without.add(keyId);
  }

  /** Forgets a grant that is in the store no more. */
  hide(grantId: GrantId): void {
    const grant = this.#byId.get(grantId);
    if (grant === undefined) return;
    this.#byId.delete(grantId);
    const ofKey = this.#byKey.get(grant.keyId);
    ofKey?.remove(grant);
    if (ofKey?.count === 0) this.#byKey.delete(grant.keyId);
    if (grant.retiring === null) return;
    const retirable = this.#idsByRetiring.get(grant.retiring);
    retirable?.remove(grant.grantId);
    if (retirable?.size === 0) this.#idsByRetiring.delete(grant.retiring);
  }
}
