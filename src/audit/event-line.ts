/**
 * An audit event as JSON text in CloudTrail's event shape, without its closing brace: `chain.ts` completes it.
 *
 * INVARIANT: exactly the members of `AuditEvent` and `ServiceEvent` are written, each by name; whatever else an object carries is not read.
 * Strings come from callers: JSON escapes quotes, control characters and lone surrogates, so an event is always one line,
 * and long ones are cut with a mark. The limits below keep the whole line under `maxLineBytes`, whatever a caller sends.
 * Bytes are never written, even where an operation names them as recordable by mistake.
 *
 * This is on the path of every request. Most of a line is what the caller's line before had: whose request it is, what is asked by
 * which program, why it is allowed, on which key. These parts are kept as text with the identity, compared, and used again.
 *
 * Source: AWS CloudTrail user guide, "CloudTrail record contents" (event version 1.11).
 */

import { newUuid } from '../kms/uuids.ts';
import type { AuditEvent, ClosedIntent, CountedKind, ServiceEvent, SessionOnRecord } from './audit-log.ts';
import { eventTimeOf } from './event-time.ts';

/** The longest line that is written, its line feed included. */
export const maxLineBytes = 64 * 1024;

/** Characters kept of a text; the worst of them takes six bytes (`\u0000`). */
export const limits = {
  name: 64,
  identifier: 128,
  userAgent: 256,
  arn: 512,
  because: 512,
  errorMessage: 1024,
  /** Of one text among the parameters: as much as an encryption context may have. */
  parameter: 8192,
  /** Of one text among the parameters when they are too long together. */
  parameterOfMany: 128,
} as const;
const maxResources = 8;
const maxRequestParametersBytes = 24 * 1024;
const maxResponseElementsBytes = 8 * 1024;
const maxAnnotationsBytes = 2 * 1024;
/** A refusal costs its caller nothing, so it gets no more than what it takes to see what was asked for. */
const maxRefusedParametersBytes = 2 * 1024;
const maxMembers = 64;
const maxDepth = 5;

export function renderEvent(event: AuditEvent): string {
  const { errorCode, errorMessage, requestParameters, responseElements } = event;
  const identity = renderIdentity(event.identity);
  const error =
    (errorCode === null ? '' : `"errorCode":${JSON.stringify(cut(errorCode, limits.identifier))},`) +
    (errorMessage === null ? '' : `"errorMessage":${JSON.stringify(cutEscaped(errorMessage, limits.errorMessage))},`);
  const maxParametersBytes = errorCode === null ? maxRequestParametersBytes : maxRefusedParametersBytes;
  return (
    `${identity.beginning}"eventTime":"${eventTimeOf(event.receivedAtMs)}",${originOf(event, identity)},${error}` +
    `"requestParameters":${json(bounded(requestParameters, maxParametersBytes))},` +
    `"responseElements":${json(bounded(responseElements, maxResponseElementsBytes))},` +
    `"additionalEventData":${additionalOf(event, identity)},` +
    `"requestID":${quotedId(event.requestId)},"eventID":${quotedId(event.eventId ?? newUuid())},` +
    endingOf(event, identity)
  );
}

function json(members: Members | null): string {
  return members === null ? 'null' : JSON.stringify(members);
}

const plainId = /^[\w-]{1,128}$/;

function quotedId(id: string): string {
  return plainId.test(id) ? `"${id}"` : JSON.stringify(cut(id, limits.identifier));
}

/** What is asked, and by which program: of one caller mostly the same again. */
function originOf(event: AuditEvent, { last }: RenderedIdentity): string {
  const { eventSource = 'kms.amazonaws.com', eventName, awsRegion, sourceIPAddress, userAgent } = event;
  const known = last.origin;
  if (
    known?.eventName === eventName &&
    known.userAgent === userAgent &&
    known.eventSource === eventSource &&
    known.awsRegion === awsRegion &&
    known.sourceIPAddress === sourceIPAddress
  )
    return known.text;
  const text = members({
    eventSource: cut(eventSource, limits.name),
    eventName: cut(eventName, limits.name),
    awsRegion: cut(awsRegion, limits.name),
    sourceIPAddress: cut(sourceIPAddress, limits.name),
    userAgent: userAgent === null ? null : cut(userAgent, limits.userAgent),
  });
  last.origin = { eventSource, eventName, awsRegion, sourceIPAddress, userAgent, text };
  return text;
}

