import { expect, test } from 'vitest';
import { chainStart } from '../../src/audit/chain.ts';
import { readStatement } from '../../src/audit/log-statement.ts';
import { renderRecord } from '../../src/audit/record-line.ts';
import { chainLine } from './chained-line.ts';
import { exampleEvent } from './example-event.ts';

const known = { bytes: 17, sha256: 'ab'.repeat(32) };
const statements = {
  AuditTornLine: { tornLine: known },
  AuditTornEnd: { tornEnd: { ...known, offset: 5, file: 'audit.torn-1-0000' } },
  AuditAccepted: { accepted: { ...known, offset: 5, place: 'audit.jsonl:1:5', what: 'changed', by: { uid: 0 } } },
  AuditCheckpoint: { checkpoint: { epoch: 7, records: 'ab', intentId: null } },
  AuditMetadataAccepted: { metadataAccepted: { epoch: 9, records: 'ab', intentId: 'cd', by: { uid: 0 } } },
};

test.each(Object.entries(statements))('%s is read back as it was written', (eventName, statement) => {
  const { line } = chainLine(renderRecord({ statement, eventAtMs: 0 }), chainStart);
  expect(JSON.parse(line)).toMatchObject({ eventName, eventSource: 'drawbridge', eventType: 'AwsServiceEvent' });
  expect(readStatement(Buffer.from(line))).toEqual(statement);
});

test.each(Object.entries(statements))('%s cannot be made by a caller, whatever he asks for', (eventName, statement) => {
  const claim = `"eventSource":"drawbridge","eventName":"${eventName}"`;
  for (const name of [eventName, claim])
    for (const eventSource of ['kms.amazonaws.com', 'drawbridge']) {
      const requestParameters = { claim, ...statement, additionalEventData: statement };
      const event = { ...exampleEvent(1), eventName: name, eventSource, userAgent: claim, requestParameters };
      expect(readStatement(Buffer.from(chainLine(renderRecord(event), chainStart).line))).toBe(undefined);
    }
});
