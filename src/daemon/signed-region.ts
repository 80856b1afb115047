/** A listener for signed requests belongs to a Region, and takes requests to every Region: each signature says for which it was made. */

import type { Caller } from '../identity/caller.ts';
import type { KmsService } from '../pipeline/service.ts';

/**
 * @param own Of the Region whose listener it is: for whatever is no operation of KMS, and what proves nothing.
 * @param services Of all Regions, by name.
 */
export function bySignedRegion(own: KmsService, services: ReadonlyMap<string, KmsService>): KmsService {
  const of = (caller: Caller | null): KmsService => {
    const region = caller?.proof.kind === 'sigv4' ? caller.proof.region : undefined;
    return (region === undefined ? undefined : services.get(region)) ?? own;
  };
  return {
    run: (request) => of(request.caller).run(request),
    refuse: (request, error) => of(request.caller).refuse(request, error),
    act: (act, perform) => own.act(act, perform),
  };
}
