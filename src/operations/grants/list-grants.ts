/** `ListGrants`: the grants of a KMS key, of all grantees or of one, ordered by id. */

import { keyNamedBy, keyReference, limit, marker } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { decodeMarker, pageEnd, pageSize, shortPages } from '../declaration/pages.ts';
import { boolean, list, object, optional, string } from '../declaration/schema.ts';
import { describeGrant, grantId, grantListEntry, grantPrincipal, grantServicePrincipal } from './grant-members.ts';
import { assertNoServiceFilter, namedPrincipal, validGrantId } from './grant-request.ts';

export const listGrants = operation({
  name: 'ListGrants',
  request: object({
    Limit: limit,
    Marker: marker,
    KeyId: keyReference,
    GrantId: optional(grantId),
    GranteePrincipal: optional(grantPrincipal),
    GranteeServicePrincipal: optional(grantServicePrincipal),
  }),
  response: object({
    Grants: optional(list(grantListEntry)),
    NextMarker: optional(string()),
    Truncated: optional(boolean),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:ListGrants',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['kms:GrantIsForAWSResource'],
        states: 'reading',
      },
    },
  },
  effect: 'reads',
  record: ['KeyId', 'GrantId', 'GranteePrincipal', 'GranteeServicePrincipal', 'Limit', 'Marker'],
  async handle({ request, keys, directory }) {
    const grantee = namedPrincipal('Grantee', request.GranteePrincipal, request.GranteeServicePrincipal);
    assertNoServiceFilter('GranteeServicePrincipal', request.GranteeServicePrincipal);
    const { keyId } = keys.key.key.record;
    if (request.GrantId !== undefined) {
      const grant = directory.grants.find(validGrantId(request.GrantId));
      const isWanted = grant?.keyId === keyId && (grantee === null || grant.grantee === grantee);
      return { Grants: isWanted ? [describeGrant(directory.realm, grant)] : [], Truncated: false };
    }
    const listName = `ListGrants:${keyId}:${grantee ?? ''}`;
    const after = decodeMarker(listName, request.Marker);
    const ofKey = directory.grants.ofKey(keyId);
    const ids = grantee === null ? ofKey?.ids : ofKey?.idsOfGrantee(grantee);
    const perPage = pageSize(request.Limit, shortPages);
    const page = ids?.page(after, perPage) ?? { names: [], truncated: false };
    const grants = page.names.flatMap((id) => directory.grants.find(id) ?? []);
    return { Grants: grants.map((grant) => describeGrant(directory.realm, grant)), ...pageEnd(listName, page) };
  },
});
