/**
 * How a place in the audit log is named, where something is wrong: `audit.jsonl:LINE:OFFSET`, with the line counted from 1 and
 * the offset of its first byte from 0. Where the log does not hold a head that the metadata noted, the name says which:
 * `audit.jsonl:LINE:OFFSET:SEQUENCE:HASH`, with the first twelve digits of the hash. So a place is accepted for one reason, and
 * for none that comes later.
 */

import type { NotedLink } from './statements.ts';

/** The log's file in its folder. */
export const auditFileName = 'audit.jsonl';

export interface Place {
  readonly line: number;
  readonly offset: number;
  readonly missing?: NotedLink;
}

const hashDigits = 12;

export function placeText({ line, offset, missing }: Place): string {
  const noted = missing === undefined ? '' : `:${missing.sequence}:${missing.hash.slice(0, hashDigits)}`;
  return `${auditFileName}:${line}:${offset}${noted}`;
}

/** @returns `undefined` for what `placeText` does not write. A folder before the file's name is passed over. */
export function parsePlace(text: string): Place | undefined {
  const [, line, offset, sequence, hash] =
    /(?:^|\/)audit\.jsonl:(\d{1,15}):(\d{1,15})(?::(\d{1,15}):([0-9a-f]{12}))?$/.exec(text) ?? [];
  if (line === undefined || offset === undefined) return undefined;
  const place = { line: Number(line), offset: Number(offset) };
  if (sequence === undefined || hash === undefined) return place;
  return { ...place, missing: { sequence: Number(sequence), hash } };
}

/** Whether both are the same record's. */
export function isSameLink(one: NotedLink, other: NotedLink): boolean {
  return one.sequence === other.sequence && one.hash.slice(0, hashDigits) === other.hash.slice(0, hashDigits);
}
