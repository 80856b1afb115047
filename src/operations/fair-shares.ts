/**
 * Fair shares: nobody gets more than his share of the daemon at once, however many connections he has.
 *
 * Each user may have `maxRunning` requests under way; his further ones wait in a queue of his own, in the order of their
 * arrival, and beyond `maxWaiting` they are refused. So what stands before anybody's request, in the queue of the HSM and
 * everywhere else, is at most one share of each other user, and those who flood get equal shares.
 *
 * A user is a Unix user, also where he signs with an access key that was given to him by the kernel's word; else whoever
 * the access key is of. All sessions of a role are one user: session names are free, and must not multiply a share.
 */

import type { Caller } from '../identity/caller.ts';
import { KmsError } from '../kms/errors.ts';
import type { KmsAnswer, KmsService } from './service.ts';

export interface ShareLimits {
  /** As many as a lane to the HSM takes at once, so that one user alone can keep it busy. */
  readonly maxRunning: number;
  /** Twice the connections that one user may have: who waits for his answers is never refused. */
  readonly maxWaiting: number;
  /** Of the bodies that wait. */
  readonly maxWaitingBytes: number;
}

export const defaultShareLimits: ShareLimits = {
  maxRunning: 128,
  maxWaiting: 2048,
  maxWaitingBytes: 16 * 1024 * 1024,
};

interface Waiting {
  readonly bytes: number;
  readonly start: () => void;
}

interface Share {
  readonly user: number | string;
  running: number;
  readonly waiting: Waiting[];
  /** Those before it have started, and are dropped now and then: a long queue is not moved for each of them. */
  nextWaiting: number;
  waitingBytes: number;
}

/** The same service, with fair shares for its callers. */
export function shareFairly(service: KmsService, limits: ShareLimits = defaultShareLimits): KmsService {
  const shares = new Map<number | string, Share>();

  function shareOf(caller: Caller): Share {
    const user = userOf(caller);
    let share = shares.get(user);
    if (share === undefined) {
      share = { user, running: 0, waiting: [], nextWaiting: 0, waitingBytes: 0 };
      shares.set(user, share);
    }
    return share;
  }

  function leave(share: Share): void {
    share.running--;
    const next = share.waiting[share.nextWaiting];
    if (next !== undefined) {
      share.nextWaiting++;
      share.waitingBytes -= next.bytes;
      if (share.nextWaiting === limits.maxWaiting || share.nextWaiting === share.waiting.length) {
        share.waiting.splice(0, share.nextWaiting);
        share.nextWaiting = 0;
      }
      next.start();
    } else if (share.running === 0) {
      shares.delete(share.user);
    }
  }

  /** @param run Never rejects. */
  function start(share: Share, run: () => Promise<KmsAnswer>): Promise<KmsAnswer> {
    share.running++;
    return run().then((answer) => {
      leave(share);
      return answer;
    });
  }

  /** @param refuse What is answered when too many wait. */
  function enter(
    caller: Caller,
    bytes: number,
    run: () => Promise<KmsAnswer>,
    refuse: () => Promise<KmsAnswer>,
  ): Promise<KmsAnswer> {
    const share = shareOf(caller);
    if (share.running < limits.maxRunning) return start(share, run);
    const count = share.waiting.length - share.nextWaiting;
    if (count >= limits.maxWaiting || share.waitingBytes + bytes > limits.maxWaitingBytes) return refuse();
    share.waitingBytes += bytes;
    return new Promise((resolve) => {
      share.waiting.push({ bytes, start: () => resolve(start(share, run)) });
    });
  }

  return {
    run: (request) =>
      enter(
        request.caller,
        request.body.length,
        () => service.run(request),
        () => {
          request.body.fill(0);
          return service.refuse(request, rateExceeded());
        },
      ),
    refuse: (request, error) => service.refuse(request, error),
    act: (request, perform) =>
      enter(
        request.caller,
        0,
        () => service.act(request, perform),
        () => service.refuse(request, rateExceeded()),
      ),
  };
}

function userOf({ proof, arn, role }: Caller): number | string {
  if (proof.kind === 'unix') return proof.uid;
  return proof.issuedTo?.uid ?? role ?? arn;
}

function rateExceeded(): KmsError {
  return new KmsError('ThrottlingException', 'Rate exceeded');
}
