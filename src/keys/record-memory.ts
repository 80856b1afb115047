/**
 * What the records of one Region take in memory, and how much more of it each payer may take.
 *
 * All records are in memory, and quotas alone do not bound them: 100,000 keys with 32 KB of policy each would be gigabytes, as
 * would be 50,000 grants of each of a hundred keys. So what records take is told from what stands in them (measured:
 * `test/keys/record-memory.test.ts`), and whoever makes more of it is refused where all of them together, or what he himself
 * added since the daemon started, is more than the budget. What exists stays usable, and what makes less of it is always taken.
 *
 * What a payer added is not on record: a start forgets it, and the bound of all together remains. Where there are too many keys for
 * all to be in memory (`keysInMemory`), what a payer may add is bounded as ever, and all together by the quota of keys alone.
 */

import type { MemoryBudget } from '../kms/budgets.ts';
import { KmsError } from '../kms/errors.ts';
import type { Payer } from '../kms/payer.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import type { Change } from '../store/records/changes.ts';
import type { MetadataRecords } from '../store/records/records.ts';
import type { AliasDirectory } from './alias-directory.ts';
import type { Grants } from './grants/grant-directory.ts';
import type { RecordsOfKeys } from './records-of-keys.ts';
import { isOfRegion } from './regions-of-material.ts';
import type { Tombstones } from './tombstones.ts';

/** On whose account records are made. Operators have all the room that there is, and others what is not kept for them. */
export interface MemoryAccount {
  readonly payer: Payer;
  readonly isOperator: boolean;
}

/** Where the records are that a change replaces. */
export interface RecordSources {
  readonly records: Pick<RecordsOfKeys, 'of'>;
  readonly aliases: Pick<AliasDirectory, 'find'>;
  readonly grants: Pick<Grants, 'find'>;
  readonly tombstones: Pick<Tombstones, 'has'>;
}

/** A part of all that is kept for operators: so much that they can put a policy on each of some hundred keys. */
const operatorsPart = 1 / 64;

type Budget = Pick<MemoryBudget, 'recordBytes' | 'recordBytesPerPayer'>;

export class RecordMemory {
  readonly #sources: RecordSources;
  readonly #budget: Budget;
  readonly #added = new Map<Payer, number>();
  #bytes = 0;
  #isBounded = true;
  /** By how much changes that are about to be written make it more. */
  readonly #foreseen = new WeakMap<Change, number>();

  constructor(sources: RecordSources, budget: Budget) {
    this.#sources = sources;
    this.#budget = budget;
  }

  /** What all records take. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Counts what was loaded. */
  take(loaded: LoadedMetadata, region: string): void {
    for (const kind of countedKinds) {
      for (const record of loaded[kind]) if (isOfRegion(record, region)) this.#bytes += bytesOf(kind, record);
    }
  }

  /** From now on records are read when they are asked for, and those that nobody asks for take no memory: all together have no bound here. */
  readOnDemand(): void {
    this.#isBounded = false;
  }

  /** Before changes of this Region are written: where records are read on demand, what they replace is gone after. */
  foresee(change: Change): void {
    this.#foreseen.set(change, this.#growthBy(change));
  }

  /** Counts a change of this Region that is on disk. To be told before the sources are. */
  follow(change: Change): void {
    this.#bytes += this.#foreseen.get(change) ?? this.#growthBy(change);
  }

  /**
   * Before anything is made in the HSM for a change that adds records.
   * @throws KmsError `LimitExceededException`
   */
  assertNotFull(account: MemoryAccount): void {
    this.#assertRoom(account, 1);
  }

  /**
   * Takes the room that the changes need from their account. Less is always taken.
   * @returns How much that was, for `giveBack` where they are not written.
   * @throws KmsError `LimitExceededException`
   */
  charge(changes: readonly Change[], account: MemoryAccount): number {
    const growth = changes.reduce((sum, change) => sum + this.#growthBy(change), 0);
    if (growth > 0) this.#assertRoom(account, growth);
    const before = this.#added.get(account.payer) ?? 0;
    return this.#add(account.payer, Math.max(growth, -before));
  }

  giveBack(payer: Payer, charged: number): void {
    this.#add(payer, -charged);
  }

  #add(payer: Payer, bytes: number): number {
    const added = (this.#added.get(payer) ?? 0) + bytes;
    if (added > 0) this.#added.set(payer, added);
    else this.#added.delete(payer);
    return bytes;
  }

  #assertRoom({ payer, isOperator }: MemoryAccount, growth: number): void {
    const { recordBytes, recordBytesPerPayer } = this.#budget;
    const max = isOperator ? recordBytes : recordBytes * (1 - operatorsPart);
    if (this.#isBounded && this.#bytes + growth > max)
      throw full(
        `of all keys, policies, aliases and grants of this region take ${this.#bytes} bytes`,
        max,
        'recordBytes',
      );
    const added = this.#added.get(payer) ?? 0;
    if (!isOperator && added + growth > recordBytesPerPayer)
      throw full(`that ${payer} has added take ${added} bytes`, recordBytesPerPayer, 'recordBytesPerPayer');
  }

  #growthBy(change: Change): number {
    const kind = 'put' in change ? change.put : change.remove;
    if (!isCounted(kind)) return 0;
    const before = this.#bytesBefore(change.record, kind);
    // Safe: a change has the record of its kind.
    return ('put' in change ? bytesOf(kind, change.record as MetadataRecords[typeof kind]) : 0) - before;
  }

