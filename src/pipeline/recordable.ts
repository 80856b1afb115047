/** What a request and the daemon itself owe to the audit log before they do anything. */

import { type LineAccount, ownAccount } from '../audit/audit-log.ts';
import { internalMessage } from '../keys/key-store-errors.ts';
import { KmsError } from '../kms/errors.ts';

/** What knows of obstacles: the audit log, and before changes the intents that are to be on record in it. */
export interface Obstacles {
  obstacle(account: LineAccount): string | null;
}

/**
 * Nothing is begun while the log is known not to take its events: a change must not take effect, nor the HSM work, for what
 * could not be answered.
 * @param account On which the events would be written; absent: what the daemon does of its own accord.
 * @throws KmsError `KMSInternalException`, with the obstacle as its cause.
 */
export function assertRecordable(log: Obstacles, account: LineAccount = ownAccount): void {
  const obstacle = log.obstacle(account);
  if (obstacle !== null) throw new KmsError('KMSInternalException', internalMessage, new Error(obstacle));
}
