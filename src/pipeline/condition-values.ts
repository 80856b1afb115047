/** Where the values of condition keys come from: the request, the key, the caller. One small function each. */

import { isIP } from 'node:net';
import { stepsPerLook, tooMuchWork, type WorkBudget } from '../authorization/language/work-budget.ts';
import type { Caller, PeerFacts } from '../identity/caller.ts';
import { foldCase, stepsToFold } from '../kms/case-folding.ts';
import type { ConditionSource, QuestionKey } from './question-source.ts';

/** `undefined`: the key is not in the context. */
export type Values = readonly string[] | undefined;
export type Draw = (question: ConditionSource, parameter: string) => Values;

type Members = Readonly<Record<string, unknown>>;

export function one(value: unknown): Values {
  return value === undefined || value === null ? undefined : [String(value)];
}

/** A member of the request, or what holds where the request does not have it. */
export function member(name: string, whenAbsent?: string): Draw {
  return ({ source }) => one(source.request[name] ?? whenAbsent);
}

/** A property of the key, or, of a key that is being created, of the one that it will be like, or what the request asks for. */
export function property(ofKey: (key: Pick<QuestionKey, 'record'>) => unknown, ofRequest: Draw): Draw {
  return (question, parameter) => {
    const { need, source } = question;
    const key = question.key ?? need.like?.(source.request, source.askedOf ?? source.directory);
    return key === undefined ? ofRequest(question, parameter) : one(ofKey(key));
  };
}

export function listOf(value: unknown): Values {
  return Array.isArray(value) ? value.map(String) : undefined;
}

/** The member of a request that is the encryption context of a permission: ReEncrypt has one for each of its two. */
export function encryptionContextMember(action: string): string {
  if (action === 'kms:ReEncryptFrom') return 'SourceEncryptionContext';
  return action === 'kms:ReEncryptTo' ? 'DestinationEncryptionContext' : 'EncryptionContext';
}

/** CreateGrant's is the one that it constrains the grant to. */
function encryptionContextOf({ need, source: { request } }: ConditionSource): Members {
  if (need.action !== 'kms:CreateGrant') return membersOf(request[encryptionContextMember(need.action)]);
  const { EncryptionContextEquals, EncryptionContextSubset } = constraintsOf(request);
  return { ...membersOf(EncryptionContextSubset), ...membersOf(EncryptionContextEquals) };
}

function membersOf(value: unknown): Members {
  // Safe: the schemas let only objects through where these members stand.
  return (value ?? {}) as Members;
}

/** In how many ways, that differ in case alone, an encryption context can spell a name that a policy asks about. */
export const maxSpellings = 8;

export const encryptionContextValues: Draw = (question, name) => {
  const values = valuesNamed(question, 'encryption context', () => encryptionContextOf(question), name);
  // No program does that: it would make each of them a value to be compared with every pattern.
  if (values !== undefined && values.length > maxSpellings) throw tooMuchWork();
  return values;
};

/** Absent without an encryption context, as AWS documents it for `Null`. */
export const encryptionContextKeys: Draw = (question) => {
  const keys = Object.keys(encryptionContextOf(question));
  question.spend(keys.length);
  return keys.length === 0 ? undefined : keys;
};

type ValuesByName = ReadonlyMap<string, readonly string[]>;
/** What was gone through for a question: its encryption context, the tags of its request, those of its key. */
const familiesOf = new WeakMap<ConditionSource, Map<string, ValuesByName>>();

/**
 * The members of a family by the folded form of their names. All are gone through once for a question, for which its budget
 * pays, however many of them a policy asks about.
 */
function valuesNamed(question: ConditionSource, family: string, members: () => Members, name: string): Values {
  let families = familiesOf.get(question);
  if (families === undefined) {
    families = new Map();
    familiesOf.set(question, families);
  }
  let values = families.get(family);
  if (values === undefined) {
    values = byFoldedName(question, members());
    families.set(family, values);
  }
  question.spend(stepsToFold(name));
  return values.get(foldCase(name));
}

function byFoldedName(budget: WorkBudget, members: Members): ReadonlyMap<string, readonly string[]> {
  const values = new Map<string, string[]>();
  for (const name of Object.keys(members)) {
    budget.spend(stepsPerLook + stepsToFold(name));
    const folded = foldCase(name);
    const known = values.get(folded);
    if (known === undefined) values.set(folded, [String(members[name])]);
    else known.push(String(members[name]));
  }
  return values;
}

