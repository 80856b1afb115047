import { expect, test } from 'vitest';
import type { RecordableEvent } from '../../src/audit/audit-log.ts';
import { chainStart } from '../../src/audit/chain.ts';
import { renderRecord } from '../../src/audit/record-line.ts';
import { StatedChanges } from '../../src/audit/stated-changes.ts';
import { chainLine } from './chained-line.ts';
import { exampleEvent } from './example-event.ts';

const eventAtMs = 0;
const accountId = '000000000000';
const intent = (intentId: string): RecordableEvent => ({ intentId, eventAtMs, accountId, request: null, changes: [] });
const outcome = (intentId: string, epoch: number): RecordableEvent => ({
  intentId,
  outcome: 'done',
  epoch,
  because: null,
  eventAtMs,
  accountId,
});
const request = (intentId: string, epoch: number): RecordableEvent => ({
  ...exampleEvent(1),
  intent: { intentId, outcome: 'done', epoch },
});
const checkpoint = (epoch: number, records: string): RecordableEvent => ({
  statement: { checkpoint: { epoch, records, intentId: null } },
  eventAtMs,
});
const accepted = (epoch: number): RecordableEvent => ({
  statement: { metadataAccepted: { epoch, records: 'accepted', intentId: 'i', by: { uid: 0 } } },
  eventAtMs,
});

test.each<[string, RecordableEvent[], object | null]>([
  ['nothing', [intent('a')], null],
  ['the outcome of a change', [intent('a'), outcome('a', 7)], { epoch: 7, records: null, intentId: 'a' }],
  ['the event of a request', [intent('a'), request('a', 7)], { epoch: 7, records: null, intentId: 'a' }],
  ['a checkpoint', [request('a', 7), checkpoint(8, 'x')], { epoch: 8, records: 'x', intentId: null }],
  [
    'a checkpoint of the same moment',
    [request('a', 8), checkpoint(8, 'x')],
    { epoch: 8, records: 'x', intentId: null },
  ],
  ['an outcome that was late', [checkpoint(8, 'x'), request('a', 7)], { epoch: 8, records: 'x', intentId: null }],
  ['an operator', [checkpoint(8, 'x'), accepted(9)], { epoch: 9, records: 'accepted', intentId: 'i' }],
])('Where the metadata stands is known from %s', (_what, events, expected) => {
  const changes = new StatedChanges();
  for (const event of events) changes.take(Buffer.from(chainLine(renderRecord(event), chainStart).line));
  expect(changes.found().store).toEqual(expected);
});
