/**
 * The one way through: every request takes these steps, in this order, whatever its operation.
 *
 *  1. The operation is looked up, the body parsed and validated against its schema.
 *  2. For each need the resource is resolved and the decision asked for; a refusal ends the request.
 *  3. Grant tokens are checked: each must name a grant on a key of the request.
 *  4. The key's state, usage and algorithm are checked.
 *  5. A dry run rehearses and ends here.
 *  6. What reads or uses is handled. What changes is prepared, takes its turn, in which steps 2 to 4 are asked again, and is
 *     decided, put on record as an intent, written and applied (`change.ts`).
 *  7. The event goes on record; of a change it is the outcome.
 *  8. A use that succeeded is noted as the last one of each of its keys, with the request and the event that tell of it.
 *  9. The answer goes back; plaintexts are wiped.
 *
 * INVARIANT: `run` gives back an answer only after the audit log took the event, or, of refusals over their payer's budget,
 * the one that says that they are counted (`refusal-records.ts`).
 */

import type { AuditEvent, AuditLog } from '../audit/audit-log.ts';
import { type IdentityPolicies, noIdentityPolicies } from '../authorization/identity-policies.ts';
import type { PeerFacts, UnixPeer } from '../identity/caller.ts';
import type { KeyView } from '../keys/key-view.ts';
import type { LastUses } from '../keys/last-uses.ts';
import type { KeyLife } from '../keys/life/key-life.ts';
import { KmsError } from '../kms/errors.ts';
import type { Logger } from '../kms/logger.ts';
import type { AnyChange, AnyOperation } from '../operations/declaration/operation.ts';
import { decodeRequest } from '../operations/declaration/schema.ts';
import { findOperation, isUnbuilt } from '../operations/find-operation.ts';
import { UnverifiedRecords, whenVerified } from '../store/record-source.ts';
import type { Turns } from '../store/turns.ts';
import { actRunner } from './acts.ts';
import { AnswerRecord, ordinaryBytes } from './answer-record.ts';
import { type AuthorizedKeys, authorize, authorizeAgain, decisionUnder } from './authorization.ts';
import { change, rehearseChange } from './change.ts';
import type { Intents } from './intents.ts';
import { lineAccountOf } from './line-account.ts';
import { useWhereMoved } from './moved-meanwhile.ts';
import type { QuestionSource } from './question-source.ts';
import { assertRecordable } from './recordable.ts';
import type { RefusalRecords } from './refusal-records.ts';
import {
  auditEvent,
  emptyEvent,
  eventElsewhere,
  type IdentifiedEvent,
  intentOf,
  outcome,
  type Trace,
} from './request-event.ts';
import { toKmsError } from './request-failures.ts';
import { parseBody } from './request-json.ts';
import type { KmsAnswer, KmsRequest, KmsService } from './service.ts';
import type { SessionPolicies } from './session-policies.ts';

export interface KmsServiceOptions {
  readonly directory: KeyView;
  readonly life: KeyLife;
  readonly turns: Turns;
  /** Those of the keys of `directory`. */
  readonly lastUses: Pick<LastUses, 'used'>;
  readonly audit: AuditLog;
  /** Of the changes of `turns`, in `audit`. */
  readonly intents: Intents;
  /** Puts refusals on record; absent: each is an event. */
  readonly refusals?: Pick<RefusalRecords, 'record' | 'succeeded'>;
  readonly log: Logger;
  /** Those in force; asked anew for each request. Absent: there are none. */
  readonly identityPolicies?: () => IdentityPolicies;
  readonly sessionPolicies: SessionPolicies;
  readonly peerFacts: (peer: UnixPeer) => PeerFacts;
}

type Request = Record<string, unknown>;

