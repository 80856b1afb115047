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
import { keyArn, parseKeyId, type Realm } from '../../kms/names.ts';
import type { Intents } from '../../pipeline/intents.ts';
import { assertRecordable } from '../../pipeline/recordable.ts';
import type { MilestoneRecord } from '../../store/records/records.ts';
import type { Clocks } from './clocks.ts';
import type { UpkeepTask } from './upkeep-task.ts';

/** What a former version let pass is not deleted before operators had this time to learn that deletions are carried out now. */
const graceDays = 7;
const dayMs = 24 * 60 * 60 * 1000;

export interface DeletionTaskParts {
  readonly realm: Realm;
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
  realm,
  deletion,
  imports,
  moves,
  audit,
  intents,
  clocks,
  upkeepSince,
}: DeletionTaskParts): UpkeepTask {
  const { reachedAtMs } = upkeepSince;
  const dueOf = (deletionDateMs: number): number =>
    deletionDateMs < reachedAtMs ? reachedAtMs + graceDays * dayMs : deletionDateMs;
  const kind = 'deletion';
  return {
    kind,
    *scheduled() {
      for (const { keyId, deletionDateMs, isBegun } of deletion.pending()) {
        yield { work: `${kind} ${realm.region} ${keyId}`, dueAtMs: dueOf(deletionDateMs), isUrgent: isBegun };
      }
    },
    async perform({ work, dueAtMs }) {
      const keyId = parseKeyId(work.slice(work.lastIndexOf(' ') + 1));
      if (keyId === undefined) throw new TypeError(`\`${work}\` names no key`);
      assertRecordable(intents);
      // What an import left that did not end may be in the HSM, and is its to undo only as long as the key is not being destroyed.
      await imports.settle(keyId);
      // Nor is the key gone while an object of it is left where it was before.
      await moves.settle(keyId);
      const { wallMs } = clocks.now();
      const customKeyStore = deletion.customKeyStoreOf(keyId);
      const destroyed = await deletion.destroy(keyId, (dateMs) => dueOf(dateMs) === dueAtMs, Math.floor(wallMs));
      if (destroyed === undefined) return;
      await audit.append(
        {
          eventAtMs: clocks.now().wallMs,
          eventName: 'DeleteKey',
          awsRegion: realm.region,
          accountId: realm.account,
          resources: [keyArn(realm, keyId)],
          additionalEventData: {
            ...customKeyStore,
            ...toldOf(destroyed, { isInCustomKeyStore: customKeyStore !== undefined }),
          },
          serviceEventDetails: { keyId },
        },
        'synced',
      );
      await deletion.forget(keyId, Math.floor(wallMs));
    },
  };
}

/**
 * As JSON in strings, which is how CloudTrail has it of keys in a custom key store. Of all others it tells nothing, and here what was destroyed.
 *
 * Source: AWS KMS developer guide, log entries of DeleteKey.
 */
function toldOf(
  destroyed: readonly DoomedObject[],
  { isInCustomKeyStore }: { readonly isInCustomKeyStore: boolean },
): Readonly<Record<string, string>> {
  const backingKeys = JSON.stringify(destroyed);
  if (!isInCustomKeyStore) return { backingKeys };
  const deleted = destroyed.map((object) => ({ ...object, deletionStatus: 'SUCCESS' }));
  return { backingKeys, backingKeysDeletionStatus: JSON.stringify(deleted) };
}
