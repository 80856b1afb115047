/** Audit events, as examples and as fast-check's arbitraries, and folders to log them in. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { onTestFinished } from 'vitest';
import type { AuditEvent } from '../../src/audit/audit-log.ts';
import { exampleEvent } from './example-event.ts';

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-audit-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

const text = fc.string({ unit: 'binary', maxLength: 30 });

/** Events with any text in every place that a caller can reach. */
export const arbitraryEvent: fc.Arbitrary<AuditEvent> = fc
  .record({
    eventName: text,
    userAgent: fc.option(text),
    requestParameters: fc.option(fc.dictionary(text, fc.oneof(text, fc.integer(), fc.dictionary(text, text)))),
    errorMessage: text,
    userName: text,
  })
  .map(({ userName, errorMessage, ...members }) => ({
    ...exampleEvent(1),
    ...members,
    errorCode: 'ValidationException',
    errorMessage,
    identity: { ...exampleEvent(1).identity, userName },
  }));
