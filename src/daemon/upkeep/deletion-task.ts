/**
 * The deletion of KMS keys, when the waiting period that ScheduleKeyDeletion set has passed.
 *
 * On record as CloudTrail has it: one `DeleteKey` of the service's own. It is written when the HSM has said that everything is
 * gone and before the key's records go, so that no key ends without it; after a crash in between it may be there twice. Of a replica of
 * a multi-Region key, of which nothing is in an HSM, it is written when the records are gone; the intent of that turn was on record before.
 */

import type { AuditLog } from '../../audit/audit-log.ts';
import type { DoomedObject, KeyDeletion } from '../../keys/life/key-deletion.ts';
import type { KeyImports } from '../../keys/life/key-import.ts';
import type { KeyMoves } from '../../keys/moves/key-moves.ts';
import { type KeyId, keyArn, parseKeyId } from '../../kms/names.ts';
import type { Intents } from '../../pipeline/intents.ts';
import { assertRecordable } from '../../pipeline/recordable.ts';
import type { MilestoneRecord } from '../../store/records/records.ts';
import type { Clocks } from './clocks.ts';
import type { UpkeepTask } from './upkeep-task.ts';
import { type DirectoryOfWorks, keyIdIn, worksByDate } from './works-by-date.ts';

/** What a former version let pass is not deleted before operators had this time to learn that deletions are carried out now. */
const graceDays = 7;
const dayMs = 24 * 60 * 60 * 1000;
/** Any date. */
const before = Number.MIN_SAFE_INTEGER;

export interface DeletionTaskParts {
  readonly directory: DirectoryOfWorks;
  readonly deletion: KeyDeletion;
  readonly imports: Pick<KeyImports, 'settle'>;
  readonly moves: Pick<KeyMoves, 'settle'>;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly intents: Pick<Intents, 'obstacle'>;
  readonly clocks: Clocks;
  /** When upkeep began: former versions destroyed nothing. */
  readonly upkeepSince: Pick<MilestoneRecord, 'reachedAtMs'>;
}

export function deletionTask({
  directory,
  deletion,
  imports,
  moves,
  audit,
  intents,
  clocks,
  upkeepSince,
}: DeletionTaskParts): UpkeepTask {
  const { realm } = directory;
  const { reachedAtMs } = upkeepSince;
  const dueOf = (deletionDateMs: number): number =>
    deletionDateMs < reachedAtMs ? reachedAtMs + graceDays * dayMs : deletionDateMs;
  const kind = 'deletion';
  const nameOf = (keyId: KeyId): string => `${kind} ${realm.region} ${keyId}`;
  const { dates } = deletion;
  return {
    kind,
    ahead: worksByDate(directory, {
      between({ afterMs, untilMs }, limit) {
        const graceEndsMs = dueOf(before);
        const isInGrace = afterMs < graceEndsMs && graceEndsMs <= untilMs;
        const inGrace = isInGrace ? dates.between({ afterMs: before, untilMs: reachedAtMs - 1 }, limit) : [];
        const others = dates.between({ afterMs: Math.max(afterMs, reachedAtMs - 1), untilMs }, limit);
        const found = [...inGrace, ...others].sort((one, other) => dueOf(one.dateMs) - dueOf(other.dateMs));
        return found.slice(0, limit);
      },
      count: () => dates.count(),
      find(lastWord) {
        const keyId = parseKeyId(lastWord);
        return keyId && dates.of(keyId);
      },
      workOf: ({ keyId, dateMs, seen }) => ({ work: nameOf(keyId), dueAtMs: dueOf(dateMs), seen }),
    }),
    *scheduled() {
      for (const { keyId, deletionDateMs } of deletion.begun())
        yield { work: nameOf(keyId), dueAtMs: dueOf(deletionDateMs), isUrgent: true };
    },
    canLeaveMaterial: true,
    async perform({ work, dueAtMs }, word) {
      const keyId = keyIdIn(work);
      if (keyId === undefined) throw new TypeError(`\`${work}\` names no key`);
      assertRecordable(intents);
      // What an import left that did not end may be in the HSM, and is its to undo only as long as the key is not being destroyed.
      await imports.settle(keyId);
      // Nor is the key gone while an object of it is left where it was before.
      await moves.settle(keyId, word);
      const { wallMs } = clocks.now();
      const customKeyStore = deletion.customKeyStoreOf(keyId);
      const isInCustomKeyStore = customKeyStore !== undefined;
      const announce = (destroyed: readonly DoomedObject[]): Promise<void> =>
        audit.append(
          {
            eventAtMs: clocks.now().wallMs,
            eventName: 'DeleteKey',
            awsRegion: realm.region,
            accountId: realm.account,
            resources: [keyArn(realm, keyId)],
            additionalEventData: { ...customKeyStore, ...toldOf(destroyed, { isInCustomKeyStore }) },
            serviceEventDetails: { keyId },
          },
          'synced',
        );
      const isDue = (dateMs: number): boolean => dueOf(dateMs) === dueAtMs;
      const destroyed = await deletion.destroy(keyId, isDue, Math.floor(wallMs), announce, word);
      if (destroyed !== undefined) await deletion.forget(keyId, Math.floor(wallMs));
    },
  };
}

/**
 * As JSON in strings, which is how CloudTrail has it of keys in a custom key store. Of all others it tells nothing, and here what was destroyed.
 * What an operator had left where it is has the status that AWS gives to what it could not delete.
 *
 * Source: AWS KMS developer guide, log entries of DeleteKey, "How to delete orphaned key material".
 */
function toldOf(
  destroyed: readonly DoomedObject[],
  { isInCustomKeyStore }: { readonly isInCustomKeyStore: boolean },
): Readonly<Record<string, string>> {
  const objects = destroyed.map(({ isLeft: _isLeft, ...object }) => object);
  const backingKeys = JSON.stringify(objects);
  if (!isInCustomKeyStore && !destroyed.some(({ isLeft }) => isLeft)) return { backingKeys };
  const deleted = objects.map((object, at) => ({
    ...object,
    deletionStatus: destroyed[at]?.isLeft === true ? 'FAILURE' : 'SUCCESS',
  }));
  return { backingKeys, backingKeysDeletionStatus: JSON.stringify(deleted) };
}
