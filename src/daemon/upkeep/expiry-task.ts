/**
 * The destruction of imported key material whose date has passed.
 *
 * Nobody waits for it: as soon as either clock says that material has expired the key is `PendingImport`
 * (`keys/expiry-watch.ts`). It is destroyed by upkeep's rule, which is slower to believe, so that a clock which was wrong and is
 * put right in time gives the key back. Here is also finished what an import or a deletion left that did not end.
 *
 * On record as CloudTrail has it: one `DeleteExpiredKeyMaterial` of the service's own. It is written when the material is about to
 * be destroyed, so that none goes without it; after a crash at that moment it may be there twice.
 */

import type { AuditLog } from '../../audit/audit-log.ts';
import type { KeyDirectory } from '../../keys/key-directory.ts';
import { keyMaterialIdOf } from '../../keys/kms-key.ts';
import type { KeyImports } from '../../keys/life/key-import.ts';
import { keyArn, parseBackingKeyId, parseKeyId } from '../../kms/names.ts';
import type { Intents } from '../../pipeline/intents.ts';
import { assertRecordable } from '../../pipeline/recordable.ts';
import type { Clocks } from './clocks.ts';
import type { UpkeepTask } from './upkeep-task.ts';
import { worksByDate } from './works-by-date.ts';

export interface ExpiryTaskParts {
  readonly directory: KeyDirectory;
  readonly imports: KeyImports;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly intents: Pick<Intents, 'obstacle'>;
  readonly clocks: Clocks;
}

export function expiryTask({ directory, imports, audit, intents, clocks }: ExpiryTaskParts): UpkeepTask {
  const { realm } = directory;
  const kind = 'expiry';
  const nameOf = (keyId: string, what: string): string => `${kind} ${realm.region} ${keyId} ${what}`;
  const { expiries } = directory.watchedKeys;
  return {
    kind,
    ahead: worksByDate(directory, {
      between: (range, limit) => expiries.between(range, limit),
      count: () => expiries.count(),
      find(lastWord) {
        const backingKeyId = parseBackingKeyId(lastWord);
        return backingKeyId && expiries.of(backingKeyId);
      },
      workOf: ({ keyId, id, dateMs, seen }) => ({ work: nameOf(keyId, id), dueAtMs: dateMs, seen }),
    }),
    *scheduled() {
      for (const keyId of imports.unsettled()) {
        const key = directory.findSoundKey(keyId);
        if (key !== undefined)
          yield { work: nameOf(keyId, unfinished), dueAtMs: key.record.createdAtMs, isUrgent: true };
      }
    },
    async perform({ work, dueAtMs }) {
      const [keyName = '', what = ''] = work.split(' ').slice(2);
      const keyId = parseKeyId(keyName);
      const key = keyId === undefined ? undefined : directory.findKey(keyId);
      if (key === undefined) return;
      if (what === unfinished) {
        await imports.settle(key.record.keyId);
        return;
      }
      const backingKeyId = parseBackingKeyId(what);
      const material = key.materials.find((each) => each.backingKeyId === backingKeyId);
      if (backingKeyId === undefined || material === undefined) return;
      assertRecordable(intents);
      const announce = (): Promise<void> =>
        audit.append(
          {
            eventAtMs: clocks.now().wallMs,
            eventName: 'DeleteExpiredKeyMaterial',
            awsRegion: realm.region,
            accountId: realm.account,
            resources: [keyArn(realm, key.record.keyId)],
            additionalEventData: { backingKeyId, keyMaterialId: keyMaterialIdOf(material) },
            serviceEventDetails: { keyId: key.record.keyId },
          },
          'synced',
        );
      await imports.removeExpired(material, ({ validToMs }) => validToMs === dueAtMs, announce);
    },
  };
}

/** What stands in place of a backing key id where something has to be finished. */
const unfinished = 'unfinished';
