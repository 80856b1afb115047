/**
 * Where metadata and audit log stand to each other at a start, before anything is changed.
 *
 * Each tells of the other: the log states epochs of the metadata, the metadata has the last head of the log that it noted. The log
 * has to hold that head. The metadata has to be of the last epoch that the log states, with the same records; or of a later one,
 * if the change that led there is on record: a crash can come between a change and its outcome, and never between a change and
 * its intent. What was put back, cut or edited by itself is so refused by name; what fits together was put back together, and
 * nothing here can tell.
 *
 * Intents that are on record without an outcome get one. A change is announced only when the one before it was written or had
 * failed, so all but the last took effect unless their outcome says otherwise; the last did if it is the last that the metadata
 * knows of, or, where these know of none, if the records show it.
 */

import type { AuditLog, StatedIntent } from '../audit/audit-log.ts';
import type { Logger } from '../kms/logger.ts';
import type { LoadedMetadata, StoreStanding } from '../store/metadata-store.ts';
import { primaryKeys, type RecordKind } from '../store/records/records.ts';
import { StoreError } from '../store/store-error.ts';

export interface StandingParts {
  readonly audit: Pick<AuditLog, 'append' | 'changesAtOpening' | 'holds'>;
  readonly loaded: LoadedMetadata;
  /** As the metadata was found. */
  readonly standing: StoreStanding;
  readonly account: string;
  readonly log: Logger;
}

/**
 * @throws AuditError `damaged` when the log does not hold what the metadata noted. @throws StoreError `altered` when the metadata is
 * not what the log says. Both name what an operator can accept.
 */
export function assertFitTogether({ audit, standing }: Pick<StandingParts, 'audit' | 'standing'>): void {
  const { store: stated, has } = audit.changesAtOpening();
  const { epoch, intentId, treeHash, audit: noted } = standing;
  const isWhole = noted === null || audit.holds(noted);
  if (stated === null) return;
  const refuse = (what: string): never => {
    throw new StoreError(
      'altered',
      `${what}; put back the metadata that belongs to this audit log, or, once you know what happened and want the records as they are: drawbridge metadata accept --state ${treeHash.slice(0, stateDigits)}`,
    );
  };
  if (epoch < stated.epoch)
    refuse(`the metadata is older than the audit log says: of epoch ${epoch}, and epoch ${stated.epoch} is on record`);
  if (epoch === stated.epoch && stated.records !== null && stated.records !== treeHash)
    refuse(`the metadata is not that of which the audit log tells: epoch ${epoch} has other records there`);
  // An operator who accepts that the end of the log is missing accepts that of its intents.
  if (isWhole && epoch > stated.epoch && intentId !== null && intentId !== stated.intentId && !has(intentId))
    refuse(`the metadata has a change that is not on record in the audit log, intent ${intentId}`);
}

/** So many digits of their hash name the state of the records. */
const stateDigits = 16;

/** @throws AuditError when an outcome cannot be put on record: nothing may be changed before it is. */
export async function closeIntents({ audit, loaded, standing, account, log }: StandingParts): Promise<void> {
  const { open, last } = audit.changesAtOpening();
  for (const intent of open) {
    const { intentId } = intent;
    const isLast = last?.intent.intentId === intentId;
    const isWritten = standing.epoch > 0 ? standing.intentId === intentId : isInForce(intent, loaded);
    const isDone = !isLast || isWritten;
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
