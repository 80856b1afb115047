/** `ListRetirableGrants`: the grants that a principal may retire, on all keys, ordered by id. */

import { KmsError } from '../../kms/errors.ts';
import { limit, marker } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { decodeMarker, pageEnd, pageSize, shortPages } from '../declaration/pages.ts';
import { boolean, type Infer, list, object, optional, string } from '../declaration/schema.ts';
import { describeGrant, grantListEntry, grantPrincipal, grantServicePrincipal } from './grant-members.ts';
import { assertNoServiceFilter, namedPrincipal } from './grant-request.ts';

const request = object({
  Limit: limit,
  Marker: marker,
  RetiringPrincipal: optional(grantPrincipal),
  RetiringServicePrincipal: optional(grantServicePrincipal),
});

export const listRetirableGrants = operation({
  name: 'ListRetirableGrants',
  request,
  response: object({
    Grants: optional(list(grantListEntry)),
    NextMarker: optional(string()),
    Truncated: optional(boolean),
  }),
  // A permission on the account: which keys the grants are on does not matter. The resource is whom the list is about.
  needs: { resources: [{ action: 'kms:ListRetirableGrants', resource: retiringPrincipal }] },
  effect: 'reads',
  record: ['RetiringPrincipal', 'RetiringServicePrincipal', 'Limit', 'Marker'],
  async handle({ request, directory }) {
    assertNoServiceFilter('RetiringServicePrincipal', request.RetiringServicePrincipal);
    const retiring = retiringPrincipal(request);
    const listName = `ListRetirableGrants:${retiring}`;
    const perPage = pageSize(request.Limit, shortPages);
    const page = directory.grants.idsRetirableBy(retiring).page(decodeMarker(listName, request.Marker), perPage);
    const grants = page.names.flatMap((id) => directory.grants.find(id) ?? []);
    return { Grants: grants.map((grant) => describeGrant(directory.realm, grant)), ...pageEnd(listName, page) };
  },
});

function retiringPrincipal({ RetiringPrincipal, RetiringServicePrincipal }: Infer<typeof request>) {
  const principal = namedPrincipal('Retiring', RetiringPrincipal, RetiringServicePrincipal);
  if (principal === null) {
    throw new KmsError('ValidationException', 'You must specify either RetiringPrincipal or RetiringServicePrincipal.');
  }
  return principal;
}
