/**
 * The daemon's log: one JSON object per line on stderr, by pino.
 *
 * Secrets stay out by design and not by a filter: no layer passes a request or an answer to the log, and plaintexts and
 * PINs are objects that print as what they are and not what they hold. Lines are written synchronously, because the last
 * lines before an end are those that matter; nothing on the path of a request logs.
 */

import { destination, type Logger as Pino, pino, stdSerializers } from 'pino';
import type { Configuration } from '../config/configuration-schema.ts';
import { version } from './version.ts';

export function createLog(level: Configuration['log']['level']): Pino {
  return pino(
    {
      level,
      base: { pid: process.pid, version },
      serializers: { err: stdSerializers.err, error: stdSerializers.err },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination({ fd: 2, sync: true }),
  );
}
