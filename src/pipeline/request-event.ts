/**
 * The audit event of a request: what became known of it on its way, under the names that CloudTrail has for it.
 *
 * Of requests and responses only what an operation lists in `record` and `recordResponse` is taken; secrets are not members
 * that can be listed. Who wrote the request is told as `identity/` knows it.
 */

import type { AuditEvent, IntentEvent, LineAccount, SessionOnRecord } from '../audit/audit-log.ts';
import type { Caller } from '../identity/caller.ts';
import type { AuthorizedKey } from '../keys/authorized-key.ts';
import { customKeyStoreIdOf } from '../keys/custom-key-store.ts';
import type { KmsError } from '../kms/errors.ts';
import { userIdOf } from '../kms/names.ts';
import { newUuid } from '../kms/uuids.ts';
import type { AnyOperation, DoneElsewhere } from '../operations/declaration/operation.ts';
import { recordMembers } from '../operations/declaration/schema.ts';
import type { RequestIntents } from './intents.ts';
import type { Act, KmsAnswer, KmsRequest, RequestOrigin } from './service.ts';

type Members = Record<string, unknown>;

/** What becomes known of a request on its way, for its audit event. */
export interface Trace {
  operation: AnyOperation | undefined;
  request: Members | undefined;
  response: Members | undefined;
  resources: string[];
  /** Of all permissions that were asked: the first refusal, or what allows each of them. */
  decision: AuditEvent['decision'];
  noted: Readonly<Record<string, string>> | undefined;
  annotated: Readonly<Record<string, string>> | undefined;
  /** Once every permission on them was given. */
  keys: Readonly<Record<string, AuthorizedKey>> | undefined;
  /** On which the event of its success is written; once its permissions were given. */
  account: LineAccount | undefined;
  /** Of a request that changes something. */
  intents: RequestIntents | undefined;
}

/** Operation names come from callers: what is no operation is cut to this in the audit log. */
const maxEventNameCharacters = 64;

/** Of what never became a request of an operation. */
export function emptyEvent(
  origin: RequestOrigin,
  awsRegion: string,
  operationName: string,
  caller: Caller | null,
): AuditEvent {
  return {
    requestId: origin.requestId,
    receivedAtMs: origin.receivedAtMs,
    eventName: operationName.slice(0, maxEventNameCharacters),
    awsRegion,
    readOnly: true,
    identity: identityOf(caller),
    sourceIPAddress: origin.sourceIPAddress,
    userAgent: origin.userAgent,
    requestParameters: null,
    responseElements: null,
    resources: [],
    errorCode: null,
    errorMessage: null,
    decision: null,
  };
}

/** An event that something else refers to. */
export type IdentifiedEvent = AuditEvent & { readonly eventId: string };

/** Written out member by member, on the path of every request: spreads cost as much as the rest of it. */
export function auditEvent(request: KmsRequest, awsRegion: string, trace: Trace, answer: KmsAnswer): IdentifiedEvent {
  const { operation } = trace;
  return {
    requestId: request.requestId,
    eventId: newUuid(),
    receivedAtMs: request.receivedAtMs,
    eventName: request.operationName.slice(0, maxEventNameCharacters),
    awsRegion,
    readOnly: operation?.effect !== 'changes',
    identity: identityOf(request.caller),
    sourceIPAddress: request.sourceIPAddress,
    userAgent: request.userAgent,
    requestParameters: recorded(
      operation?.request,
      operation?.record,
      trace.noted ? { ...trace.request, ...trace.noted } : trace.request,
    ),
    responseElements: answer.ok ? recorded(operation?.response, operation?.recordResponse, trace.response) : null,
    resources: trace.resources,
    errorCode: answer.ok ? null : answer.error.name,
    errorMessage: answer.ok ? null : answer.error.message,
    decision: trace.decision,
    intent: trace.intents?.outcome(),
    annotations: trace.annotated ?? annotationsOfUse(trace),
  };
}

