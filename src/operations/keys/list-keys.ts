/** `ListKeys`: ids and ARNs of all KMS keys, ordered by id. */

import { keyArn } from '../../kms/names.ts';
import { anyResource, limit, marker } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { decodeMarker, longPages, pageEnd, pageSize } from '../declaration/pages.ts';
import { boolean, list, object, optional, string } from '../declaration/schema.ts';

export const listKeys = operation({
  name: 'ListKeys',
  request: object({ Limit: limit, Marker: marker }),
  response: object({
    Keys: optional(list(object({ KeyId: optional(string()), KeyArn: optional(string()) }))),
    NextMarker: optional(string()),
    Truncated: optional(boolean),
  }),
  needs: { resources: [{ action: 'kms:ListKeys', resource: anyResource }] },
  effect: 'reads',
  record: ['Limit', 'Marker'],
  async handle({ request, directory }) {
    const after = decodeMarker('ListKeys', request.Marker);
    const page = directory.keyIds.page(after, pageSize(request.Limit, longPages));
    return {
      Keys: page.names.map((keyId) => ({ KeyId: keyId, KeyArn: keyArn(directory.realm, keyId) })),
      ...pageEnd('ListKeys', page),
    };
  },
});