/** CloudTrail's place for what it has no member for. */
function additionalOf(event: AuditEvent, { peers, last }: RenderedIdentity): string {
  const { decision, intent, counting, annotations } = event;
  const isPlainUse = decision !== null && intent === undefined && counting === undefined && annotations === undefined;
  const known = last.decision;
  if (isPlainUse && known?.because === decision.because && known.allowed === decision.allowed) return known.text;
  const text = JSON.stringify({
    ...(annotations && bounded(annotations, maxAnnotationsBytes)),
    decision: decision === null ? null : { allowed: decision.allowed, because: cut(decision.because, limits.because) },
    intent: intent === undefined ? undefined : renderClosed(intent),
    ...peers,
    counting: counting === undefined ? undefined : boundedKind(counting),
  });
  if (isPlainUse) last.decision = { allowed: decision.allowed, because: decision.because, text };
  return text;
}

/** From `readOnly` on: of requests for one key the same, and for another one the same but for its ARN. */
function endingOf(event: AuditEvent, { accountId, last }: RenderedIdentity): string {
  const { readOnly, resources } = event;
  const [resource] = resources;
  if (resource === undefined || resources.length > 1) return renderEnding(event, accountId);
  const known = last.ending;
  if (known?.readOnly === readOnly) {
    if (known.resource === resource) return known.text;
    if (known.around !== undefined && plainKeyArn.test(resource)) {
      known.resource = resource;
      known.text = known.around[0] + resource + known.around[1];
      return known.text;
    }
  }
  const text = renderEnding(event, accountId);
  const at = text.indexOf(resource);
  const isPlain = plainKeyArn.test(resource) && at >= 0;
  const around = isPlain ? ([text.slice(0, at), text.slice(at + resource.length)] as const) : undefined;
  last.ending = { readOnly, resource, text, around };
  return text;
}

function renderEnding({ readOnly, resources, identity }: AuditEvent, accountId: string): string {
  return members({
    readOnly,
    resources: resourcesOf(resources, accountId),
    eventType: 'AwsApiCall',
    managementEvent: true,
    recipientAccountId: accountId,
    eventCategory: 'Management',
    tlsDetails: tlsDetailsOf(identity),
  });
}

/** In JSON as it is, and not cut. */
const plainKeyArn = /^arn:aws:kms:[\w:/-]{1,100}$/;

/** An object's text without its braces. */
function members(object: object): string {
  return JSON.stringify(object).slice(1, -1);
}

/** As `intent-line.ts` reads it. */
export function renderClosed({ intentId, outcome, epoch }: ClosedIntent): object {
  return { id: intentId, outcome, epoch };
}

/** CloudTrail's member for it, where there is any. */
function tlsDetailsOf({ tls }: AuditEvent['identity']): AuditEvent['identity']['tls'] {
  if (tls === undefined) return undefined;
  return { tlsVersion: cut(tls.tlsVersion, limits.name), cipherSuite: cut(tls.cipherSuite, limits.name) };
}

function boundedKind({ payer, eventName, errorCode, key }: CountedKind): CountedKind {
  return {
    payer: cut(payer, limits.arn),
    eventName: cut(eventName, limits.name),
    errorCode: cut(errorCode, limits.identifier),
    ...(key === undefined ? {} : { key: cut(key, limits.identifier) }),
  };
}

function resourcesOf(resources: AuditEvent['resources'], accountId: string): object {
  return resources
    .slice(0, maxResources)
    .map((ARN) =>
      ARN.startsWith('arn:aws:iam:')
        ? { accountId, type: 'AWS::IAM::Role', ARN: cut(ARN, limits.arn) }
        : { accountId, type: 'AWS::KMS::Key', ARN: cut(ARN, limits.identifier) },
    );
}

/** What AWS calls itself where nobody asked. */
const itself = 'AWS Internal';

