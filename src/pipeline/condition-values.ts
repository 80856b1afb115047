/** Where the values of condition keys come from: the request, the key, the caller. One small function each. */

import { isIP } from 'node:net';
import { stepsPerLook, type WorkBudget } from '../authorization/language/work-budget.ts';
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

/** A property of the key, or, of a key that is being created, what the request asks for. */
export function property(ofKey: (key: QuestionKey) => unknown, ofRequest: Draw): Draw {
  return (question, parameter) =>
    question.key === undefined ? ofRequest(question, parameter) : one(ofKey(question.key));
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

export const encryptionContextValues: Draw = (question, name) =>
  valuesNamed(question, encryptionContextOf(question), name);

/** Absent without an encryption context, as AWS documents it for `Null`. */
export const encryptionContextKeys: Draw = (question) => {
  const keys = Object.keys(encryptionContextOf(question));
  return keys.length === 0 ? undefined : keys;
};

/** Goes through all of them, for each key that a policy asks about: the budget pays. */
function valuesNamed(budget: WorkBudget, members: Members, name: string): Values {
  const wanted = foldCase(name);
  const names = Object.keys(members);
  for (const key of names) budget.spend(stepsPerLook + stepsToFold(key));
  const values = names.filter((key) => foldCase(key) === wanted);
  return values.length === 0 ? undefined : values.map((key) => String(members[key]));
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

/** Of short-lived credentials alone, as in AWS. */
export function issueTime({ proof }: Caller): Values {
  const issuedAtMs = proof.kind === 'sigv4' ? proof.issuedTo?.issuedAtMs : undefined;
  return issuedAtMs === undefined ? undefined : [new Date(issuedAtMs).toISOString()];
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

export function tagValues(budget: WorkBudget, tags: unknown, name: string): Values {
  return valuesNamed(budget, Object.fromEntries(tagsOf(tags).map(({ TagKey, TagValue }) => [TagKey, TagValue])), name);
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
