/**
 * Who pays for what a caller asks: on a Unix socket the user (of a subordinate uid, its owner; of a container's root, the container),
 * also where he signs with credentials that were given to him by the kernel's word; else whoever the access key is of. All sessions of
 * a role are one payer: names of sessions are free, and must not multiply a budget. Whoever assumes roles goes on paying himself: there
 * are as many as the configuration has.
 */

import { isOperator, type Payer, payerOfContainer, payerOfPrincipal, payerOfUid } from '../kms/payer.ts';
import type { Caller, UnixPeer } from './caller.ts';
import { unnamedContainer } from './container-names.ts';
import { ownerOfUid } from './subordinate-uids.ts';

export function payerOfCaller({ proof, arn, role }: Caller): Payer {
  if (proof.kind === 'unix') return payerOfPeer(proof);
  return proof.issuedTo === undefined
    ? payerOfPrincipal(proof.session?.by ?? role ?? arn)
    : payerOfPeer(proof.issuedTo);
}

export function payerOfPeer({ uid, origin }: Pick<UnixPeer, 'uid' | 'origin'>): Payer {
  if (typeof origin === 'object') return payerOfContainer(origin.container);
  const payer = payerOfUid(ownerOfUid(uid));
  return isOperator(payer) && origin !== 'machine' ? payerOfContainer(unnamedContainer) : payer;
}
