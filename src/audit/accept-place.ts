/**
 * An operator's word on a place at which the audit log was tampered with or damaged: a record that names it, what stands there and
 * who said so, and with which the chain goes on. What is wrong stays where it is, as evidence, and may not change any more.
 *
 * It takes no other authority than that of the file: whoever may write the log could do worse, and this is on record.
 */

import { hash } from 'node:crypto';
import { AuditError } from './audit-error.ts';
import type { AuditHead } from './audit-log.ts';
import { auditLogPath, openAuditLog } from './open-audit-log.ts';
import { isSameLink, parsePlace } from './place.ts';
import { type NamedProblem, readAuditEvents, verifyAuditLog } from './read-audit-log.ts';
import type { WrongBytes } from './statements.ts';

export interface Acceptance {
  /** Of the log. */
  readonly folder: string;
  /** As a start or a verification named it. */
  readonly place: string;
  /** Who accepts it. */
  readonly uid: number;
  readonly clock?: () => number;
}

/**
 * @returns The end of the chain, with the record of it.
 * @throws AuditError `noSuchPlace` when nothing is wrong there, and whatever opening the log refuses with.
 */
export async function acceptPlace({ folder, place: text, uid, clock = Date.now }: Acceptance): Promise<AuditHead> {
  const place = parsePlace(text);
  if (place === undefined) throw refused(`\`${text}\` names no place of an audit log`);
  const { line, offset, missing } = place;
  let found: NamedProblem | undefined;
  let first: NamedProblem | undefined;
  await verifyAuditLog(folder, (problem) => {
    first ??= problem;
    if (problem.line === line && problem.offset === offset) found ??= problem;
  });
  if (found === undefined && missing === undefined) {
    const instead = first === undefined ? 'and nowhere else' : `the first place is ${first.place}`;
    throw refused(`nothing is wrong with \`${auditLogPath(folder)}\` at line ${line}, byte ${offset}; ${instead}`);
  }
  if (missing !== undefined) {
    for await (const { drawbridge } of readAuditEvents(folder, { after: missing.sequence - 1, limit: 1 }))
      if (isSameLink(drawbridge, missing) && found === undefined)
        throw refused(`\`${auditLogPath(folder)}\` holds record ${missing.sequence}, which the place says it does not`);
  }
  const wrong: WrongBytes = found ?? { offset, bytes: 0, sha256: hash('sha256', '') };
  const what = found?.what ?? 'the log does not hold a head that the metadata noted';
  const accepted = {
    place: text,
    what,
    offset: wrong.offset,
    bytes: wrong.bytes,
    sha256: wrong.sha256,
    ...(missing === undefined ? {} : { missing }),
    by: { uid },
  };
  const log = await openAuditLog({ folder, sync: 'always', clock, accepting: { accepted } });
  await log.close();
  return log.syncedHead();
}

function refused(message: string): AuditError {
  return new AuditError('noSuchPlace', message);
}
