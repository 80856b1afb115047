/**
 * KMS keys, each read with its policy and its material when somebody asks for it, or before: what was read and verified is kept
 * (`verified-keys.ts`), and what waits for the HSM is not read twice (`keys-looked-up.ts`).
 */

import { type SqlBool, sql } from 'kysely';
import { type KeyId, parseKeyId } from '../kms/names.ts';
import { rowsOfKey, rowsOfKeyStatement } from './key-rows.ts';
import { KeysLookedUp, type SeenKey } from './keys-looked-up.ts';
import { lowestRow, type PreparedReads } from './prepared-reads.ts';
import type { ReaderParts } from './record-reader.ts';
import { type KeyFound, type KeysVerified, type Members, UnverifiedRecords } from './record-source.ts';
import { selection, tables } from './record-statements.ts';
import type { Replaced } from './transactions.ts';
import { type RoomForKeys, VerifiedKeys } from './verified-keys.ts';
import type { SeenRow, VerifiedRows } from './verified-rows.ts';

export class KeysOnRecord {
  readonly #parts: Pick<ReaderParts, 'db'>;
  readonly #reads: PreparedReads;
  readonly #rows: VerifiedRows;
  readonly #lookedUp = new KeysLookedUp();
  readonly #verified: VerifiedKeys;
  /** So many transactions have been followed. */
  #written = 0;

  /** @param room For keys that were read, packed. */
  constructor(parts: Pick<ReaderParts, 'db' | 'formats'>, reads: PreparedReads, rows: VerifiedRows, room: RoomForKeys) {
    this.#parts = parts;
    this.#reads = reads;
    this.#rows = rows;
    this.#verified = new VerifiedKeys(rows, parts.formats, room);
  }

  /** As `RecordSource.keysAtHand`. */
  get atHand(): number {
    return this.#verified.count;
  }

  /** Is it a key by its Region and its id that these members name, and one that is verified and kept? */
  areAtHand({ region, keyId, ...others }: Members<'key'>): boolean {
    const id = keyId === undefined ? undefined : parseKeyId(keyId);
    return (
      region !== undefined && id !== undefined && Object.keys(others).length === 0 && this.#verified.has(region, id)
    );
  }

  /** As `RecordSource.readKey`. */
  read(region: string, keyId: KeyId): KeyFound | undefined {
    const verified = this.#verified.find(region, keyId);
    if (verified !== undefined) return verified;
    const unverified: SeenRow[] = [];
    const name = `${region} ${keyId}`;
    const seen = this.#lookedUp.of(name) ?? this.#see(region, keyId);
    const found = this.#foundIn(region, keyId, seen, unverified);
    if (unverified.length === 0) {
      this.#lookedUp.drop(name);
      return found;
    }
    this.#lookedUp.keep(name, seen);
    if (seen.hasGrants) this.#readGrantsAhead(region, keyId, unverified);
    throw new UnverifiedRecords(this.#rows.verifySoon(unverified));
  }

  /** As `RecordSource.verifyKeys`. */
  async verify(from: bigint, limit: number): Promise<KeysVerified> {
    if (this.#verified.isFull) return { verified: 0, next: null };
    const statement = this.#reads.named('keys behind', () => {
      const some = this.#parts.db.selectFrom(tables.key).select(['region', 'keyId', sql<bigint>`rowid`.as('rowid')]);
      return some.where(sql<SqlBool>`rowid >= ${0}`).orderBy(sql`rowid`).limit(1).compile().sql;
    });
    const unverified: SeenRow[] = [];
    const seen: { readonly region: string; readonly keyId: KeyId; readonly of: SeenKey }[] = [];
    let next: bigint | null = null;
    for (const [region, id, rowid] of this.#reads.all(statement, [lowestRow + from, 2 * limit])) {
      if (seen.length === limit) break;
      next = (rowid as bigint) + 1n - lowestRow;
      const [ofRegion, keyId] = [String(region), parseKeyId(String(id))];
      if (keyId === undefined || this.#verified.has(ofRegion, keyId)) continue;
      const of = this.#see(ofRegion, keyId);
      this.#foundIn(ofRegion, keyId, of, unverified);
      seen.push({ region: ofRegion, keyId, of });
    }
    const written = this.#written;
    await this.#rows.verify(unverified);
    for (const { region, keyId, of } of seen) {
      if (this.#verified.has(region, keyId)) continue;
      // What was written meanwhile may be another version of what was read.
      this.#foundIn(region, keyId, this.#written === written ? of : this.#see(region, keyId), []);
    }
    return { verified: seen.length, next: this.#verified.isFull ? null : next };
  }

  /** As `VerifiedKeys.forget`. */
  forget(rows: readonly SeenRow[]): void {
    this.#verified.forget(rows);
  }

  /** Of what a transaction is about to replace. To be told before the rows are asked of it. */
  foresee(records: Pick<Replaced, 'rows'>): void {
    this.#verified.foresee(records);
  }

  /** What a transaction has put into the place of what, once it is on disk. To be told before the rows are. */
  follow(records: Replaced): void {
    this.#written++;
    this.#lookedUp.clear();
    this.#verified.follow(records);
  }

  #see(region: string, keyId: KeyId): SeenKey {
    const statement = this.#reads.named('rows of a key', () => rowsOfKeyStatement);
    const { hasGrants, ...rows } = rowsOfKey(this.#reads.all(statement, [region, keyId]));
    return {
      key: rows.key.map((row) => this.#rows.see('key', row)),
      keyPolicy: rows.keyPolicy.map((row) => this.#rows.see('keyPolicy', row)),
      backingKey: rows.backingKey.map((row) => this.#rows.see('backingKey', row)),
      hasGrants,
    };
  }

  /** What there is of it, kept where all of that is verified. Rows that are not yet are added to `unverified`. */
  #foundIn(region: string, keyId: KeyId, seen: SeenKey, unverified: SeenRow[]): KeyFound | undefined {
    const ofKey = { region, keyId };
    const [key] = this.#rows.recordsOf('key', seen.key, ofKey, unverified);
    const [policy] = this.#rows.recordsOf('keyPolicy', seen.keyPolicy, ofKey, unverified);
    const backingKeys = this.#rows.recordsOf('backingKey', seen.backingKey, { keyId }, unverified);
    if (key === undefined) return undefined;
    const isAll =
      seen.backingKey.length === backingKeys.length && seen.keyPolicy.length === (policy === undefined ? 0 : 1);
    if (isAll) this.#verified.keep(region, keyId, seen);
    return { key, policy, backingKeys, hasGrants: seen.hasGrants };
  }

  /** Adds some of those that are not verified yet to `unverified`. */
  #readGrantsAhead(region: string, keyId: KeyId, unverified: SeenRow[]): void {
    const statement = this.#reads.named('grants ahead', () => {
      const all = selection(this.#parts.db, 'grant').where('region', '=', '').where('keyId', '=', '');
      // To the letter: SQLite prepares a statement anew each time that it is given a limit (3.53), which takes longer than to read.
      return all.limit(sql.lit(readAhead)).compile().sql;
    });
    for (const row of this.#reads.all(statement, [region, keyId]))
      this.#rows.isKnown(this.#rows.see('grant', row), unverified);
  }
}

/** So many grants of a key are verified with it: as many as most have. Of one with thousands, whoever asks for them waits. */
const readAhead = 8;
