/**
 * An audit event as JSON text in CloudTrail's event shape, without its closing brace: `chain.ts` completes it.
 *
 * INVARIANT: exactly the members of `AuditEvent` are written, each by name; whatever else an object carries is not read.
 * Strings come from callers: quotes, control characters and lone surrogates are escaped as JSON has it, so an event is
 * always one line, and long ones are cut with a mark. The limits below keep the whole line under `maxLineBytes`, whatever
 * a caller sends. Bytes are never written, even where an operation names them as recordable by mistake.
 *
 * The text is put together by hand because it is on the path of every request.
 *
 * Source: AWS CloudTrail user guide, "CloudTrail record contents" (event version 1.11).
 */

import { randomUUID } from 'node:crypto';
import type { AuditEvent } from './audit-log.ts';

/** The longest line that is written, its line feed included. */
export const maxLineBytes = 64 * 1024;

/** Characters kept of a text; the worst of them takes six bytes (`\u0000`). */
const limits = {
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
const maxMembers = 64;
const maxDepth = 5;

export function renderEvent(event: AuditEvent, region: string): string {
  const { identity } = event;
  const accountId = quote(identity.accountId, limits.identifier);
  const errors =
    event.errorCode === null
      ? ''
      : `"errorCode":${quote(event.errorCode, limits.identifier)},"errorMessage":${quoteOrNull(event.errorMessage, limits.errorMessage)},`;
  return [
    `{"eventVersion":"1.11","userIdentity":${renderIdentity(identity, accountId)}`,
    `"eventTime":"${new Date(event.receivedAtMs).toISOString()}","eventSource":"kms.amazonaws.com"`,
    `"eventName":${quote(event.eventName, limits.name)},"awsRegion":${quote(region, limits.name)}`,
    `"sourceIPAddress":${quote(event.sourceIPAddress, limits.name)}`,
    `"userAgent":${quoteOrNull(event.userAgent, limits.userAgent)}`,
    `${errors}"requestParameters":${renderBounded(event.requestParameters, maxRequestParametersBytes)}`,
    `"responseElements":${renderBounded(event.responseElements, maxResponseElementsBytes)}`,
    `"additionalEventData":${renderAdditional(event)},"requestID":${quote(event.requestId, limits.identifier)}`,
    `"eventID":"${randomUUID()}","readOnly":${event.readOnly === true}`,
    `"resources":${renderResources(event.resources, accountId)},"eventType":"AwsApiCall","managementEvent":true`,
    `"recipientAccountId":${accountId},"eventCategory":"Management"`,
  ].join(',');
}

/** What a line that was not completely written is accounted for with. */
export interface TornLine {
  readonly bytes: number;
  /** SHA-256 of these bytes, in hexadecimal. */
  readonly sha256: string;
}

const tornLineBeginning = '"eventSource":"drawbridge","eventName":"AuditTornLine"';

/** The event that accounts for an incomplete line before it. Only the log itself makes one: see `readTornLine`. */
export function renderTornLine({ bytes, sha256 }: TornLine, region: string, nowMs: number): string {
  return [
    '{"eventVersion":"1.11","userIdentity":{"type":"AWSService","invokedBy":"drawbridge"}',
    `"eventTime":"${new Date(nowMs).toISOString()}",${tornLineBeginning},"awsRegion":${quote(region, limits.name)}`,
    '"sourceIPAddress":"drawbridge","userAgent":"drawbridge","requestParameters":null,"responseElements":null',
    `"additionalEventData":{"tornLine":{"bytes":${bytes},"sha256":"${sha256}"}},"requestID":null`,
    `"eventID":"${randomUUID()}","readOnly":true,"resources":[],"eventType":"AwsServiceEvent","managementEvent":true`,
    '"eventCategory":"Management"',
  ].join(',');
}

/**
 * Reads what `renderTornLine` wrote; `undefined` for every other line. A caller can ask for an operation that is called
 * `AuditTornLine`, but its event comes from another source.
 */
export function readTornLine(line: Buffer): TornLine | undefined {
  if (!line.includes(tornLineBeginning)) return undefined;
  try {
    const event: unknown = JSON.parse(line.toString('utf8'));
    const { eventSource, additionalEventData } = event as {
      readonly eventSource?: unknown;
      readonly additionalEventData?: { readonly tornLine?: TornLine };
    };
    return eventSource === 'drawbridge' ? additionalEventData?.tornLine : undefined;
  } catch {
    // Not JSON: no line of ours, so it accounts for nothing.
    return undefined;
  }
}

function renderIdentity(identity: AuditEvent['identity'], accountId: string): string {
  const arn = quote(identity.arn, limits.arn);
  const principalId = identity.type === 'Root' ? accountId : arn;
  const accessKeyId =
    identity.accessKeyId === undefined ? '' : `,"accessKeyId":${quote(identity.accessKeyId, limits.identifier)}`;
  const userName = identity.userName === undefined ? '' : `,"userName":${quote(identity.userName, limits.identifier)}`;
  return `{"type":"${identity.type}","principalId":${principalId},"arn":${arn},"accountId":${accountId}${accessKeyId}${userName}}`;
}

function renderAdditional({ decision, identity: { unix } }: AuditEvent): string {
  const decided =
    decision === null
      ? 'null'
      : `{"allowed":${decision.allowed === true},"because":${quote(decision.because, limits.because)}}`;
  const peer = unix === undefined ? '' : `,"unixPeer":{"uid":${+unix.uid},"gid":${+unix.gid},"pid":${+unix.pid}}`;
  return `{"decision":${decided}${peer}}`;
}

function renderResources(arns: readonly string[], accountId: string): string {
  if (arns.length === 0) return '[]';
  const rows = arns
    .slice(0, maxResources)
    .map((arn) => `{"accountId":${accountId},"type":"AWS::KMS::Key","ARN":${quote(arn, limits.identifier)}}`);
  return `[${rows.join(',')}]`;
}

function renderBounded(members: Readonly<Record<string, unknown>> | null, maxBytes: number): string {
  if (members === null) return 'null';
  for (const maxCharacters of [limits.parameter, limits.parameterOfMany]) {
    const text = renderMembers(members, maxCharacters, 0);
    // A character of this text takes at most three bytes: what would take more is escaped or a pair of surrogates.
    if (text.length * 3 <= maxBytes || Buffer.byteLength(text) <= maxBytes) return text;
  }
  return '{"notRecorded":"too long"}';
}

function renderValue(value: unknown, maxCharacters: number, depth: number): string {
  if (typeof value === 'string') return quote(value, maxCharacters);
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : 'null';
  if (value === null) return 'null';
  if (typeof value !== 'object') return '"[not recorded]"';
  if (depth > maxDepth) return '"[not recorded: too deep]"';
  if (Array.isArray(value)) return renderList(value, maxCharacters, depth);
  const prototype: unknown = Object.getPrototypeOf(value);
  // Anything with a class of its own may be bytes or a secret.
  if (prototype !== Object.prototype && prototype !== null) return '"[not recorded]"';
  return renderMembers(value as Readonly<Record<string, unknown>>, maxCharacters, depth);
}

function renderMembers(members: Readonly<Record<string, unknown>>, maxCharacters: number, depth: number): string {
  let text = '';
  let count = 0;
  for (const name of Object.keys(members)) {
    const value = members[name];
    if (value === undefined) continue;
    if (count === maxMembers) return `{${text},"…":"[more members cut]"}`;
    text += `${count++ === 0 ? '' : ','}${quote(name, maxCharacters)}:${renderValue(value, maxCharacters, depth + 1)}`;
  }
  return `{${text}}`;
}

function renderList(list: readonly unknown[], maxCharacters: number, depth: number): string {
  const items = list.slice(0, maxMembers).map((item) => renderValue(item, maxCharacters, depth + 1));
  if (list.length > maxMembers) items.push(`"…[${list.length - maxMembers} more cut]"`);
  return `[${items.join(',')}]`;
}

/** Printable ASCII that JSON takes as it is. */
const plain = /^[ !#-[\]-~]*$/;

function quote(text: string, maxCharacters: number): string {
  const kept =
    text.length <= maxCharacters
      ? text
      : `${text.slice(0, maxCharacters)}…[cut ${text.length - maxCharacters} characters]`;
  return plain.test(kept) ? `"${kept}"` : JSON.stringify(kept);
}

function quoteOrNull(text: string | null, maxCharacters: number): string {
  return text === null ? 'null' : quote(text, maxCharacters);
}