/** Source: AWS KMS developer guide, the log entries of DeleteKey, RotateKey and DeleteExpiredKeyMaterial. */
export function renderServiceEvent(event: ServiceEvent): string {
  const accountId = cut(event.accountId, limits.identifier);
  const { additionalEventData = null, serviceEventDetails } = event;
  return withoutBrace({
    eventVersion: '1.11',
    userIdentity: { accountId, invokedBy: itself },
    eventTime: new Date(event.eventAtMs).toISOString(),
    eventSource: event.eventSource ?? 'kms.amazonaws.com',
    eventName: cut(event.eventName, limits.name),
    awsRegion: cut(event.awsRegion, limits.name),
    sourceIPAddress: itself,
    userAgent: itself,
    requestParameters: null,
    responseElements: null,
    additionalEventData: bounded(additionalEventData, maxResponseElementsBytes) ?? undefined,
    eventID: newUuid(),
    readOnly: false,
    resources: resourcesOf(event.resources, accountId),
    eventType: 'AwsServiceEvent',
    managementEvent: true,
    recipientAccountId: accountId,
    serviceEventDetails: bounded(serviceEventDetails, maxResponseElementsBytes),
    eventCategory: 'Management',
  });
}

export interface RenderedIdentity {
  /** The line up to the end of `userIdentity`, with the comma. */
  readonly beginning: string;
  readonly accountId: string;
  /** Who the kernel said it is. */
  readonly peers: object;
  /** What of its last event the next one may have again, as text. */
  readonly last: LastParts;
}

interface LastParts {
  origin?: { readonly [Name in OriginMember]: AuditEvent[Name] } & { readonly text: string };
  decision?: { readonly allowed: boolean; readonly because: string; readonly text: string };
  ending?: {
    readonly readOnly: boolean;
    resource: string;
    text: string;
    /** What stands before and after the ARN of a key. */
    readonly around: readonly [string, string] | undefined;
  };
}

type OriginMember = 'eventSource' | 'eventName' | 'awsRegion' | 'sourceIPAddress' | 'userAgent';

/** A connection's requests all have one identity, so that it is rendered once. */
const renderedIdentities = new WeakMap<AuditEvent['identity'], RenderedIdentity>();

export function renderIdentity(identity: AuditEvent['identity']): RenderedIdentity {
  const known = renderedIdentities.get(identity);
  if (known !== undefined) return known;
  const accountId = cut(identity.accountId, limits.identifier);
  const arn = cut(identity.arn, limits.arn);
  const beginning = withoutBrace({
    eventVersion: '1.11',
    userIdentity: {
      type: identity.type,
      principalId: cut(identity.principalId, limits.arn),
      arn,
      accountId,
      accessKeyId: identity.accessKeyId === undefined ? undefined : cut(identity.accessKeyId, limits.identifier),
      userName: identity.userName === undefined ? undefined : cut(identity.userName, limits.identifier),
      sessionContext: identity.session === undefined ? undefined : renderSession(identity.session, accountId),
      invokedBy: identity.invokedBy,
    },
  });
  const rendered = { beginning: `${beginning},`, accountId, peers: renderPeers(identity), last: {} };
  renderedIdentities.set(identity, rendered);
  return rendered;
}

/** CloudTrail's `sessionContext`. */
function renderSession({ role, assumed }: SessionOnRecord, accountId: string): object {
  const arn = cut(role.arn, limits.arn);
  const userName = cut(role.arn.slice(role.arn.lastIndexOf('/') + 1), limits.identifier);
  return {
    sessionIssuer: { type: 'Role', principalId: cut(role.principalId, limits.arn), arn, accountId, userName },
    attributes: assumed && { creationDate: timeOf(assumed.issuedAtMs), mfaAuthenticated: 'false' },
    sourceIdentity: assumed?.sourceIdentity,
  };
}

function renderPeers({ unix, issuedTo, session }: AuditEvent['identity']): object {
  if (unix !== undefined) return { unixPeer: { uid: unix.uid, gid: unix.gid, pid: unix.pid } };
  const assumed = session?.assumed;
  const roleSession = assumed && { assumedBy: cut(assumed.by, limits.arn), hasPolicy: assumed.hasPolicy };
  if (issuedTo === undefined) return { roleSession };
  const { uid, gid, pid, issuedAtMs } = issuedTo;
  return { credentialsIssuedTo: { uid, gid, pid, issuedAt: timeOf(issuedAtMs) }, roleSession };
}

function timeOf(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}

/** JSON text that `chain.ts` completes. */
export function withoutBrace(event: object): string {
  return JSON.stringify(event).slice(0, -1);
}

export function cut(text: string, maxCharacters: number): string {
  if (text.length <= maxCharacters) return text;
  return `${text.slice(0, maxCharacters)}…[cut ${text.length - maxCharacters} characters]`;
}

