/**
 * Who pays for what a caller asks: on a Unix socket the user (of a subordinate uid, its owner), also where he signs with credentials that were given to him by
 * the kernel's word; else whoever the access key is of. All sessions of a role are one payer: names of sessions are free,
 * and must not multiply a budget.
 */

import { type Payer, payerOfPrincipal, payerOfUid } from '../kms/payer.ts';
import type { Caller } from './caller.ts';
import { ownerOfUid } from './subordinate-uids.ts';

export function payerOfCaller({ proof, arn, role }: Caller): Payer {
  if (proof.kind === 'unix') return payerOfUid(ownerOfUid(proof.uid));
  return proof.issuedTo === undefined ? payerOfPrincipal(role ?? arn) : payerOfUid(ownerOfUid(proof.issuedTo.uid));
}
