/**
 * The lines of an intent and of its outcome: `AuditIntent` says which records a change is about to put and remove, and
 * `AuditOutcome` what became of it where no request's event does.
 *
 * INVARIANT: of a record only plain values are written, so neither bytes nor sealed secrets; that is decided by what a value
 * is, not by a list. A policy is written whole as long as the line has room for it. What has none is cut, with the SHA-256 of
 * all of it, so that whoever has the text can prove that it is the one.
 */

import { hash, randomUUID } from 'node:crypto';
import type { ClosedIntent, IntendedChange, IntentEvent, OutcomeEvent, StatedIntent } from './audit-log.ts';
import { cut, isPlain, limits, renderClosed, renderIdentity, withoutBrace } from './event-line.ts';

/** Of all changes of an intent: with who intends it and the chain it stays under `maxLineBytes`. */
const maxChangesBytes = 48 * 1024;
/** Kept of a text when its whole change is too long. */
const cutTextCharacters = 1024;

const source = 'drawbridge';
const names = { intent: 'AuditIntent', outcome: 'AuditOutcome' } as const;

export function renderIntent({ intentId, eventAtMs, accountId, request, changes }: IntentEvent): string {
  const { beginning, peers } = request === null ? itself : renderIdentity(request.identity);
  const requested =
    request === null
      ? undefined
      : { requestID: cut(request.requestId, limits.identifier), eventName: cut(request.operationName, limits.name) };
  const rest = withoutBrace({
    eventTime: new Date(eventAtMs).toISOString(),
    eventSource: source,
    eventName: names.intent,
    awsRegion: request === null ? undefined : cut(request.awsRegion, limits.name),
    sourceIPAddress: source,
    userAgent: source,
    requestParameters: null,
    responseElements: null,
    additionalEventData: { intent: { id: intentId }, request: requested, ...statementOf(changes), ...peers },
    // A search for a request finds the event that tells how it ended.
    requestID: null,
    eventID: randomUUID(),
    readOnly: false,
    resources: [],
    eventType: 'AwsServiceEvent',
    managementEvent: true,
    recipientAccountId: cut(accountId, limits.identifier),
    eventCategory: 'Management',
  });
  return beginning + rest.slice(1);
}

export function renderOutcome({ because, eventAtMs, accountId, ...closed }: OutcomeEvent): string {
  return (
    itself.beginning +
    withoutBrace({
      eventTime: new Date(eventAtMs).toISOString(),
      eventSource: source,
      eventName: names.outcome,
      sourceIPAddress: source,
      userAgent: source,
      requestParameters: null,
      responseElements: null,
      additionalEventData: {
        intent: renderClosed(closed),
        because: because === null ? undefined : cut(because, limits.because),
      },
      requestID: null,
      eventID: randomUUID(),
      readOnly: true,
      resources: [],
      eventType: 'AwsServiceEvent',
      managementEvent: true,
      recipientAccountId: cut(accountId, limits.identifier),
      eventCategory: 'Management',
    }).slice(1)
  );
}

const itself = {
  beginning: '{"eventVersion":"1.11","userIdentity":{"type":"AWSService","invokedBy":"drawbridge"},',
  peers: {},
};

/** What an intent says of its changes, as many as there is room for. */
function statementOf(changes: readonly IntendedChange[]): {
  readonly changes: readonly unknown[];
  readonly more?: number;
} {
  const stated: unknown[] = [];
  let bytes = 0;
  for (const [index, change] of changes.entries()) {
    let statement = describe(change, Number.POSITIVE_INFINITY);
    let more = lengthOf(statement);
    if (bytes + more > maxChangesBytes) {
      statement = describe(change, cutTextCharacters);
      more = lengthOf(statement);
    }
    if (bytes + more > maxChangesBytes) return { changes: stated, more: changes.length - index };
    stated.push(statement);
    bytes += more;
  }
  return { changes: stated };
}

function lengthOf(statement: unknown): number {
  return Buffer.byteLength(JSON.stringify(statement)) + 1;
}

function describe(change: IntendedChange, maxCharacters: number): unknown {
  const record = plain(change.record, maxCharacters);
  return 'put' in change ? { put: change.put, record } : { remove: change.remove, record };
}

function plain(value: unknown, maxCharacters: number): unknown {
  if (typeof value === 'string') {
    if (value.length <= maxCharacters) return value;
    return `${cut(value, maxCharacters)} sha256:${hash('sha256', value)}`;
  }
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => plain(item, maxCharacters));
  if (typeof value !== 'object' || !isPlain(value)) return '[not recorded]';
  const members: Record<string, unknown> = { __proto__: null };
  for (const [name, member] of Object.entries(value))
    if (member !== undefined) members[name] = plain(member, maxCharacters);
  return members;
}

/** What a line says of intents: it opens one, closes one, or neither. */
export type IntentStatement = { readonly opened: StatedIntent } | { readonly closed: ClosedIntent };

const mark = Buffer.from('"intent":{"id":"');

/**
 * Reads what `renderIntent`, `renderOutcome` and `renderEvent` wrote. A caller can ask for an operation that is called
 * `AuditIntent` or send a member called `intent`, but its event comes from another source, and that member stands elsewhere.
 */
export function readIntent(line: Buffer): IntentStatement | undefined {
  if (!line.includes(mark)) return undefined;
  let event: Readonly<Record<string, unknown>>;
  try {
    event = JSON.parse(line.toString('utf8')) as typeof event;
  } catch {
    // Not JSON: no line of ours.
    return undefined;
  }
  const data = event['additionalEventData'] as Readonly<Record<string, unknown>> | null | undefined;
  const intent = data?.['intent'] as (Partial<ClosedIntent> & { readonly id: string }) | undefined;
  if (intent === undefined) return undefined;
  const { id: intentId, outcome, epoch } = intent;
  if (outcome !== undefined) return { closed: { intentId, outcome, epoch } };
  if (event['eventSource'] !== source || event['eventName'] !== names.intent) return undefined;
  // What a line of ours with this name has.
  return { opened: { intentId, changes: data?.['changes'] as StatedIntent['changes'] } };
}