  #bytesBefore(record: Change['record'], kind: CountedKind): number {
    const { records, aliases, grants, tombstones } = this.#sources;
    // Safe: as above.
    switch (kind) {
      case 'key':
        return bytesOf('key', records.of((record as MetadataRecords['key']).keyId)?.key);
      case 'keyPolicy':
        return bytesOf('keyPolicy', records.of((record as MetadataRecords['keyPolicy']).keyId)?.policy);
      case 'backingKey': {
        const { keyId, backingKeyId } = record as MetadataRecords['backingKey'];
        return bytesOf('backingKey', records.of(keyId)?.backingKeys.get(backingKeyId));
      }
      case 'alias':
        return bytesOf('alias', aliases.find((record as MetadataRecords['alias']).aliasName));
      case 'grant':
        return bytesOf('grant', grants.find((record as MetadataRecords['grant']).grantId));
      case 'tombstone': {
        const tombstone = record as MetadataRecords['tombstone'];
        return bytesOf('tombstone', tombstones.has(tombstone.keyId) ? tombstone : undefined);
      }
      default:
        return kind satisfies never;
    }
  }
}

/** The others are bounded by other means, or by the number of these. */
const countedKinds = ['key', 'backingKey', 'keyPolicy', 'alias', 'grant', 'tombstone'] as const;
type CountedKind = (typeof countedKinds)[number];

function isCounted(kind: string): kind is CountedKind {
  return (countedKinds as readonly string[]).includes(kind);
}

/** What a record takes beside its texts, with its part of every index; of a key also what is derived from it. */
const bytesPer = {
  key: 1400,
  tag: 96,
  backingKey: 1000,
  wrappedKey: 480,
  keyPolicy: 800,
  alias: 380,
  /** To a grantee of its own. */
  grant: 1700,
  grantOperation: 680,
  grantName: 320,
  retiringPrincipal: 380,
  pair: 200,
  tombstone: 700,
};

type Weights = { readonly [Kind in CountedKind]: (record: MetadataRecords[Kind]) => number };

const weights: Weights = {
  key: ({ description, tags }) =>
    bytesPer.key +
    textBytes(description) +
    tags.reduce((sum, { TagKey, TagValue }) => sum + bytesPer.tag + textBytes(TagKey) + textBytes(TagValue), 0),
  backingKey: ({ publicKey, wrappedKey, materialDescription }) =>
    bytesPer.backingKey +
    (publicKey?.length ?? 0) +
    (wrappedKey === null ? 0 : bytesPer.wrappedKey + wrappedKey.length) +
    textBytes(materialDescription),
  // A long text takes a little more than its characters, by where it is put.
  keyPolicy: ({ document }) => bytesPer.keyPolicy + Math.ceil((textBytes(document) * 17) / 16),
  alias: ({ aliasName }) => bytesPer.alias + textBytes(aliasName),
  grant: ({ name, grantee, retiring, operations, constraints }) => {
    const pairs = [constraints.EncryptionContextEquals, constraints.EncryptionContextSubset].flatMap((each) =>
      Object.entries(each ?? {}),
    );
    const ofPairs = pairs.reduce((sum, [key, value]) => sum + bytesPer.pair + textBytes(key) + textBytes(value), 0);
    const texts = [name, grantee, retiring ?? '', constraints.SourceArn ?? ''];
    const ofParts =
      operations.length * bytesPer.grantOperation +
      (name === '' ? 0 : bytesPer.grantName) +
      (retiring === null ? 0 : bytesPer.retiringPrincipal);
    return texts.reduce((sum, text) => sum + textBytes(text), bytesPer.grant + ofParts + ofPairs);
  },
  tombstone: () => bytesPer.tombstone,
};

function bytesOf<Kind extends CountedKind>(kind: Kind, record: MetadataRecords[Kind] | undefined): number {
  return record === undefined ? 0 : weights[kind](record);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: all of Latin-1 is meant.
const wide = /[^\u0000-\u00ff]/;

/** As V8 keeps it. */
function textBytes(text: string): number {
  return wide.test(text) ? 2 * text.length : text.length;
}

function full(what: string, max: number, budget: string): KmsError {
  return new KmsError(
    'LimitExceededException',
    `The records ${what} of memory, and can take at most ${Math.floor(max)}. Delete what is not needed, or have an operator raise budgets.memory.${budget}.`,
  );
}
