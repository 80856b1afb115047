/** `DeleteAlias`: removes a name; the KMS key stays as it is. */

import { KmsError } from '../../kms/errors.ts';
import { aliasName } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { object } from '../declaration/schema.ts';
import { aliasResource, existingAlias, keyOfExistingAlias } from './alias-request.ts';

export const deleteAlias = operation({
  name: 'DeleteAlias',
  request: object({ AliasName: aliasName }),
  response: object({}),
  needs: {
    resources: [{ action: 'kms:DeleteAlias', resource: aliasResource }],
    keys: { current: { action: 'kms:DeleteAlias', key: keyOfExistingAlias, states: 'control' } },
  },
  effect: 'changes',
  record: ['AliasName'],
  handle({ request, keys, directory, assertStillAllowed }) {
    return directory.exclusively(async () => {
      assertStillAllowed();
      const alias = existingAlias(request, directory);
      // Permission was given for the key that the alias stood for then.
      if (alias.keyId !== keys.current.key.record.keyId) {
        throw new KmsError(
          'KMSInvalidStateException',
          `Alias ${alias.aliasName} was changed by another request. Try again.`,
        );
      }
      await directory.removeAlias(alias.aliasName);
      return {};
    });
  },
});
