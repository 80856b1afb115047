/**
 * What is left in HSMs of keys that have moved: objects whose keys have their material elsewhere by now, or did not come to have it
 * there. The daemon was killed in the middle, or the HSM was away. No clock has a say.
 */

import type { AuditLog } from '../../audit/audit-log.ts';
import type { KeyMoves, RecordDestruction } from '../../keys/moves/key-moves.ts';
import { keyArn, parseKeyId, type Realm } from '../../kms/names.ts';
import type { Intents } from '../../pipeline/intents.ts';
import { assertRecordable } from '../../pipeline/recordable.ts';
import type { UpkeepTask } from './upkeep-task.ts';

export interface RemnantTaskParts {
  readonly moves: KeyMoves;
  readonly intents: Pick<Intents, 'obstacle'>;
}

export function remnantTask({ moves, intents }: RemnantTaskParts): UpkeepTask {
  const kind = 'moved-keys';
  return {
    kind,
    *scheduled() {
      for (const { keyStore, backingKeyId, keyId, createdAtMs } of moves.unsettled())
        yield { work: `${kind} ${keyStore} ${backingKeyId} ${keyId}`, dueAtMs: createdAtMs, isUrgent: true };
    },
    canLeaveMaterial: true,
    async perform({ work }, word) {
      const keyId = parseKeyId(work.slice(work.lastIndexOf(' ') + 1));
      if (keyId === undefined) throw new TypeError(`\`${work}\` names no key`);
      assertRecordable(intents);
      await moves.settle(keyId, word);
    },
  };
}

/** One `DestroyMovedKeyMaterial` of the service's own, before the object is destroyed; after a crash at that moment it may be there twice. */
export function destructionRecord(realm: Realm, audit: Pick<AuditLog, 'append'>, now: () => number): RecordDestruction {
  return ({ keyId, backingKeyId, keyStore }) =>
    audit.append(
      {
        eventAtMs: now(),
        eventName: 'DestroyMovedKeyMaterial',
        awsRegion: realm.region,
        accountId: realm.account,
        resources: [keyArn(realm, keyId)],
        additionalEventData: { backingKeyId, keyStore },
        serviceEventDetails: { keyId },
      },
      'synced',
    );
}
