/** `DescribeKey`: the metadata of a KMS key, in whatever state it is. */

import { describe, keyMetadata } from './key-metadata.ts';
import { grantTokens, keyNamedBy, keyReference } from './members.ts';
import { operation } from './operation.ts';
import { object, optional } from './schema.ts';

export const describeKey = operation({
  name: 'DescribeKey',
  request: object({ KeyId: keyReference, GrantTokens: grantTokens }),
  response: object({ KeyMetadata: optional(keyMetadata) }),
  needs: {
    keys: {
      key: {
        action: 'kms:DescribeKey',
        key: keyNamedBy('KeyId', 'keyOrAlias'),
        grant: 'DescribeKey',
        conditions: ['kms:RequestAlias'],
        anyState: true,
      },
    },
  },
  effect: 'reads',
  record: ['KeyId'],
  async handle({ keys, directory }) {
    return { KeyMetadata: describe(directory.realm, keys.key.key) };
  },
});