export function constraintsOf(request: Members): Members {
  return membersOf(request['Constraints']);
}

export function constraintTypesOf(request: Members): Values {
  const constraints = constraintsOf(request);
  const types = ['EncryptionContextEquals', 'EncryptionContextSubset'].filter(
    (name) => constraints[name] !== undefined,
  );
  return types.length === 0 ? undefined : types;
}

/** Both keys of the request, found again: it is asked only where a policy wants to know. */
export function reEncryptsOnSameKey({ source }: ConditionSource): boolean {
  const { operation, request, directory } = source;
  const keys = Object.values(operation.needs.keys ?? {}).map((need) => need.key(request, directory).record.keyId);
  return new Set(keys).size === 1;
}

/** On which kind of listener the request came in. */
export function transportOf({ proof }: Caller): 'unix' | 'tcp' | 'tls' {
  if (proof.kind === 'unix') return 'unix';
  return proof.tls === undefined ? 'tcp' : 'tls';
}

/** Of short-lived credentials alone, as in AWS. */
export function issueTime({ proof }: Caller): Values {
  const issuedAtMs = proof.kind === 'sigv4' ? (proof.session ?? proof.issuedTo)?.issuedAtMs : undefined;
  return issuedAtMs === undefined ? undefined : [new Date(issuedAtMs).toISOString()];
}

/** Of sessions that were had with one, and of those that they assumed. */
export function sourceIdentity({ proof }: Caller): Values {
  return proof.kind === 'sigv4' ? one(proof.session?.sourceIdentity) : undefined;
}

/** The alias by which the request names this key, always as a name. */
export const requestAlias: Draw = ({ need, source: { request } }) => {
  const name =
    need.action === 'kms:ReEncryptFrom'
      ? 'SourceKeyId'
      : need.action === 'kms:ReEncryptTo'
        ? 'DestinationKeyId'
        : 'KeyId';
  // The key was found by it, so what looks like the ARN of an alias is one.
  return one(/^(?:arn:[^/]*:)?(alias\/.*)$/.exec(String(request[name] ?? ''))?.[1]);
};

interface Tag {
  readonly TagKey: string;
  readonly TagValue: string;
}

function tagsOf(value: unknown): readonly Tag[] {
  // Safe: lists of tags come from the store or through the schema `tag`.
  return Array.isArray(value) ? (value as readonly Tag[]) : [];
}

/** @param family Whose tags they are. */
export function tagValues(question: ConditionSource, family: string, tags: unknown, name: string): Values {
  const members = () => Object.fromEntries(tagsOf(tags).map(({ TagKey, TagValue }) => [TagKey, TagValue]));
  return valuesNamed(question, family, members, name);
}

/** Of tags that are put, and of tags that are taken away. */
export function tagKeys(request: Members): Values {
  if (request['Tags'] === undefined) return listOf(request['TagKeys']);
  return tagsOf(request['Tags']).map(({ TagKey }) => TagKey);
}

export function epochSeconds(value: unknown): Values {
  return value instanceof Date ? one(value.getTime() / 1000) : undefined;
}

/** Did the request come through a service? Then its principal is one for which the configuration has an AWS managed key. */
export const isViaService: Draw = ({ source: { directory, caller } }) => [
  String(directory.services.viaService(caller) !== undefined),
];

/**
 * Whole days since the last use of the key; of one that was not used since uses are noted, since then. A policy that protects
 * keys which are in use so protects new ones as well.
 */
export const daysWithoutUse: Draw = ({ key, source: { directory, origin } }) =>
  key && one(directory.lastUses.daysWithoutUse(key.record, origin.receivedAtMs));

/** `undefined` for what is no IP address, such as the peer of a Unix socket. */
export function addressOf(text: string): Values {
  return isIP(text) === 0 ? undefined : [text];
}

/**
 * What is known of the Unix user who calls. `vouched for`: also of one who signs with a key that he got by the kernel's
 * word; `connected`: of a process at the other end of the socket only.
 */
export function unixFacts({ source }: ConditionSource, how: 'vouched for' | 'connected'): PeerFacts | undefined {
  const { proof } = source.caller;
  if (proof.kind === 'unix') return source.peerFacts(proof);
  return how === 'connected' || proof.issuedTo === undefined ? undefined : source.peerFacts(proof.issuedTo);
}
