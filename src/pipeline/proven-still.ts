/**
 * Requests prove who sends them when they arrive, and may then wait for their turn behind thousands of the same user's.
 * One whose access key was revoked in the meantime is refused like any that comes later, so that nothing is done for a
 * stolen key once its revocation is answered, but for what is under way. A change is not under way before its own turn has
 * come (`authorizeAgain` in `authorization.ts`).
 */

import type { Caller } from '../identity/caller.ts';
import type { KmsError } from '../kms/errors.ts';
import type { KmsService } from './service.ts';

/** The same service, for requests whose proof holds when their turn comes. */
export function whileProven(service: KmsService): KmsService {
  return {
    run(request) {
      const refusal = refusalOf(request.caller);
      if (refusal === undefined) return service.run(request);
      request.body.fill(0);
      return service.refuse(request, refusal);
    },
    refuse: (request, error) => service.refuse(request, error),
    act(act, perform) {
      const refusal = refusalOf(act.caller);
      return refusal === undefined ? service.act(act, perform) : service.refuse(act, refusal);
    },
  };
}

/** Why a caller is not taken for who he is any more; `undefined` while he is. */
export function refusalOf({ proof }: Caller): KmsError | undefined {
  return proof.kind === 'sigv4' ? proof.refusal?.() : undefined;
}
