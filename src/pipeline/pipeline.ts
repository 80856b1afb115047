/**
 * The one way through: every request takes these steps, in this order, whatever its operation.
 *
 *  1. The operation is looked up, the body parsed and validated against its schema.
 *  2. For each need the resource is resolved and the decision asked for; a refusal ends the request.
 *  3. Grant tokens are checked: each must name a grant on a key of the request.
 *  4. The key's state, usage and algorithm are checked.
 *  5. A dry run rehearses and ends here.
 *  6. The handler runs; of a change only where there is room for its event. A change that waits for others asks for steps 2 to 4
 *     again when its turn comes.
 *  7. The event goes on record.
 *  8. The answer goes back; plaintexts are wiped.
 *
 * INVARIANT: `authorizeKey` is called only after a decision that allowed the action on that key; it is imported nowhere
 * else. INVARIANT: `run` gives back an answer only after the audit log took the event.
 */

import { isUtf8 } from 'node:buffer';
import type { AuditEvent, AuditLog, Durability } from '../audit/audit-log.ts';
import { decide } from '../authorization/decide.ts';
import { type IdentityPolicies, noIdentityPolicies } from '../authorization/identity-policies.ts';
import type { PeerFacts, UnixPeer } from '../identity/caller.ts';
import { type AuthorizedKey, authorizeKey } from '../keys/authorized-key.ts';
import type { KeyDirectory } from '../keys/key-directory.ts';
import { fromKeyStoreError, internalMessage } from '../keys/key-store-errors.ts';
import type { KmsKey } from '../keys/kms-key.ts';
import { KmsError, type KmsErrorName } from '../kms/errors.ts';
import { keySpecRow } from '../kms/key-specs.ts';
import { stateRefusal } from '../kms/key-states.ts';
import type { Logger } from '../kms/logger.ts';
import type { AnyOperation, Handling, KeyNeed } from '../operations/declaration/operation.ts';
import { decodeRequest } from '../operations/declaration/schema.ts';
import { findOperation, isUnbuilt } from '../operations/find-operation.ts';
import { assertGrantTokens } from '../operations/grants/grant-request.ts';
import { RequestQuestion } from './access-question.ts';
import { refusalOf } from './proven-still.ts';
import type { Need, QuestionSource } from './question-source.ts';
import { auditEvent, emptyEvent, outcome, type Trace } from './request-event.ts';
import type { ActResult, KmsAnswer, KmsRequest, KmsService } from './service.ts';

export interface KmsServiceOptions {
  readonly directory: KeyDirectory;
  readonly audit: AuditLog;
  readonly log: Logger;
  /** Those in force; asked anew for each request. Absent: there are none. */
  readonly identityPolicies?: () => IdentityPolicies;
  readonly peerFacts: (peer: UnixPeer) => PeerFacts;
}

type Request = Record<string, unknown>;

