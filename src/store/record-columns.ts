/**
 * How each member of each record becomes a column, and how a column that may have been edited becomes a member again.
 *
 * The table below is complete by construction: a member that a record has and the table lacks does not compile. A
 * column holds text or a whole number and nothing else. `fromColumn` believes nothing: SQLite takes any type in any
 * column, and whoever edits the file may use that; it gives `undefined` for what no write of ours could have put there.
 */

import { connectionErrorCodes } from '../kms/connection-states.ts';
import { parseGrantId, parseGrantPrincipal } from '../kms/grant-terms.ts';
import { keySpecNames, keyUsages } from '../kms/key-specs.ts';
import { keyStates } from '../kms/key-states.ts';
import { parseAccessKeyId, parseAliasName, parseBackingKeyId, parseKeyId, parsePrincipalArn } from '../kms/names.ts';
import { operationNames } from '../kms/operation-names.ts';
import { type ColumnValue, type Member, wellFormed } from './column-member.ts';
import { grantConstraints, grantOperations } from './grant-columns.ts';
import type {
  CustomKeyStoreRecord,
  KeyRecord,
  MetadataRecords,
  PasswordRefusal,
  RecordKind,
} from './records/records.ts';

/** A branded string, known by its parser. */
function name<Value extends string>(parse: (text: string) => Value | undefined): Member<Value> {
  return {
    toColumn: wellFormed,
    fromColumn: (column) => (typeof column === 'string' ? parse(column) : undefined),
  };
}

function oneOf<const Value extends string>(values: readonly Value[]): Member<Value> {
  return name((text) => values.find((value) => value === text));
}

const text: Member<string> = name((value) => value);

/** A text that may be absent: as a column it is then empty, which no value of the member is. */
function orEmpty<Value extends string>(member: Member<Value>): Member<Value | null> {
  return {
    toColumn: (value) => (value === null ? '' : member.toColumn(value)),
    fromColumn: (column) => (column === '' ? null : member.fromColumn(column)),
  };
}

/** A whole number from 0 to 2^53 - 1. */
const integer: Member<number> = {
  toColumn(value) {
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`${value} is not a number the store can keep`);
    return value;
  },
  fromColumn(column) {
    const value = typeof column === 'bigint' ? Number(column) : column;
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  },
};

/** A time, or a number of days, that may be absent: 0 then, which none of ours is. */
const timeOrNone: Member<number | null> = {
  toColumn: (value) => (value === null ? 0 : integer.toColumn(value)),
  fromColumn(column) {
    const value = integer.fromColumn(column);
    return value === 0 ? null : value;
  },
};

/** A short list as JSON text, members in this order. */
const tags: Member<KeyRecord['tags']> = {
  toColumn: (value) => JSON.stringify(value.map((tag) => ({ TagKey: tag.TagKey, TagValue: tag.TagValue }))),
  fromColumn: (column) => (typeof column === 'string' ? parseTags(column) : undefined),
};

/** As those. */
const refusals: Member<CustomKeyStoreRecord['refusals']> = {
  toColumn: (value) => JSON.stringify(value.map((each) => [each.cloudHsmClusterId, each.connectionErrorCode])),
  fromColumn: (column) => (typeof column === 'string' ? parseRefusals(column) : undefined),
};

/** Bytes as base64, canonical. */
const bytes: Member<Buffer> = {
  toColumn: (value) => value.toString('base64'),
  fromColumn(column) {
    if (typeof column !== 'string') return undefined;
    const value = Buffer.from(column, 'base64');
    if (value.toString('base64') !== column) return undefined;
    // Memory of its own: a record is kept, and would keep the 8 KB of Node.js's pool in which its bytes were decoded.
    const own = Buffer.alloc(value.length);
    own.set(value);
    return own;
  },
};

/** The same, with no text for `null`. */
const bytesOrNull: Member<Buffer | null> = {
  toColumn: (value) => (value === null ? '' : bytes.toColumn(value)),
  fromColumn: (column) => (column === '' ? null : bytes.fromColumn(column)),
};

