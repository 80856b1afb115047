/**
 * Rotations that nobody asked for, on record: by their date, and because the numbers of the current material were used up. As
 * CloudTrail has them, a `RotateKey` of the service's own. A rotation on demand is on record as the request that it is.
 *
 * It is written when the rotation is done; a crash in between leaves a rotation that ListKeyRotations alone tells of.
 */

import type { AuditLog } from '../../audit/audit-log.ts';
import { keyMaterialIdOf } from '../../keys/kms-key.ts';
import type { RecordRotation } from '../../keys/life/key-life.ts';
import { keyArn, type Realm } from '../../kms/names.ts';

export function rotationRecord(realm: Realm, audit: Pick<AuditLog, 'append'>): RecordRotation {
  return ({ keyId, rotationType, rotatedAtMs, previous, current }) =>
    audit.append(
      {
        eventAtMs: rotatedAtMs,
        eventName: 'RotateKey',
        awsRegion: realm.region,
        accountId: realm.account,
        resources: [keyArn(realm, keyId)],
        serviceEventDetails: {
          keyId,
          rotationType,
          previousKeyMaterialId: keyMaterialIdOf(previous),
          currentKeyMaterialId: keyMaterialIdOf(current),
        },
      },
      'synced',
    );
}
