/**
 * What an HSM host prints, line by line, into the log: bounded, because a library in trouble can print without end.
 *
 * What the host itself says goes there. What the library prints does not, unless somebody wants it: a library that traces its calls,
 * as OpenSC's pkcs11-spy and vendors' own do, prints the PIN and the plaintexts of whoever calls it, in whatever form it likes, and no
 * look at its lines tells which. It is told once that there were some.
 *
 * The text is the vendor's and goes into a field, never into the message; a logger that writes JSON escapes whatever
 * control characters it has.
 */

import type { Readable } from 'node:stream';
import type { Logger } from '../kms/logger.ts';
import { hostWords } from './calls.ts';

export interface HostOutput {
  /** Go with each line; `text` is added. */
  readonly fields: object;
  /** Does the library's output go into the log as well? */
  readonly isLibraryLogged: boolean;
}

const maxLineBytes = 1000;
const maxLinesPerWindow = 20;
const windowMs = 10_000;

/** Logs the lines of `stream` until it ends. */
export function logLines(stream: Readable, log: Logger, { fields, isLibraryLogged }: HostOutput): void {
  let line = '';
  let isCut = false;
  let windowEndsAtMs = 0;
  let linesInWindow = 0;
  let leftOut = 0;
  let isWithheldTold = false;

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
    if (isLibraryLogged || line.startsWith(hostWords)) say();
    else if (line !== '') withhold();
    line = '';
    isCut = false;
  }

  function withhold(): void {
    if (!isWithheldTold)
      log.warn(
        fields,
        'the library prints what is not logged, as it may hold the PIN and plaintexts; logLibraryOutput has it logged',
      );
    isWithheldTold = true;
  }

  function say(): void {
    const nowMs = performance.now();
    if (nowMs >= windowEndsAtMs) {
      reportLeftOut();
      windowEndsAtMs = nowMs + windowMs;
      linesInWindow = 0;
    }
    if (++linesInWindow > maxLinesPerWindow) leftOut++;
    else if (line !== '') log.warn({ ...fields, text: isCut ? `${line}…` : line }, 'the HSM host says');
  }

  function reportLeftOut(): void {
    if (leftOut > 0) log.warn({ ...fields, leftOut }, 'the HSM host says more than is logged');
    leftOut = 0;
  }
}
