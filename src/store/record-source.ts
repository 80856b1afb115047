/**
 * Records that are read when they are asked for, where there are too many to have all of them in memory.
 *
 * INVARIANT: what comes out of here as a record is in force, and its MAC was verified: by the HSM, the first time that it is asked for
 * since the start, or by having been written here. Reading is synchronous and waits for the disk at most; the HSM is not waited for
 * in it. Where something has yet to be verified, `UnverifiedRecords` is thrown: whoever can wait has it verified and asks again.
 */

import type { GrantId } from '../kms/grant-terms.ts';
import type { AliasName, KeyId } from '../kms/names.ts';
import type { QuarantinedRecord } from './quarantined-record.ts';
import type { MetadataRecords, RecordKind } from './records/records.ts';

/** The kinds of which there can be as many as there are keys. */
export const numerousKinds = ['key', 'backingKey', 'keyPolicy', 'alias', 'grant', 'lastUse'] as const;
export type NumerousKind = (typeof numerousKinds)[number];

export function isNumerous(kind: RecordKind): kind is NumerousKind {
  return (numerousKinds as readonly string[]).includes(kind);
}

/** What names a record, or some of them: columns and their values. */
export type Members<Kind extends NumerousKind> = Partial<Record<keyof MetadataRecords[Kind] & string, string>>;

/** Some names in order. */
export interface NamesFound<Name> {
  readonly names: readonly Name[];
  /** Is there more behind the last one? */
  readonly truncated: boolean;
}

/** Wrapped material of a Region that is not under this domain key of its key store. */
export interface WrappedOtherwise {
  readonly keyStore: string;
  readonly region: string;
  readonly domainKeyId: string;
}

/** Some of all that there is. */
export interface MaterialPage {
  readonly records: readonly MetadataRecords['backingKey'][];
  /** Where to go on; `null`: that was all. */
  readonly next: bigint | null;
}

/** What there is of a KMS key in one Region. */
export interface KeyFound {
  readonly key: MetadataRecords['key'];
  readonly policy: MetadataRecords['keyPolicy'] | undefined;
  /** Of all Regions. */
  readonly backingKeys: readonly MetadataRecords['backingKey'][];
  /** Is there a row of a grant of it, whatever it says? */
  readonly hasGrants: boolean;
}

/** What was done of all keys that there are. */
export interface KeysVerified {
  /** So many that had not been verified yet. */
  readonly verified: number;
  /** Where to go on; `null`: that was all, or there is no room for more. */
  readonly next: bigint | null;
}

export interface RecordSource {
  /**
   * A KMS key. Where anything of it has yet to be verified, that is begun of all of it together, and of some of its grants: whoever asks
   * for the key goes on to ask for these. Throws as `select`.
   */
  readKey(region: string, keyId: KeyId): KeyFound | undefined;
  /**
   * The records with these members, those that do not verify left out. There is an index for the primary key of each kind, for `keyId`,
   * and for `retiring` of grants.
   * @throws UnverifiedRecords
   * @throws StoreError when the disk refuses.
   */
  select<Kind extends NumerousKind>(kind: Kind, members: Members<Kind>): readonly MetadataRecords[Kind][];
  /** Is there a row of it, whatever it says? */
  has<Kind extends NumerousKind>(kind: Kind, members: Members<Kind>): boolean;
  /** Why a record of this id is not used; `undefined` for one that is, or was not looked at. */
  problemOf(kind: NumerousKind, id: string, region: string | null): string | undefined;
  grantIds(region: string, retiring: string, after: string | undefined, limit: number): NamesFound<GrantId>;
  keyIds(region: string, after: string | undefined, limit: number): NamesFound<KeyId>;
  /** In the order of their names. Throws as `select`. */
  aliases(
    region: string,
    after: string | undefined,
    limit: number,
  ): NamesFound<AliasName> & { readonly records: readonly MetadataRecords['alias'][] };
  /** How many rows there are of a kind in a Region. */
  count(kind: Exclude<NumerousKind, 'backingKey'>, region: string): number;
  /** Material in this key store that is in its token, or is being made or destroyed there; where there is other, one of that. */
  materialsIn(keyStore: string): readonly MetadataRecords['backingKey'][];
  /**
   * @param from 0, or where a page before said to go on. One page goes through some thousand records, and may have found none.
   * @throws UnverifiedRecords
   */
  wrappedOtherwise(which: WrappedOtherwise, from: bigint, limit: number): MaterialPage;
  /** All material that is wrapped, likewise; not by an index, of which somebody may have taken some out. */
  wrapped(from: bigint, limit: number): MaterialPage;
  /** So many keys, each in one Region, are verified and kept, so that they are not read again. */
  readonly keysAtHand: number;
  /**
   * Has the HSM verify some keys that nobody has asked for yet, so that they are at hand when somebody does.
   * @param from 0, or where a call before said to go on. @param limit Of keys that have not been verified yet.
   */
  verifyKeys(from: bigint, limit: number): Promise<KeysVerified>;
  /** Verifies all that has not been yet. @param isEnough Asked in between: ends it early. */
  verifyAll(isEnough?: () => boolean): Promise<void>;
  /** Have all been verified? */
  readonly isVerified: boolean;
  /** Who is told of each record that does not verify, also of those that were found since the start. */
  whenRefused(listener: (record: QuarantinedRecord) => void): void;
}

/** Something that was asked for has yet to be verified, which has begun: whoever does not wait for it can be asked again later. */
export class UnverifiedRecords extends Error {
  readonly #verification: Promise<void>;

  constructor(verification: Promise<void>) {
    // It tells of no mistake, and where it came from nobody asks: to write that down takes longer than to read the records.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super('records have yet to be verified by the HSM; try again');
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'UnverifiedRecords';
    this.#verification = verification;
    verification.catch(() => undefined); // Whoever waits hears of it.
  }

  /** Resolves when it makes sense to ask again. @throws what the HSM fails with. */
  verify(): Promise<void> {
    return this.#verification;
  }
}

/**
 * Asks until all that it takes is verified.
 * @param ask It is repeated, so it changes nothing but what it gives.
 */
export async function whenVerified<Answer>(ask: () => Answer | Promise<Answer>): Promise<Answer> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof UnverifiedRecords)) throw error;
      await error.verify();
    }
  }
}
