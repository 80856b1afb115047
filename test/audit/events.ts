/** Audit events, as examples and as fast-check's arbitraries, and folders to log them in. */

import { hash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { onTestFinished } from 'vitest';
import type { AuditEvent } from '../../src/audit/audit-log.ts';
import { chainStart } from '../../src/audit/chain.ts';
import { auditLogPath } from '../../src/audit/open-audit-log.ts';
import { renderRecord } from '../../src/audit/record-line.ts';
import { chainLine } from './chained-line.ts';
import { exampleEvent } from './example-event.ts';

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-audit-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

/**
 * A log of so many events as a former version left it: with a torn line that is accounted for where it is.
 * @returns What is in the file.
 */
export function formerLog(folder: string, torn: string, eventsBefore: number): string {
  let head = chainStart;
  let content = '';
  const add = (event: string): void => {
    const { line, link } = chainLine(event, head);
    content += `${line}\n`;
    head = link;
  };
  for (let number = 1; number <= eventsBefore; number++) add(renderRecord(exampleEvent(number)));
  content += `${torn}\n`;
  const tornLine = { bytes: Buffer.byteLength(torn), sha256: hash('sha256', torn) };
  add(renderRecord({ statement: { tornLine }, eventAtMs: 0 }));
  for (let number = 1; number <= 3; number++) add(renderRecord(exampleEvent(eventsBefore + number)));
  writeFileSync(auditLogPath(folder), content, { mode: 0o600 });
  return content;
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