export function createKmsService(options: KmsServiceOptions): KmsService {
  const { audit, intents, refusals, lastUses, log } = options;
  const { region } = options.directory.realm;
  const records = new AnswerRecord({ audit, intents, refusals, log });

  return {
    async run(kmsRequest) {
      const trace: Trace = {
        operation: undefined,
        request: undefined,
        response: undefined,
        resources: [],
        decision: null,
        noted: undefined,
        annotated: undefined,
        keys: undefined,
        account: undefined,
        intents: undefined,
      };
      let answer: KmsAnswer;
      try {
        answer = { ok: true, body: answerBody(await perform(kmsRequest, trace, options), trace) };
      } catch (error) {
        answer = await answerWhereMoved(error, kmsRequest, trace, options);
      } finally {
        // What was parsed is zero already.
        if (trace.request === undefined) kmsRequest.body.fill(0);
        else trace.operation?.request.wipe(trace.request);
        if (trace.response !== undefined) trace.operation?.response.wipe(trace.response);
      }
      const event = auditEvent(kmsRequest, region, trace, answer);
      const { payer, caller, body } = kmsRequest;
      const extraBytes = body.length <= ordinaryBytes ? 0 : extraBytesOf(event);
      const account = answer.ok ? trace.account : undefined;
      try {
        const there = answer.ok ? doneElsewhere(event, trace) : undefined;
        if (there !== undefined)
          await records.put(there, answer, account ?? lineAccountOf(payer, caller), trace.operation);
        await records.put(event, answer, account ?? lineAccountOf(payer, caller), trace.operation);
      } catch (error) {
        return records.withheld(event, payer, error);
      }
      if (answer.ok) noteUses(lastUses, trace, event);
      return records.taken(answer, payer, extraBytes);
    },

    refuse(origin, error) {
      const { operationName, caller, eventSource } = origin;
      const event: AuditEvent = {
        ...emptyEvent(origin, region, operationName, caller),
        ...(eventSource === undefined ? {} : { eventSource }),
        ...outcome(error),
      };
      return records.record(event, { ok: false, error }, origin.payer, caller, undefined, 0);
    },

    act: actRunner({ audit, intents, region, log, records }),
  };
}

/** On record before the request's own event, which tells that its change took effect: no answer without both. */
function doneElsewhere(event: AuditEvent, { operation, request, response, keys }: Trace): AuditEvent | undefined {
  if (operation?.effect !== 'changes' || operation.elsewhere === undefined) return undefined;
  if (request === undefined || response === undefined || keys === undefined || request['DryRun'] === true)
    return undefined;
  const done = operation.elsewhere({ request, response, keys });
  const performed = done === undefined ? undefined : findOperation(done.operationName);
  return done === undefined || performed === undefined ? undefined : eventElsewhere(event, performed, done);
}

/** Only what of a request is on record counts, and not its blobs. */
function extraBytesOf({ requestParameters }: AuditEvent): number {
  return Math.max(0, (JSON.stringify(requestParameters) ?? '').length - ordinaryBytes);
}

/** Only what uses keys does; ReEncrypt uses two, each of which has its own last use. */
function noteUses(
  lastUses: Pick<LastUses, 'used'>,
  { operation, keys }: Trace,
  { receivedAtMs, requestId, eventId }: IdentifiedEvent,
): void {
  if (operation?.effect !== 'uses') return;
  for (const name in keys) {
    const used = keys[name];
    if (used !== undefined) lastUses.used(used.key.record.keyId, operation.name, receivedAtMs, requestId, eventId);
  }
}

/**
 * Steps 1 to 6; what the answer has. All that needs no waiting is done before this returns, and nothing is made for what the
 * request does not do: it is on the path of each.
 */
function perform(kmsRequest: KmsRequest, trace: Trace, options: KmsServiceOptions): Promise<Request> {
  const operation = findOperation(kmsRequest.operationName);
  if (operation === undefined) throw unknownOperation(kmsRequest.operationName);
  trace.operation = operation;
  const request = decodeRequest(
    operation.request,
    parseBody(kmsRequest.body, operation.request.secretNames ?? [], operation.request.secretTexts),
    kmsRequest.unknownMembers,
  );
  trace.request = request;
  const parts: PermittedParts = { kmsRequest, operation, request, trace, options };
  const source = sourceNow(kmsRequest, operation, request, options);
  try {
    trace.keys = authorize(source, trace);
  } catch (error) {
    if (error instanceof UnverifiedRecords) return performVerified(error, parts);
    throw error;
  }
  return performPermitted(trace.keys, source, parts);
}

interface PermittedParts {
  readonly kmsRequest: KmsRequest;
  readonly operation: AnyOperation;
  readonly request: Request;
  readonly trace: Trace;
  readonly options: KmsServiceOptions;
}

/**
 * Where the records that decide have yet to be verified: once they are, permissions are asked for again, of whoever the caller is by then
 * and with the policies in force then, since the HSM may take its time.
 */
async function performVerified(unverified: UnverifiedRecords, parts: PermittedParts): Promise<Request> {
  const { kmsRequest, operation, request, trace, options } = parts;
  await unverified.verify();
  const { keys, source } = await whenVerified(() => {
    const now = sourceNow(kmsRequest, operation, request, options);
    trace.decision = null;
    return { keys: authorizeAgain(now, trace), source: now };
  });
  trace.keys = keys;
  return performPermitted(keys, source, parts);
}

