/** `ListKeyPolicies`: always the one name `default`. */

import { keyNamedBy, keyReference, limit, marker } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { decodeMarker, pageEnd } from '../declaration/pages.ts';
import { boolean, list, object, optional, string } from '../declaration/schema.ts';

export const listKeyPolicies = operation({
  name: 'ListKeyPolicies',
  request: object({ KeyId: keyReference, Limit: limit, Marker: marker }),
  response: object({
    PolicyNames: optional(list(string())),
    NextMarker: optional(string()),
    Truncated: optional(boolean),
  }),
  needs: { keys: { key: { action: 'kms:ListKeyPolicies', key: keyNamedBy('KeyId', 'keyOnly'), states: 'reading' } } },
  effect: 'reads',
  record: ['KeyId', 'Limit', 'Marker'],
  async handle({ request, keys }) {
    const listName = `ListKeyPolicies:${keys.key.key.record.keyId}`;
    const after = decodeMarker(listName, request.Marker);
    const names = after === undefined ? ['default'] : [];
    return { PolicyNames: names, ...pageEnd(listName, { names, truncated: false }) };
  },
});