/** Source: AWS KMS developer guide, log entry of Decrypt: of all cryptographic operations with a key in a custom key store. */
function annotationsOfUse({ operation, keys }: Trace): AuditEvent['annotations'] {
  if (operation?.effect !== 'uses') return undefined;
  for (const name in keys) {
    const key = keys[name]?.key;
    const customKeyStoreId = key === undefined ? undefined : customKeyStoreIdOf(key);
    if (customKeyStoreId !== undefined) return { customKeyStoreId };
  }
  return undefined;
}

/** The service that does in another Region what it was asked to do there. Source: AWS KMS developer guide, log entry of UpdatePrimaryRegion. */
const invokedBy = 'kms.amazonaws.com';

/**
 * The event of what a request also did in another Region; it has the request's id.
 * @param event Of the request itself.
 * @param operation That was performed there.
 */
export function eventElsewhere(event: AuditEvent, operation: AnyOperation, done: DoneElsewhere): AuditEvent {
  const { eventId: _, intent: __, ...own } = event as Partial<IdentifiedEvent> & AuditEvent;
  return {
    ...own,
    identity: { ...event.identity, invokedBy },
    eventName: done.operationName,
    awsRegion: done.region,
    requestParameters: recorded(operation.request, operation.record, done.request),
    responseElements: recorded(operation.response, operation.recordResponse, done.response),
    resources: [...done.resources],
  };
}

/** What an intent says of the request that it is made for. */
export function intentOf(
  { requestId, operationName, caller }: Pick<KmsRequest | Act, 'requestId' | 'operationName' | 'caller'>,
  awsRegion: string,
): NonNullable<IntentEvent['request']> {
  return { requestId, operationName, awsRegion, identity: identityOf(caller) };
}

export function outcome(error: KmsError): Pick<AuditEvent, 'errorCode' | 'errorMessage'> {
  return { errorCode: error.name, errorMessage: error.message };
}

/** The declared members of a request or response, named as CloudTrail names them. */
function recorded(
  shape: AnyOperation['request'] | undefined,
  members: readonly string[] | undefined,
  values: Members | undefined,
): Members | null {
  if (members === undefined || values === undefined) return null;
  return recordMembers(shape?.members ?? {}, members, values);
}

const unknownIdentity: AuditEvent['identity'] = { type: 'Unknown', principalId: '', arn: '', accountId: '' };
/** A connection's requests have one caller, and so the log has to render one identity. */
const identities = new WeakMap<Caller, AuditEvent['identity']>();

function identityOf(caller: Caller | null): AuditEvent['identity'] {
  if (caller === null) return unknownIdentity;
  let identity = identities.get(caller);
  if (identity === undefined) {
    identity = describeIdentity(caller);
    identities.set(caller, identity);
  }
  return identity;
}

function describeSession({ roleId, proof }: Caller, arn: string): SessionOnRecord {
  const role = { arn, principalId: roleId ?? arn };
  const session = proof.kind === 'sigv4' ? proof.session : undefined;
  if (session === undefined) return { role };
  const { issuedAtMs, by, sourceIdentity, policy } = session;
  const source = sourceIdentity === undefined ? {} : { sourceIdentity };
  return { role, assumed: { issuedAtMs, by, ...source, hasPolicy: policy !== undefined } };
}

function describeIdentity(caller: Caller): AuditEvent['identity'] {
  const { type, arn, accountId, userName, proof } = caller;
  return {
    type,
    principalId: userIdOf(caller),
    arn,
    accountId,
    ...(userName === undefined ? {} : { userName }),
    ...(caller.role === undefined ? {} : { session: describeSession(caller, caller.role) }),
    ...(proof.kind === 'unix'
      ? { unix: proof }
      : {
          accessKeyId: proof.accessKeyId,
          ...(proof.issuedTo === undefined ? {} : { issuedTo: proof.issuedTo }),
          ...(proof.tls === undefined ? {} : { tls: proof.tls }),
        }),
  };
}