const recordColumns: {
  readonly [Kind in RecordKind]: {
    readonly [Name in keyof MetadataRecords[Kind]]-?: Member<MetadataRecords[Kind][Name]>;
  };
} = {
  key: {
    region: text,
    keyId: name(parseKeyId),
    version: integer,
    state: oneOf(keyStates),
    keySpec: oneOf(keySpecNames),
    keyUsage: oneOf(keyUsages),
    origin: oneOf(['AWS_KMS', 'EXTERNAL', 'AWS_CLOUDHSM']),
    keyManager: oneOf(['AWS', 'CUSTOMER']),
    description: text,
    createdAtMs: integer,
    currentBackingKeyId: orEmpty(name(parseBackingKeyId)),
    tags,
    deletionDateMs: timeOrNone,
    rotationPeriodDays: timeOrNone,
    nextRotationDateMs: timeOrNone,
    primaryRegion: text,
    deletionWindowDays: timeOrNone,
  },
  backingKey: {
    backingKeyId: name(parseBackingKeyId),
    version: integer,
    keyId: name(parseKeyId),
    regions: text,
    keyStore: text,
    residency: text,
    state: oneOf(['Creating', 'Active', 'Destroying', 'Removed']),
    owner: text,
    ordinal: integer,
    createdAtMs: integer,
    reservedEncryptions: integer,
    publicKey: bytesOrNull,
    rotationType: orEmpty(oneOf(['AUTOMATIC', 'ON_DEMAND'])),
    rotatedAtMs: timeOrNone,
    importedMaterialId: text,
    materialDescription: text,
    validToMs: timeOrNone,
    wrappedKey: bytesOrNull,
    domainKeyId: orEmpty(name(parseBackingKeyId)),
    wrappedKeySpec: orEmpty(oneOf(keySpecNames)),
    wrappedKeyUsage: orEmpty(oneOf(keyUsages)),
    formerDomainKeyIds: text,
  },
  keyPolicy: { region: text, keyId: name(parseKeyId), version: integer, document: text },
  alias: {
    region: text,
    aliasName: name(parseAliasName),
    version: integer,
    keyId: name(parseKeyId),
    createdAtMs: integer,
    updatedAtMs: integer,
  },
  grant: {
    region: text,
    version: integer,
    grantId: name(parseGrantId),
    keyId: name(parseKeyId),
    name: text,
    grantee: name(parseGrantPrincipal),
    retiring: orEmpty(name(parseGrantPrincipal)),
    issuingAccount: text,
    operations: grantOperations,
    constraints: grantConstraints,
    createdAtMs: integer,
  },
  accessKey: {
    accessKeyId: name(parseAccessKeyId),
    version: integer,
    principal: name(parsePrincipalArn),
    sealedSecret: bytes,
    createdAtMs: integer,
  },
  tombstone: {
    region: text,
    keyId: name(parseKeyId),
    version: integer,
    deletedAtMs: integer,
    domainKeyIds: text,
  },
  lastUse: {
    region: text,
    keyId: name(parseKeyId),
    version: integer,
    operation: oneOf(operationNames),
    usedAtMs: integer,
    requestId: text,
    eventId: text,
  },
  wrappingKey: {
    backingKeyId: name(parseBackingKeyId),
    region: text,
    version: integer,
    keyId: name(parseKeyId),
    keyStore: text,
    state: oneOf(['Creating', 'Active', 'Destroying']),
    owner: text,
    principal: name(parsePrincipalArn),
    wrappingAlgorithm: text,
    wrappingKeySpec: text,
    createdAtMs: integer,
    validToMs: integer,
  },
  customKeyStore: {
    region: text,
    customKeyStoreId: text,
    version: integer,
    name: text,
    cloudHsmClusterId: text,
    trustAnchorCertificate: text,
    sealedPassword: bytes,
    createdAtMs: integer,
    connection: oneOf(['DISCONNECTED', 'CONNECTING', 'CONNECTED', 'FAILED']),
    connectionErrorCode: orEmpty(oneOf(connectionErrorCodes)),
    refusals,
  },
  milestone: { milestone: text, version: integer, reachedAtMs: integer, ranMs: integer },
  upkeepWait: { work: text, version: integer, dueAtMs: integer, ranMs: integer, confirmedAtMs: timeOrNone },
  domainKey: {
    keyStore: text,
    backingKeyId: name(parseBackingKeyId),
    version: integer,
    state: oneOf(['Creating', 'Active', 'Destroying']),
    owner: text,
    ordinal: integer,
    createdAtMs: integer,
    proof: bytes,
  },
  remnant: {
    keyStore: text,
    backingKeyId: name(parseBackingKeyId),
    version: integer,
    keyId: name(parseKeyId),
    owner: text,
    createdAtMs: integer,
  },
  member: {
    keyStore: text,
    backingKeyId: name(parseBackingKeyId),
    version: integer,
    name: text,
    proof: bytes,
    seenAtMs: integer,
    leftUnder: integer,
    leftAtMs: timeOrNone,
  },
};