function performPermitted(
  keys: AuthorizedKeys,
  source: QuestionSource,
  { kmsRequest, operation, request, trace, options }: PermittedParts,
): Promise<Request> {
  const { directory, life, audit, intents } = options;
  const { caller } = kmsRequest;
  const note = noteIn(trace);
  const isRehearsal = request['DryRun'] === true;
  const account = lineAccountOf(kmsRequest.payer, caller, operation);
  trace.account = account;
  if (!isRehearsal) assertRecordable(operation.effect === 'changes' ? intents : audit, account);
  if (operation.effect === 'changes') return performChange(source, operation, { kmsRequest, trace, note, options });
  const handling = { request, caller, directory, note, keys, life };
  if (isRehearsal) return rehearse(operation.rehearse?.(handling));
  // What only reads may be asked again; while all keys are in memory it need not be.
  const mayBeUnverified = operation.effect === 'reads' && directory.source !== undefined;
  return mayBeUnverified ? whenVerified(() => operation.handle(handling)) : operation.handle(handling);
}

/** What a use that came to a former place of its key has where the key is by now; or the refusal that anything else is. */
async function answerWhereMoved(
  error: unknown,
  kmsRequest: KmsRequest,
  trace: Trace,
  options: KmsServiceOptions,
): Promise<KmsAnswer> {
  const { directory, life, log } = options;
  const { operation, request } = trace;
  const again = async (): Promise<Request> => {
    if (operation === undefined || operation.effect === 'changes' || request === undefined) throw error;
    trace.keys = authorizeAgain(sourceNow(kmsRequest, operation, request, options), trace);
    const { caller } = kmsRequest;
    return operation.handle({ request, caller, directory, note: noteIn(trace), keys: trace.keys, life });
  };
  try {
    return { ok: true, body: answerBody(await useWhereMoved(error, trace, directory, again), trace) };
  } catch (refusal) {
    return { ok: false, error: toKmsError(refusal, kmsRequest, log) };
  }
}

function noteIn(trace: Trace): (members: Readonly<Record<string, string>>) => void {
  return (members) => {
    trace.noted = members;
  };
}

function annotateIn(trace: Trace): (members: Readonly<Record<string, string>>) => void {
  return (members) => {
    trace.annotated = members;
  };
}

/** With the identity policies that are in force now. */
function sourceNow(
  origin: KmsRequest,
  operation: AnyOperation,
  request: Request,
  { directory, identityPolicies, sessionPolicies, peerFacts }: KmsServiceOptions,
): QuestionSource {
  const { caller } = origin;
  return {
    operation,
    request,
    origin,
    caller,
    directory,
    identityPolicies: (identityPolicies?.() ?? noIdentityPolicies).attachedTo(caller),
    sessionPolicy: sessionPolicies.of(caller),
    peerFacts,
  };
}

interface ChangingRequest {
  readonly kmsRequest: KmsRequest;
  readonly trace: Trace;
  readonly note: (members: Readonly<Record<string, string>>) => void;
  readonly options: KmsServiceOptions;
}

async function performChange(
  source: QuestionSource,
  operation: AnyChange,
  { kmsRequest, trace, note, options }: ChangingRequest,
): Promise<Request> {
  const { directory, life, turns, intents } = options;
  const { request, caller } = source;
  const permitAgain = () => {
    const now = sourceNow(kmsRequest, operation, request, options);
    const again = authorizeAgain(now, trace);
    return { keys: again, decideUnder: decisionUnder(now) };
  };
  const account = trace.account ?? lineAccountOf(kmsRequest.payer, caller, operation);
  const by = intents.of(account, () => intentOf(kmsRequest, directory.realm.region));
  trace.intents = by;
  const parts = {
    operation,
    turns,
    life,
    given: { request, caller, directory, note, annotate: annotateIn(trace) },
    permitted: { keys: trace.keys ?? {}, decideUnder: decisionUnder(source) },
    permitAgain,
    memory: directory.memory,
    account: { payer: kmsRequest.payer, isOperator: account.isOperator === true },
    by,
  };
  if (request['DryRun'] !== true) return await change(parts);
  await whenVerified(() => rehearseChange(parts));
  throw wouldHaveSucceeded();
}

async function rehearse(rehearsal: Promise<void> | undefined): Promise<never> {
  await rehearsal;
  throw wouldHaveSucceeded();
}

/** As JSON text. */
function answerBody(response: Request, trace: Trace): string {
  const { operation, resources } = trace;
  if (operation === undefined) throw new TypeError('what was answered was an operation');
  trace.response = response;
  if (operation.made !== undefined) resources.push(...(operation.made(response) ?? []));
  return operation.response.encode(response);
}

function wouldHaveSucceeded(): KmsError {
  return new KmsError('DryRunOperationException', 'The request would have succeeded, but the DryRun option is set.');
}

function unknownOperation(name: string): KmsError {
  return isUnbuilt(name)
    ? new KmsError('UnsupportedOperationException', `${name} is not supported by this version of Drawbridge.`)
    : new KmsError('UnknownOperationException', 'The operation is not one of AWS KMS.');
}
