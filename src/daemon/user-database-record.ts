/**
 * Puts on record that the user database says something else than before: who was meant by a uid, a gid or a name, and who is
 * now. Whoever reads the log can tell so whose requests those before and those after are.
 *
 * Nobody waits for it: no key or policy is changed. What is found out in one turn of the event loop is one line.
 */

import type { AuditLog } from '../audit/audit-log.ts';
import { followUserDatabase, type UserDatabaseChange } from '../identity/unix-names.ts';
import type { Logger } from '../kms/logger.ts';
import type { Realm } from '../kms/names.ts';

export interface UserDatabaseRecordOptions extends Realm {
  readonly audit: Pick<AuditLog, 'append'>;
  readonly log: Logger;
}

/** Those of one line: a list that was replaced as a whole may have any number. */
const maxChanges = 64;

/** @returns What ends it; resolves when what was found out is on record, as far as it can be. */
export function recordUserDatabaseChanges(options: UserDatabaseRecordOptions): () => Promise<void> {
  let changes: UserDatabaseChange[] = [];
  let appended = Promise.resolve();
  const append = async (): Promise<void> => {
    const found = changes;
    changes = [];
    if (found.length > 0) await appendChanges(options, found);
  };
  const unfollow = followUserDatabase((change) => {
    changes.push(change);
    if (changes.length > 1) return;
    setImmediate(() => {
      appended = appended.then(append);
    });
  });
  return async () => {
    unfollow();
    await appended.then(append);
  };
}

async function appendChanges(
  { audit, region, account, log }: UserDatabaseRecordOptions,
  found: readonly UserDatabaseChange[],
): Promise<void> {
  const changes = found.slice(0, maxChanges);
  log.info({ changes, changeCount: found.length }, 'the user database says something else than before');
  try {
    await audit.append(
      {
        eventAtMs: Date.now(),
        eventName: 'UserDatabaseChanged',
        eventSource: 'drawbridge',
        awsRegion: region,
        accountId: account,
        resources: [],
        serviceEventDetails: { changes, changeCount: found.length },
      },
      'written',
    );
  } catch (error) {
    log.error({ err: error, changes }, 'a change of the user database could not be put on record');
  }
}
