/** `DescribeKey`: the metadata of a KMS key, in whatever state it is. */

import { describeNow, keyMetadata } from '../declaration/key-metadata.ts';
import { grantTokens, keyNamedBy, keyReference } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object, optional } from '../declaration/schema.ts';

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
        states: 'reading',
      },
    },
  },
  effect: 'reads',
  record: ['KeyId'],
  async handle({ keys, directory }) {
    return { KeyMetadata: describeNow(directory, keys.key.key) };
  },
});
