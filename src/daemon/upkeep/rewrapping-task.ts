/**
 * After a rotation of a domain key: what is wrapped under the former one is wrapped anew, some of it at a time (`keys/moves/rewrapping.ts`).
 *
 * On record as `RewrapKeys` of the service's own, before it is done, with the backing keys that it is done to.
 */

import type { AuditLog } from '../../audit/audit-log.ts';
import type { Rewrapping } from '../../keys/moves/rewrapping.ts';
import type { Realm } from '../../kms/names.ts';
import type { Intents } from '../../pipeline/intents.ts';
import { assertRecordable } from '../../pipeline/recordable.ts';
import type { Clocks } from './clocks.ts';
import type { UpkeepTask } from './upkeep-task.ts';

export interface RewrappingTaskParts {
  readonly rewrapping: Rewrapping;
  /** Of the first Region: domain keys are of none. */
  readonly realm: Realm;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly intents: Pick<Intents, 'obstacle'>;
  readonly clocks: Clocks;
}

export function rewrappingTask({ rewrapping, realm, audit, intents, clocks }: RewrappingTaskParts): UpkeepTask {
  const kind = 'rewrapping';
  return {
    kind,
    *scheduled() {
      for (const { keyStore, sinceMs } of rewrapping.pending())
        yield { work: `${kind} ${keyStore}`, dueAtMs: sinceMs, isUrgent: true };
    },
    async perform({ work }) {
      assertRecordable(intents);
      const isMore = await rewrapping.some(work.slice(kind.length + 1), ({ keyStore, domainKeyId, backingKeyIds }) =>
        audit.append(
          {
            eventAtMs: clocks.now().wallMs,
            eventName: 'RewrapKeys',
            awsRegion: realm.region,
            accountId: realm.account,
            resources: [],
            additionalEventData: { keyStore, domainKeyId, backingKeyIds },
            serviceEventDetails: { keyStore },
          },
          'synced',
        ),
      );
      return isMore ? 'unfinished' : undefined;
    },
  };
}
