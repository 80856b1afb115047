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
  readonly drawbridge: { readonly sequence: number; readonly previousHash: string };
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

export function auditLines(instanceFolder: string): AuditLine[] {
  return linesOf(instanceFolder).map((line) => JSON.parse(line) as AuditLine);
}

function linesOf(instanceFolder: string): string[] {
  return readFileSync(join(auditFolder(instanceFolder), 'audit.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line !== '');
}

/**
 * Checks the chain with nothing but SHA-256, as anybody can who does not trust the program that wrote it.
 * @returns What is wrong with the first line that does not fit, `undefined` when all do.
 */
export function brokenLink(instanceFolder: string): string | undefined {
  const lines = linesOf(instanceFolder);
  for (const [index, line] of lines.entries()) {
    const before = lines[index - 1];
    if (before === undefined) continue;
    const { sequence, previousHash } = (JSON.parse(line) as AuditLine).drawbridge;
    const formerSequence = (JSON.parse(before) as AuditLine).drawbridge.sequence;
    if (sequence !== formerSequence + 1) return `line ${index + 1} has sequence ${sequence} after ${formerSequence}`;
    if (previousHash !== createHash('sha256').update(before).digest('hex')) {
      return `line ${index + 1} does not carry the hash of the line before`;
    }
  }
  return undefined;
}
