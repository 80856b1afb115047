/**
 * A request that nobody sent, as the questions that the pipeline would ask about it.
 *
 * INVARIANT: the questions are made from the same needs, by the same class and with the same condition values as those
 * about a real request, so that whoever is told an answer here gets it there.
 *
 * Of the members only those are taken that an operation puts on record. The others are bytes and tokens, on which no
 * permission depends; a ciphertext tells its key, which has to be named instead. Most required members may be left out;
 * the condition keys that come from them then have no value.
 */

import type { IdentityPolicies } from '../authorization/identity-policies.ts';
import type { CompiledPolicy } from '../authorization/language/compiled-policy.ts';
import type { Caller, PeerFacts, UnixPeer } from '../identity/caller.ts';
import type { KeyView } from '../keys/key-view.ts';
import { KmsError } from '../kms/errors.ts';
import type { KeyId } from '../kms/names.ts';
import type { AnyOperation } from '../operations/declaration/operation.ts';
import { pathName } from '../operations/declaration/path-name.ts';
import type { DecodeContext } from '../operations/declaration/schema.ts';
import { findOperation, operations } from '../operations/find-operation.ts';
import { RequestQuestion } from '../pipeline/access-question.ts';
import { inRegion, type Need, type QuestionKey } from '../pipeline/question-source.ts';
import type { RequestOrigin } from '../pipeline/service.ts';
import { SessionPolicies } from '../pipeline/session-policies.ts';

export interface SupposedRequest extends Pick<RequestOrigin, 'receivedAtMs' | 'sourceIPAddress' | 'userAgent'> {
  /** `Encrypt` */
  readonly operationName: string;
  /** As on the wire. */
  readonly members: Readonly<Record<string, unknown>>;
  readonly caller: Caller;
  readonly peerFacts: (peer: UnixPeer) => PeerFacts;
}

/** The documents under which it is asked. */
export interface Documents {
  readonly directory: KeyView;
  readonly identityPolicies: IdentityPolicies;
  /** Instead of the keys' own. */
  readonly keyPolicies?: ReadonlyMap<KeyId, CompiledPolicy>;
}

export interface SupposedNeed {
  readonly need: Need;
  readonly question: RequestQuestion;
}

/** Members that say what the request is about. */
const indispensable: ReadonlySet<string> = new Set([
  'KeyId',
  'SourceKeyId',
  'DestinationKeyId',
  'AliasName',
  'TargetKeyId',
  'Operations',
  'PrimaryRegion',
  'ReplicaRegion',
]);

/**
 * One for each permission that the request needs, in the order in which they are asked.
 * @throws KmsError as the request itself would: `NotFoundException`, `ValidationException`, …
 */
export function questionsAbout(supposed: SupposedRequest, documents: Documents): readonly SupposedNeed[] {
  const { operationName, caller, peerFacts } = supposed;
  const { directory, identityPolicies, keyPolicies } = documents;
  const operation = operationNamed(operationName);
  const request = decodeMembers(operation, supposed.members);
  const origin = { ...supposed, requestId: '' };
  const attached = identityPolicies.attachedTo(caller);
  const policies = { identityPolicies: attached, sessionPolicy: new SessionPolicies(directory.realm).of(caller) };
  const source = { operation, request, origin, caller, directory, ...policies, peerFacts };
  const { resources = [], keys = {}, keysFirst = false } = operation.needs;
  const onResources = resources.flatMap((need): SupposedNeed[] => {
    const resource = need.resource(request, directory);
    if (resource === undefined) return [];
    const there = inRegion(source, need.region?.(request) ?? directory.realm.region);
    return [{ need, question: new RequestQuestion(there, need, resource, undefined) }];
  });
  const onKeys = Object.values(keys).map((need): SupposedNeed => {
    const key = need.key(request, directory);
    const policy = need.retires === undefined ? keyPolicies?.get(key.record.keyId) : undefined;
    const there = inRegion(source, key.record.region);
    return { need, question: new RequestQuestion(there, need, key.arn, key, policy) };
  });
  return keysFirst ? [...onKeys, ...onResources] : [...onResources, ...onKeys];
}

/** The keys that the questions are about. */
export function keysOf(questions: readonly SupposedNeed[]): readonly QuestionKey[] {
  return questions.flatMap(({ question: { key } }) => (key === undefined ? [] : [key]));
}

/** Required members on record that a supposed request leaves out: condition keys that come from them have no value. */
export function leftOut(operationName: string, members: Readonly<Record<string, unknown>>): readonly string[] {
  const { request, record } = operationNamed(operationName);
  return record.filter(
    (name) => name !== 'Policy' && isRequired(request.members?.[name]) && members[name] === undefined,
  );
}

function operationNamed(name: string): AnyOperation {
  const operation = findOperation(name);
  if (operation !== undefined) return operation;
  const owner = operations.find(({ needs }) =>
    Object.values(needs.keys ?? {}).some(({ action }) => action === `kms:${name}`),
  );
  const what = owner === undefined ? 'no operation of this version' : `a permission of the operation ${owner.name}`;
  throw new KmsError('ValidationException', `\`${name.slice(0, 64)}\` is ${what}`);
}

function isRequired(shape: object | undefined): boolean {
  return shape !== undefined && !('optional' in shape);
}

/** The command line has an argument for it. */
function isKeyReference(name: string): boolean {
  return name.endsWith('KeyId');
}

function decodeMembers(operation: AnyOperation, members: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { name: operationName, request, record } = operation;
  const context: DecodeContext = { unknownMembers: 'refuse', problems: [], secrets: [] };
  const decoded: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(members)) {
    const shape = record.includes(name) ? request.members?.[name] : undefined;
    if (shape === undefined) {
      throw new KmsError(
        'ValidationException',
        `'${name.slice(0, 64)}' decides nothing about ${operationName}; what does: ${record.join(', ')}`,
      );
    }
    if (value !== null) decoded[name] = shape.decode(value, pathName(name), context);
  }
  for (const name of record) {
    if (indispensable.has(name) && isRequired(request.members?.[name]) && decoded[name] === undefined) {
      const hint = isKeyReference(name) ? '' : `; what is asked depends on it (--with ${name}=VALUE)`;
      context.problems.push(
        `Value null at '${pathName(name)}' failed to satisfy constraint: Member must not be null${hint}`,
      );
    }
  }
  if (context.problems.length > 0) throw new KmsError('ValidationException', context.problems.join('; '));
  // As a dry run asks about permissions where there is no ciphertext.
  if (request.members?.['DryRunModifiers'] !== undefined) {
    return { ...decoded, DryRun: true, DryRunModifiers: ['IGNORE_CIPHERTEXT'] };
  }
  return decoded;
}