/** As `cut`, of a text that may quote what a caller wrote: what is escaped counts as it is written. */
function cutEscaped(text: string, maxCharacters: number): string {
  const written = JSON.stringify(text).length - 2;
  return cut(text, written <= 2 * maxCharacters ? maxCharacters : Math.floor(maxCharacters / maxBytesPerCharacter));
}

type Members = Readonly<Record<string, unknown>>;

/** The members as they are, or a copy with what is too long cut, or a remark in their place. */
function bounded(members: Members | null, maxBytes: number): Members | null {
  if (members === null || lengthOf(members, 0) * maxBytesPerCharacter <= maxBytes) return members;
  for (const maxCharacters of [limits.parameter, limits.parameterOfMany]) {
    const kept = keepMembers(members, maxCharacters, 0);
    if (Buffer.byteLength(JSON.stringify(kept)) <= maxBytes) return kept;
  }
  return keepShort(members, maxBytes);
}

/** Each member as far as it is short, and of the others how long they are. */
function keepShort(members: Members, maxBytes: number): Members {
  const kept: Record<string, unknown> = { __proto__: null };
  let bytes = 0;
  for (const [name, value] of Object.entries(keepMembers(members, limits.parameterOfMany, 0))) {
    const length = Buffer.byteLength(JSON.stringify(value));
    bytes += Buffer.byteLength(JSON.stringify(name)) + 64;
    kept[name] = length > maxBytes / 4 ? `[not recorded: ${length} bytes]` : value;
    bytes += length > maxBytes / 4 ? 0 : length;
    if (bytes > maxBytes) return { notRecorded: 'too long' };
  }
  return kept;
}

/** What JSON makes of a character at worst: `\u0000`. */
const maxBytesPerCharacter = 6;

/**
 * At least the length of the value's JSON text before anything is escaped; infinite when `keep` has to change something
 * other than long texts. Ordinary parameters are short and are so found to need no copy.
 */
function lengthOf(value: unknown, depth: number): number {
  if (typeof value === 'string') return value.length + 3;
  if (typeof value === 'boolean' || typeof value === 'number' || value === null) return maxNumberCharacters;
  if (typeof value !== 'object' || depth > maxDepth) return Number.POSITIVE_INFINITY;
  let length = 2;
  if (Array.isArray(value)) {
    for (const item of value) length += lengthOf(item, depth + 1);
    return value.length > maxMembers ? Number.POSITIVE_INFINITY : length;
  }
  if (!isPlain(value)) return Number.POSITIVE_INFINITY;
  const names = Object.keys(value);
  if (names.length > maxMembers) return Number.POSITIVE_INFINITY;
  for (const name of names) {
    const member = (value as Members)[name];
    if (member !== undefined) length += name.length + 3 + lengthOf(member, depth + 1);
  }
  return length;
}

const maxNumberCharacters = 26;

/** Anything with a class of its own may be bytes or a secret. */
export function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function keep(value: unknown, maxCharacters: number, depth: number): unknown {
  if (typeof value === 'string') return cut(value, maxCharacters);
  if (typeof value === 'boolean' || typeof value === 'number' || value === null) return value;
  if (typeof value !== 'object') return '[not recorded]';
  if (depth > maxDepth) return '[not recorded: too deep]';
  if (Array.isArray(value)) return keepItems(value, maxCharacters, depth);
  if (!isPlain(value)) return '[not recorded]';
  return keepMembers(value as Members, maxCharacters, depth);
}

/** A copy without prototype, in which `__proto__` is a name like any other. */
function keepMembers(members: Members, maxCharacters: number, depth: number): Members {
  const kept: Record<string, unknown> = { __proto__: null };
  let count = 0;
  for (const name of Object.keys(members)) {
    const value = members[name];
    if (value === undefined) continue;
    if (count++ === maxMembers) {
      kept['…'] = '[more members cut]';
      break;
    }
    kept[cut(name, maxCharacters)] = keep(value, maxCharacters, depth + 1);
  }
  return kept;
}

function keepItems(items: readonly unknown[], maxCharacters: number, depth: number): readonly unknown[] {
  const kept = items.slice(0, maxMembers).map((item) => keep(item, maxCharacters, depth + 1));
  if (items.length > maxMembers) kept.push(`…[${items.length - maxMembers} more cut]`);
  return kept;
}