export function createKmsService(options: KmsServiceOptions): KmsService {
  const { audit, log } = options;

  async function record(event: AuditEvent, durability: Durability, answer: KmsAnswer): Promise<KmsAnswer> {
    try {
      await audit.append(event, durability);
      return answer;
    } catch (error) {
      log.error({ requestId: event.requestId, err: error }, 'the audit log cannot be written; the answer is withheld');
      return { ok: false, error: new KmsError('KMSInternalException', internalMessage, error) };
    }
  }

  return {
    async run(kmsRequest) {
      const trace: Trace = {
        operation: undefined,
        request: undefined,
        response: undefined,
        resources: [],
        decision: null,
        noted: undefined,
      };
      let answer: KmsAnswer;
      try {
        answer = { ok: true, body: await perform(kmsRequest, trace, options) };
      } catch (error) {
        answer = { ok: false, error: toKmsError(error, kmsRequest, log) };
      } finally {
        kmsRequest.body.fill(0);
        if (trace.request !== undefined) trace.operation?.request.wipe(trace.request);
        if (trace.response !== undefined) trace.operation?.response.wipe(trace.response);
      }
      const durability = trace.operation?.effect === 'changes' && answer.ok ? 'synced' : 'written';
      return record(auditEvent(kmsRequest, trace, answer), durability, answer);
    },

    refuse(origin, error) {
      const { operationName, caller, eventSource } = origin;
      const event: AuditEvent = {
        ...emptyEvent(origin, operationName, caller),
        ...(eventSource === undefined ? {} : { eventSource }),
        ...outcome(error),
      };
      return record(event, 'written', { ok: false, error });
    },

    async act(act, perform) {
      let result: ActResult | undefined;
      let answer: KmsAnswer;
      try {
        if (act.effect === 'changes') await assertRecordable(audit);
        result = await perform();
        answer = { ok: true, body: result.body };
      } catch (error) {
        answer = { ok: false, error: toKmsError(error, act, log) };
      }
      const event: AuditEvent = {
        ...emptyEvent(act, act.operationName, act.caller),
        eventSource: act.eventSource,
        readOnly: act.effect !== 'changes',
        requestParameters: act.parameters,
        responseElements: result?.record ?? null,
        ...(answer.ok ? {} : outcome(answer.error)),
      };
      return record(event, act.effect === 'changes' && answer.ok ? 'synced' : 'written', answer);
    },
  };
}

/** Steps 1 to 6; the answer's body, as JSON text. */
async function perform(kmsRequest: KmsRequest, trace: Trace, options: KmsServiceOptions): Promise<string> {
  const { directory, audit } = options;
  const operation = findOperation(kmsRequest.operationName);
  if (operation === undefined) throw unknownOperation(kmsRequest.operationName);
  trace.operation = operation;
  const request = decodeRequest(operation.request, parseJson(kmsRequest.body), kmsRequest.unknownMembers);
  trace.request = request;
  const { caller } = kmsRequest;
  const identityPolicies = (): IdentityPolicies => options.identityPolicies?.() ?? noIdentityPolicies;
  const source: QuestionSource = {
    operation,
    request,
    origin: kmsRequest,
    caller,
    directory,
    identityPolicies: identityPolicies().attachedTo(caller),
    peerFacts: options.peerFacts,
  };
  const keys = authorize(source, trace);
  const handling: Handling<Request, string> = {
    request,
    keys,
    caller,
    directory,
    assertStillAllowed() {
      const refusal = refusalOf(caller);
      if (refusal !== undefined) throw refusal;
      assertStillAllowed({ ...source, identityPolicies: identityPolicies().attachedTo(caller) }, keys, trace);
    },
    note: (members) => {
      trace.noted = members;
    },
    decideUnder(keyPolicy, action, keyArn) {
      const need = { action, conditions: conditionsOf(operation) };
      const known = Object.values(keys).find(({ key }) => key.arn === keyArn)?.key;
      return decide(new RequestQuestion(source, need, keyArn, known, keyPolicy));
    },
  };
  if (request['DryRun'] === true) {
    await operation.rehearse?.(handling);
    throw new KmsError('DryRunOperationException', 'The request would have succeeded, but the DryRun option is set.');
  }
  if (operation.effect === 'changes') await assertRecordable(audit);
  const response = await operation.handle(handling);
  trace.response = response;
  trace.resources.push(...(operation.made?.(response) ?? []));
  return operation.response.encode(response);
}

/** Those that any permission of the operation has. */
function conditionsOf({ needs }: AnyOperation): readonly string[] {
  return [...(needs.resources ?? []), ...Object.values(needs.keys ?? {})].flatMap(({ conditions }) => conditions ?? []);
}

/**
 * A change takes effect before its event is written, so it is not begun while the log is known not to take events, or has
 * little room left. The price of one event per request: a change whose event then fails all the same, because the room went
 * to others or the disk broke, stands without a record, its answer withheld.
 */
async function assertRecordable(audit: AuditLog): Promise<void> {
  const obstacle = await audit.obstacle();
  if (obstacle !== null) throw new KmsError('KMSInternalException', internalMessage, new Error(obstacle));
}

