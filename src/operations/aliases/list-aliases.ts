/** `ListAliases`: the aliases of the account or of one KMS key, ordered by name. */

import { findReferencedKey } from '../../keys/key-reference.ts';
import { aliasArn } from '../../kms/names.ts';
import { anyResource, keyReference, limit, marker } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { decodeMarker, pageEnd, pageSize, shortPages } from '../declaration/pages.ts';
import { boolean, list, object, optional, string, timestamp } from '../declaration/schema.ts';

export const listAliases = operation({
  name: 'ListAliases',
  request: object({ KeyId: optional(keyReference), Limit: limit, Marker: marker }),
  response: object({
    Aliases: optional(
      list(
        object({
          AliasName: optional(string()),
          AliasArn: optional(string()),
          TargetKeyId: optional(string()),
          CreationDate: optional(timestamp),
          LastUpdatedDate: optional(timestamp),
        }),
      ),
    ),
    NextMarker: optional(string()),
    Truncated: optional(boolean),
  }),
  // A permission on the account alone: to list a key's aliases takes nothing of the key's policy.
  needs: { resources: [{ action: 'kms:ListAliases', resource: anyResource }] },
  effect: 'reads',
  record: ['KeyId', 'Limit', 'Marker'],
  async handle({ request, directory }) {
    const key = request.KeyId === undefined ? undefined : findReferencedKey(directory, request.KeyId, 'keyOnly');
    const listName = `ListAliases:${key?.record.keyId ?? ''}`;
    const names = key === undefined ? directory.aliases.names : directory.aliases.sortedNamesOf(key.record.keyId);
    const page = names.page(decodeMarker(listName, request.Marker), pageSize(request.Limit, shortPages));
    return {
      Aliases: page.names.flatMap((name) => {
        const alias = directory.aliases.find(name);
        if (alias === undefined) return [];
        return {
          AliasName: name,
          AliasArn: aliasArn(directory.realm, name),
          TargetKeyId: alias.keyId,
          CreationDate: new Date(alias.createdAtMs),
          LastUpdatedDate: new Date(alias.updatedAtMs),
        };
      }),
      ...pageEnd(listName, page),
    };
  },
});
