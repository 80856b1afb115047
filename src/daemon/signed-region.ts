/** A listener for signed requests belongs to a Region, and takes requests to every Region: each signature says for which it was made. */

import type { Caller } from '../identity/caller.ts';
import type { RegionHandlers } from './region-entrance.ts';

type BySignature = Pick<RegionHandlers, 'service' | 'access' | 'roles' | 'status'>;

/**
 * @param own Of the Region whose listener it is: for what proves nothing.
 * @param regions Of all Regions, by name.
 */
export function bySignedRegion(own: BySignature, regions: ReadonlyMap<string, BySignature>): BySignature {
  const of = (caller: Caller | null): BySignature => {
    const region = caller?.proof.kind === 'sigv4' ? caller.proof.region : undefined;
    return (region === undefined ? undefined : regions.get(region)) ?? own;
  };
  return {
    service: {
      run: (request) => of(request.caller).service.run(request),
      refuse: (request, error) => of(request.caller).service.refuse(request, error),
      act: (act, perform) => of(act.caller).service.act(act, perform),
    },
    access: {
      explain: (question, caller) => of(caller).access.explain(question, caller),
      whoCan: (question, caller) => of(caller).access.whoCan(question, caller),
      simulate: (question, caller) => of(caller).access.simulate(question, caller),
    },
    roles: {
      assumeRole: (request, caller, ...how) => of(caller).roles.assumeRole(request, caller, ...how),
    },
    status: {
      health: () => own.status.health(),
      report: (caller) => of(caller).status.report(caller),
      key: (keyId, caller) => of(caller).status.key(keyId, caller),
    },
  };
}
