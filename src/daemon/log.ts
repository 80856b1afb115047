/**
 * The daemon's log: one JSON object per line on stderr, by pino.
 *
 * Secrets stay out by design and not by a filter: no layer passes a request or an answer to the log, and plaintexts and
 * PINs are objects that print as what they are and not what they hold. Lines are written synchronously, because the last
 * lines before an end are those that matter. What requests provoke is counted (`summed-log.ts`), and no line is longer than
 * `maxLineCharacters`.
 */

import { type DestinationStream, destination, pino, stdSerializers } from 'pino';
import type { Configuration } from '../config/configuration-schema.ts';
import { defaultBudgets, type LogBudget } from '../kms/budgets.ts';
import { type SummedLog, sumUp } from './summed-log.ts';
import { version } from './version.ts';

/** An error with the stacks of its causes has some 4 KB. */
const maxLineCharacters = 16 * 1024;
/** Of a longer line: what is kept of it, as one text, which is at most twice as long in JSON of JSON. */
const keptCharacters = 4 * 1024;

/** @param to Absent: stderr. */
export function createLog(
  level: Configuration['log']['level'],
  budget: LogBudget = defaultBudgets.log,
  to: DestinationStream = destination({ fd: 2, sync: true }),
): SummedLog {
  const log = sumUp(
    pino(
      {
        level,
        base: { pid: process.pid, version },
        serializers: { err: stdSerializers.err, error: stdSerializers.err },
        timestamp: () => `,"time":"${new Date().toISOString()}"`,
        formatters: { level: (label) => ({ level: label }) },
      },
      { write: (line) => to.write(line.length <= maxLineCharacters ? line : shortened(line)) },
    ),
    budget,
  );
  process.once('exit', () => log.flush());
  return log;
}

function shortened(line: string): string {
  const { level, pid, version, time, msg } = JSON.parse(line) as Record<string, unknown>;
  const kept = { level, pid, version, time, cut: line.slice(0, keptCharacters), msg };
  return `${JSON.stringify(kept)}\n`;
}
