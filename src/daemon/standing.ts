/**
 * Where metadata and audit log stand to each other at a start, before anything is changed.
 *
 * Intents that are on record without an outcome get one. A change is announced only when the one before it was written or had
 * failed, so all but the last took effect unless their outcome says otherwise; the last did if the records show it.
 */

import type { AuditLog, StatedIntent } from '../audit/audit-log.ts';
import type { Logger } from '../kms/logger.ts';
import type { LoadedMetadata } from '../store/metadata-store.ts';
import { primaryKeys, type RecordKind } from '../store/records/records.ts';

export interface StandingParts {
  readonly audit: Pick<AuditLog, 'append' | 'changesAtOpening'>;
  readonly loaded: LoadedMetadata;
  readonly account: string;
  readonly log: Logger;
}

/** @throws AuditError when an outcome cannot be put on record: nothing may be changed before it is. */
export async function closeIntents({ audit, loaded, account, log }: StandingParts): Promise<void> {
  const { open, last } = audit.changesAtOpening();
  for (const intent of open) {
    const { intentId } = intent;
    const isLast = last?.intent.intentId === intentId;
    const isDone = !isLast || isInForce(intent, loaded);
    const outcome = isDone ? 'done' : 'not done';
    const because = isLast ? `the records ${isDone ? 'show' : 'do not show'} it` : 'it was followed by another change';
    await audit.append(
      { intentId, outcome, because: `at start: ${because}`, eventAtMs: Date.now(), accountId: account },
      'synced',
    );
    log.info({ intentId, outcome }, 'the outcome of a change that the last run did not put on record is on record now');
  }
}

/** Do the records show the change? All of it or nothing was written. */
function isInForce({ changes }: StatedIntent, loaded: LoadedMetadata): boolean {
  return changes.every(({ put, remove, record }) => {
    const kind = (put ?? remove) as RecordKind; // A line of ours names no other.
    const found = findRecord(loaded, kind, record);
    if (put === undefined) return found === undefined || found.version !== record['version'];
    return found !== undefined && found.version >= Number(record['version']);
  });
}

function findRecord(
  loaded: LoadedMetadata,
  kind: RecordKind,
  stated: Readonly<Record<string, unknown>>,
): { readonly version: number } | undefined {
  const members: readonly string[] = primaryKeys[kind];
  const records: readonly object[] = loaded[kind];
  return records.find((record) =>
    members.every((name) => (record as Readonly<Record<string, unknown>>)[name] === stated[name]),
  ) as { readonly version: number } | undefined; // Every record has one.
}
