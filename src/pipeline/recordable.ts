/** What a request and the daemon itself owe to the audit log before they do anything. */

import { type AuditLog, type LineAccount, ownAccount } from '../audit/audit-log.ts';
import { internalMessage } from '../keys/key-store-errors.ts';
import { KmsError } from '../kms/errors.ts';

/**
 * Nothing is begun while the log is known not to take its events: a change must not take effect, nor the HSM work, for what
 * could not be answered.
 * @param account On which the events would be written; absent: what the daemon does of its own accord.
 * @throws KmsError `KMSInternalException`, with the obstacle as its cause.
 */
export function assertRecordable(audit: Pick<AuditLog, 'obstacle'>, account: LineAccount = ownAccount): void {
  const obstacle = audit.obstacle(account);
  if (obstacle !== null) throw new KmsError('KMSInternalException', internalMessage, new Error(obstacle));
}