function unknownOperation(name: string): KmsError {
  return isUnbuilt(name)
    ? new KmsError('UnsupportedOperationException', `${name} is not supported by this version of Drawbridge.`)
    : new KmsError('UnknownOperationException', 'The operation is not one of AWS KMS.');
}

/** An empty body is an empty request, as `curl -X POST` sends it. */
function parseJson(body: Buffer): unknown {
  if (body.length === 0) return {};
  if (!isUtf8(body)) throw new KmsError('SerializationException', 'The request body is not UTF-8');
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    // The parser's own message quotes the body, which may hold a plaintext.
    throw new KmsError('SerializationException', 'The request body is not JSON');
  }
}

/** Steps 2 to 4. */
function authorize(source: QuestionSource, trace: Trace): Readonly<Record<string, AuthorizedKey>> {
  const { request, directory } = source;
  const keys = assertAllowed(source, trace, (need) => {
    const key = need.key(request, directory);
    trace.resources.push(key.arn);
    return key;
  });
  const authorized: Record<string, AuthorizedKey> = {};
  for (const name in keys) {
    const key = keys[name];
    if (key !== undefined) authorized[name] = authorizeKey(key);
  }
  return authorized;
}

/** Asks all of it again about the same keys, as they are by now, under what is in force by now. */
function assertStillAllowed(
  source: QuestionSource,
  authorized: Readonly<Record<string, AuthorizedKey>>,
  trace: Trace,
): void {
  assertAllowed(source, trace, (need, name) => {
    const key = authorized[name]?.key ?? need.key(source.request, source.directory);
    return source.directory.findKey(key.record.keyId) ?? key;
  });
}

/** Every permission that the request needs, and what its keys have to be; the keys by the names that the needs have. */
function assertAllowed(
  source: QuestionSource,
  trace: Trace,
  keyOf: (need: KeyNeed<Request>, name: string) => KmsKey,
): Readonly<Record<string, KmsKey>> {
  const { operation, request, directory } = source;
  const { resources, keys: needs } = operation.needs;
  for (const need of resources ?? []) {
    const resource = need.resource(request, directory);
    if (resource === undefined) continue;
    // A principal can be a resource too; what the event lists are KMS's own, each once however often it is asked about.
    if (resource.startsWith('arn:aws:kms:') && !trace.resources.includes(resource)) trace.resources.push(resource);
    allow(source, trace, need, resource, undefined);
  }
  const keys: Record<string, KmsKey> = {};
  for (const name in needs) {
    const need = needs[name];
    if (need === undefined) continue;
    const key = keyOf(need, name);
    allow(source, trace, need, key.arn, key);
    keys[name] = key;
  }
  if (request['GrantTokens'] !== undefined) assertGrantTokens(request, Object.values(keys), directory);
  for (const name in needs) {
    const need = needs[name];
    const key = keys[name];
    if (need !== undefined && key !== undefined) assertUsable(operation.name, need, request, key);
  }
  return keys;
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
  const { state, origin, keyUsage, keySpec } = key.record;
  const refusal = stateRefusal(need.states, { arn: key.arn, state, origin });
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

/** Errors that are not the caller's fault: an operator must be able to read what really happened. */
const faults: ReadonlySet<KmsErrorName> = new Set([
  'KMSInternalException',
  'DependencyTimeoutException',
  'KeyUnavailableException',
]);

function toKmsError(
  error: unknown,
  { requestId, operationName }: Pick<KmsRequest, 'requestId' | 'operationName'>,
  log: Logger,
): KmsError {
  const translated = fromKeyStoreError(error);
  if (translated instanceof KmsError) {
    if (faults.has(translated.name)) {
      log.error({ requestId, operation: operationName, err: translated.cause ?? translated }, 'a request failed');
    }
    return translated;
  }
  log.error({ requestId, operation: operationName, err: error }, 'a request failed in a way that should not happen');
  return new KmsError('KMSInternalException', internalMessage, error);
}
