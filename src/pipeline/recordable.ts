/** What a request and the daemon itself owe to the audit log before they change anything. */

import type { AuditLog } from '../audit/audit-log.ts';
import { internalMessage } from '../keys/key-store-errors.ts';
import { KmsError } from '../kms/errors.ts';

/**
 * A change takes effect before its event is written, so it is not begun while the log is known not to take events, or has
 * little room left. The price of one event per request: a change whose event then fails all the same, because the room went
 * to others or the disk broke, stands without a record, its answer withheld.
 * @throws KmsError `KMSInternalException`, with the obstacle as its cause.
 */
export async function assertRecordable(audit: Pick<AuditLog, 'obstacle'>): Promise<void> {
  const obstacle = await audit.obstacle();
  if (obstacle !== null) throw new KmsError('KMSInternalException', internalMessage, new Error(obstacle));
}
