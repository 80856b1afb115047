/** An ordinary event, told apart by a number. */

import type { AuditEvent } from '../../src/audit/audit-log.ts';

export function exampleEvent(number: number): AuditEvent {
  return {
    requestId: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
    receivedAtMs: 1_800_000_000_000 + number,
    eventName: 'Encrypt',
    awsRegion: 'us-east-1',
    readOnly: true,
    identity: {
      type: 'IAMUser',
      principalId: 'arn:aws:iam::000000000000:user/unix/alice',
      arn: 'arn:aws:iam::000000000000:user/unix/alice',
      accountId: '000000000000',
      userName: 'alice',
      unix: { uid: 1000, gid: 1001, pid: 4242 },
    },
    sourceIPAddress: 'unix',
    userAgent: 'aws-sdk-js/3',
    requestParameters: { keyId: 'alias/payroll', encryptionContext: { department: 'payroll' } },
    responseElements: null,
    resources: ['arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555'],
    errorCode: null,
    errorMessage: null,
    decision: { allowed: true, because: 'key policy statement "payroll"' },
  };
}
