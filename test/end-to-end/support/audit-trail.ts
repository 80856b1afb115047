/** The audit log of an instance, as its administrator reads it: one JSON object per line, in CloudTrail's shape. */

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface AuditLine {
  readonly eventName: string;
  readonly requestID: string;
  readonly errorCode?: string;
  readonly errorMessage?: string;
  readonly readOnly: boolean;
  readonly userIdentity: { readonly type: string; readonly arn: string; readonly accountId: string };
  readonly requestParameters: Readonly<Record<string, unknown>> | null;
  readonly responseElements: Readonly<Record<string, unknown>> | null;
  readonly resources: readonly { readonly ARN: string }[];
  /** Where the line stands in the chain. */
  readonly drawbridge: { readonly sequence: number; readonly previousHash: string; readonly hash: string };
  readonly [member: string]: unknown;
}

/** Every file of a folder and the folders in it. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

export function auditFolder(instanceFolder: string): string {
  const log = filesIn(instanceFolder).find((file) => file.endsWith('/audit.jsonl'));
  if (log === undefined) throw new Error('the instance has no audit log');
  return dirname(log);
}

/** One event for each request, and those of what the daemon did of its own accord; without what ties changes to them. */
export function auditLines(instanceFolder: string): AuditLine[] {
  const events = linesOf(instanceFolder).flatMap((line) => eventIn(line) ?? []);
  return events.filter(({ eventName }) => !tying.includes(eventName));
}

const tying = ['AuditIntent', 'AuditOutcome', 'AuditTornEnd', 'AuditCheckpoint'];

function linesOf(instanceFolder: string): string[] {
  return readFileSync(join(auditFolder(instanceFolder), 'audit.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line !== '');
}

/** `undefined` for the beginning of a line, which is all that a killed daemon may leave of one. */
function eventIn(line: string): AuditLine | undefined {
  try {
    return JSON.parse(line) as AuditLine;
  } catch {
    return undefined; // Whether it may be there is for `brokenLink` to say.
  }
}

/**
 * Checks the chain with nothing but SHA-256 and the description of the log, as anybody can who does not trust the program
 * that wrote it. The beginning of a line is in order at the very end alone: a start sets it aside.
 * @returns What is wrong with the first line that does not fit, `undefined` when all do.
 */
export function brokenLink(instanceFolder: string): string | undefined {
  let sequence = 0;
  let previousHash = '0'.repeat(64);
  let torn = '';
  for (const [index, line] of linesOf(instanceFolder).entries()) {
    const event = eventIn(line);
    if (event === undefined) {
      torn = line;
      continue;
    }
    const link = event.drawbridge;
    const hash = sha256(line.slice(0, line.lastIndexOf(',"hash":"')));
    const place = `line ${index + 1}, ${event.eventName},`;
    if (link.sequence !== sequence + 1) return `${place} has sequence ${link.sequence} after ${sequence}`;
    if (link.previousHash !== previousHash) return `${place} does not carry the hash of the record before`;
    if (link.hash !== hash) return `${place} does not carry its own hash`;
    if (torn !== '') return `${place} follows ${JSON.stringify(torn)}`;
    sequence = link.sequence;
    previousHash = hash;
  }
  return undefined;
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
