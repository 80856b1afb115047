/**
 * Steps 2 to 4 of the pipeline: every permission that a request needs, and what its keys have to be.
 *
 * INVARIANT: `authorizeKey` is called here alone, after a decision that allowed the action on that key.
 *
 * A change asks twice, when it comes and in its turn, with all of it drawn anew: the keys, as the request names them by then
 * and as they are by then, the policies and grants in force by then, and whether the access key that signed it still is one.
 * Whoever was revoked in the meantime must not take the permission back.
 */

import { decide } from '../authorization/decide.ts';
import { type AuthorizedKey, authorizeKey } from '../keys/authorized-key.ts';
import type { KmsKey } from '../keys/kms-key.ts';
import { KmsError } from '../kms/errors.ts';
import { keySpecRow } from '../kms/key-specs.ts';
import { stateRefusal } from '../kms/key-states.ts';
import type { DecideUnder, KeyNeed } from '../operations/declaration/operation.ts';
import { assertGrantTokens } from '../operations/grants/grant-request.ts';
import { RequestQuestion } from './access-question.ts';
import { refusalOf } from './proven-still.ts';
import { inRegion, type Need, type QuestionSource } from './question-source.ts';
import type { Trace } from './request-event.ts';

type Request = Record<string, unknown>;

/** The keys of a request, by the names that the operation's needs have. */
export type AuthorizedKeys = Readonly<Record<string, AuthorizedKey>>;

/** @throws KmsError for the first permission that is refused, and for a key that cannot be used for this. */
export function authorize(source: QuestionSource, trace: Trace): AuthorizedKeys {
  const { operation, request, directory } = source;
  const { keys: needs, keysFirst = false } = operation.needs;
  if (!keysFirst) allowResources(source, trace);
  const found: Record<string, KmsKey> = {};
  for (const name in needs) {
    const need = needs[name];
    if (need === undefined) continue;
    const key = need.key(request, directory);
    trace.resources.push(key.arn);
    allow(inRegion(source, key.record.region), trace, need, key.arn, key);
    found[name] = key;
  }
  if (keysFirst) allowResources(source, trace);
  if (request['GrantTokens'] !== undefined) assertGrantTokens(request, Object.values(found), directory);
  const keys: Record<string, AuthorizedKey> = {};
  for (const name in needs) {
    const need = needs[name];
    const key = found[name];
    if (need === undefined || key === undefined) continue;
    assertUsable(operation.name, need, request, key);
    keys[name] = authorizeKey(key);
  }
  return keys;
}

/** The permissions that are on no key. */
function allowResources(source: QuestionSource, trace: Trace): void {
  const { operation, request, directory } = source;
  for (const need of operation.needs.resources ?? []) {
    const resource = need.resource(request, directory);
    if (resource === undefined) continue;
    if (isOnRecord(resource) && !trace.resources.includes(resource)) trace.resources.push(resource);
    const region = need.region?.(request);
    allow(region === undefined ? source : inRegion(source, region), trace, need, resource, undefined);
  }
}

/** The same in the turn of a change: whoever is not taken for the caller any more is refused first. */
export function authorizeAgain(source: QuestionSource, trace: Trace): AuthorizedKeys {
  const refusal = refusalOf(source.caller);
  if (refusal !== undefined) throw refusal;
  // What the request is about is what it is about now.
  trace.resources.length = 0;
  return authorize(source, trace);
}

/**
 * What the caller of a request would be told if his next one were PutKeyPolicy, under another policy. That one has nothing of
 * this request but the caller and whether he bypasses the check: not its tags, which are the key's by then.
 */
export function decisionUnder(source: QuestionSource): DecideUnder {
  const bypass = source.request['BypassPolicyLockoutSafetyCheck'];
  const next = { ...source, request: bypass === undefined ? {} : { BypassPolicyLockoutSafetyCheck: bypass } };
  const need = { action: 'kms:PutKeyPolicy', conditions: ['kms:BypassPolicyLockoutSafetyCheck'] } as const;
  return (policy, key) => decide(new RequestQuestion(inRegion(next, key.record.region), need, key.arn, key, policy));
}

/** A principal can be a resource too, and all keys together; what the event lists are keys and aliases. */
function isOnRecord(resource: string): boolean {
  return resource.startsWith('arn:aws:kms:') && !resource.endsWith('*');
}

/** Asks for the decision; throws what AWS answers when it is no. */
function allow(source: QuestionSource, trace: Trace, need: Need, resource: string, key: KmsKey | undefined): void {
  const decision = decide(new RequestQuestion(source, need, resource, key));
  const { allowed, because } = decision;
  trace.decision = { allowed, because: allowed ? besides(trace.decision?.because, because) : because };
  if (!decision.allowed) throw new KmsError('AccessDeniedException', decision.message);
}

/** Each reason once: an operation may need several permissions, and a change asks for them twice. */
function besides(before: string | undefined, because: string): string {
  if (before === undefined || before === because) return because;
  return before.split('; ').includes(because) ? before : `${before}; ${because}`;
}

function assertUsable(operationName: string, need: KeyNeed<Request>, request: Request, key: KmsKey): void {
  const { origin, keyUsage, keySpec } = key.record;
  const refusal = stateRefusal(need.states, { arn: key.arn, state: key.state, origin });
  if (refusal !== undefined) throw refusal;
  if (need.usage === undefined) return;
  if (keyUsage !== need.usage) {
    throw new KmsError(
      'InvalidKeyUsageException',
      `${key.arn} key usage is ${keyUsage} which is not valid for ${operationName}.`,
    );
  }
  const algorithm = need.algorithm?.(request);
  if (algorithm !== undefined && keySpecRow(keySpec).usages[keyUsage]?.includes(algorithm) !== true) {
    throw new KmsError('InvalidKeyUsageException', `Algorithm ${algorithm} is incompatible with key spec ${keySpec}.`);
  }
}
