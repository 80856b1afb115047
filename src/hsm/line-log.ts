/**
 * What an HSM host prints, line by line, into the log: bounded, because a library in trouble can print without end.
 *
 * The text is the vendor's and goes into a field, never into the message; a logger that writes JSON escapes whatever
 * control characters it has.
 */

import type { Readable } from 'node:stream';
import type { Logger } from '../kms/logger.ts';

const maxLineBytes = 1000;
const maxLinesPerWindow = 20;
const windowMs = 10_000;

/**
 * Logs the lines of `stream` until it ends.
 * @param fields Go with each line; `text` is added.
 */
export function logLines(stream: Readable, log: Logger, fields: object): void {
  let line = '';
  let isCut = false;
  let windowEndsAtMs = 0;
  let linesInWindow = 0;
  let leftOut = 0;

  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const parts = text.split('\n');
    const rest = parts.pop() ?? '';
    for (const part of parts) {
      add(part);
      emit();
    }
    add(rest);
  });
  stream.on('end', () => {
    if (line !== '') emit();
    reportLeftOut();
  });
  stream.on('error', () => undefined); // The process is gone; whoever watches it says so.

  function add(part: string): void {
    isCut ||= line.length + part.length > maxLineBytes;
    line = (line + part).slice(0, maxLineBytes);
  }

  function emit(): void {
    const nowMs = performance.now();
    if (nowMs >= windowEndsAtMs) {
      reportLeftOut();
      windowEndsAtMs = nowMs + windowMs;
      linesInWindow = 0;
    }
    if (++linesInWindow > maxLinesPerWindow) leftOut++;
    else if (line !== '') log.warn({ ...fields, text: isCut ? `${line}…` : line }, 'the HSM host says');
    line = '';
    isCut = false;
  }

  function reportLeftOut(): void {
    if (leftOut > 0) log.warn({ ...fields, leftOut }, 'the HSM host says more than is logged');
    leftOut = 0;
  }
}
