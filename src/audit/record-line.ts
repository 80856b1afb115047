/** Any event as JSON text without its closing brace, by what it is. */

import type { RecordableEvent } from './audit-log.ts';
import { renderEvent, renderServiceEvent } from './event-line.ts';
import { renderIntent, renderOutcome } from './intent-line.ts';
import { renderStatement } from './log-statement.ts';

/** @throws RangeError for a time that is none. */
export function renderRecord(event: RecordableEvent): string {
  if ('receivedAtMs' in event) return renderEvent(event);
  if ('serviceEventDetails' in event) return renderServiceEvent(event);
  if ('statement' in event) return renderStatement(event);
  return 'changes' in event ? renderIntent(event) : renderOutcome(event);
}