export const recordKinds = Object.keys(recordColumns) as readonly RecordKind[];

/** A record as columns, named as its members. */
export type Columns = Readonly<Record<string, ColumnValue>>;

/** @throws TypeError for a value that the store cannot keep to the letter. */
export function toColumns<Kind extends RecordKind>(kind: Kind, record: MetadataRecords[Kind]): Columns {
  const columns: Record<string, ColumnValue> = {};
  for (const { memberName, member } of membersOf(kind)) {
    columns[memberName] = member.toColumn(record[memberName as keyof MetadataRecords[Kind]]);
  }
  return columns;
}

/**
 * @param row Its columns in the order of `memberNames`.
 * @returns The record; or the name of the first column that no write of ours left like this.
 */
export function fromColumns<Kind extends RecordKind>(
  kind: Kind,
  row: readonly unknown[],
): { readonly record: MetadataRecords[Kind] } | { readonly badColumn: string } {
  const record: Record<string, unknown> = { ...blankRecords.get(kind) };
  const ofKind = membersOf(kind);
  // By number, since an iterator and a pair for each member are half of what this takes.
  for (let index = 0; index < ofKind.length; index++) {
    const { memberName, member } = ofKind[index] as MemberOfKind; // There are as many.
    const value = member.fromColumn(row[index]);
    if (value === undefined) return { badColumn: memberName };
    record[memberName] = value;
  }
  // The loop above filled in every member, each through the parser of its own type.
  return { record: record as unknown as MetadataRecords[Kind] };
}

/** The names of a kind's members, which are those of its columns. */
export function memberNames(kind: RecordKind): readonly string[] {
  return names.get(kind) ?? [];
}

interface MemberOfKind {
  readonly memberName: string;
  readonly member: Member<unknown>;
}

/** The table's rows, with the types of their values forgotten: a name and its member always belong together. */
const members = new Map<RecordKind, readonly MemberOfKind[]>(
  recordKinds.map((kind) => {
    const ofKind = Object.entries(recordColumns[kind] as unknown as Record<string, Member<unknown>>);
    return [kind, ofKind.map(([memberName, member]) => ({ memberName, member }))];
  }),
);

const names = new Map([...members].map(([kind, ofKind]) => [kind, ofKind.map(({ memberName }) => memberName)]));

/**
 * A record of each kind with no values yet. V8 keeps the members of a copy within the object, and those that are added to an empty
 * one beside it, in a table for each record: a fourth more memory for each key (measured, Node.js 24).
 */
const blankRecords = new Map(
  [...names].map(([kind, ofKind]) => {
    const blank = JSON.stringify(Object.fromEntries(ofKind.map((memberName) => [memberName, null])));
    return [kind, JSON.parse(blank) as Record<string, unknown>];
  }),
);

function membersOf(kind: RecordKind): readonly MemberOfKind[] {
  return members.get(kind) ?? [];
}

function parseTags(column: string): KeyRecord['tags'] | undefined {
  try {
    const list: unknown = JSON.parse(column);
    if (!Array.isArray(list)) return undefined;
    const parsed: { TagKey: string; TagValue: string }[] = [];
    for (const item of list) {
      if (typeof item?.TagKey !== 'string' || typeof item.TagValue !== 'string') return undefined;
      parsed.push({ TagKey: item.TagKey, TagValue: item.TagValue });
    }
    return parsed;
  } catch {
    // Not JSON: no write of ours.
    return undefined;
  }
}

function parseRefusals(column: string): CustomKeyStoreRecord['refusals'] | undefined {
  try {
    const list: unknown = JSON.parse(column);
    if (!Array.isArray(list)) return undefined;
    const parsed: PasswordRefusal[] = [];
    for (const item of list) {
      if (!Array.isArray(item) || item.length !== 2 || typeof item[0] !== 'string') return undefined;
      const connectionErrorCode = connectionErrorCodes.find((code) => code === item[1]);
      if (connectionErrorCode === undefined) return undefined;
      parsed.push({ cloudHsmClusterId: item[0], connectionErrorCode });
    }
    return parsed;
  } catch {
    // Not JSON: no write of ours.
    return undefined;
  }
}
