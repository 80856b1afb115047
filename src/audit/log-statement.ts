/**
 * The lines of what the log says about itself, `AuditTornEnd` and others: nobody's request can make one. They have no `awsRegion`:
 * there is one log, whichever Region was asked.
 */

import { randomUUID } from 'node:crypto';
import { withoutBrace } from './event-line.ts';
import type { LogStatement, StatementEvent, Statements } from './statements.ts';

const eventNames = {
  tornEnd: 'AuditTornEnd',
  accepted: 'AuditAccepted',
  checkpoint: 'AuditCheckpoint',
  metadataAccepted: 'AuditMetadataAccepted',
  tornLine: 'AuditTornLine',
} as const satisfies Record<keyof Statements, string>;

/** @returns JSON text that `chain.ts` completes. */
export function renderStatement({ statement, eventAtMs }: StatementEvent): string {
  const [name] = Object.keys(statement) as [keyof Statements]; // It has one member.
  return withoutBrace({
    eventVersion: '1.11',
    userIdentity: { type: 'AWSService', invokedBy: 'drawbridge' },
    eventTime: new Date(eventAtMs).toISOString(),
    eventSource: 'drawbridge',
    eventName: eventNames[name],
    sourceIPAddress: 'drawbridge',
    userAgent: 'drawbridge',
    requestParameters: null,
    responseElements: null,
    additionalEventData: statement,
    requestID: null,
    eventID: randomUUID(),
    readOnly: true,
    resources: [],
    eventType: 'AwsServiceEvent',
    managementEvent: true,
    eventCategory: 'Management',
  });
}

const mark = Buffer.from('"eventSource":"drawbridge","eventName":"Audit');
const statementNames = new Map<unknown, keyof Statements>(
  // Its own keys and no others.
  (Object.keys(eventNames) as (keyof Statements)[]).map((name) => [eventNames[name], name]),
);

/** Whether these bytes may hold a statement: a look that costs little. */
export function mayHoldStatement(bytes: Buffer): boolean {
  return bytes.includes(mark);
}

/**
 * Reads what `renderStatement` wrote; `undefined` for every other line. A caller can ask for an operation that is called
 * `AuditTornLine`, but its event is of another source or type.
 */
export function readStatement(line: Buffer): LogStatement | undefined {
  if (!mayHoldStatement(line)) return undefined;
  try {
    const event = JSON.parse(line.toString('utf8')) as Readonly<Record<string, unknown>>;
    const name = statementNames.get(event['eventName']);
    if (name === undefined || event['eventSource'] !== 'drawbridge' || event['eventType'] !== 'AwsServiceEvent')
      return undefined;
    const data = event['additionalEventData'] as LogStatement | null | undefined;
    // A line of ours with this name has this member.
    return data?.[name as keyof LogStatement] === undefined ? undefined : data;
  } catch {
    // Not JSON: no line of ours, so it states nothing.
    return undefined;
  }
}
