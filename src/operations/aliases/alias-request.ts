/** What `CreateAlias`, `UpdateAlias` and `DeleteAlias` share: which alias a request means, and whether it can exist. */

import type { KeyDirectory } from '../../keys/key-directory.ts';
import { findReferencedKey } from '../../keys/key-reference.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { KmsError } from '../../kms/errors.ts';
import { type AliasName, aliasArn, parseAliasName } from '../../kms/names.ts';
import type { AliasRecord } from '../../store/metadata-store.ts';

interface AliasRequest {
  readonly AliasName: string;
}

/**
 * The alias name of a request.
 * @throws KmsError `ValidationException` when it is no `alias/NAME`, `InvalidAliasNameException` for AWS's own `alias/aws/`.
 */
export function aliasNameOf({ AliasName }: AliasRequest): AliasName {
  if (!AliasName.startsWith('alias/')) {
    throw new KmsError(
      'ValidationException',
      'Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html',
    );
  }
  const aliasName = parseAliasName(AliasName);
  if (aliasName === undefined) {
    throw new KmsError('ValidationException', `${AliasName} contains invalid characters for an alias`);
  }
  if (aliasName.startsWith('alias/aws/')) {
    throw new KmsError(
      'InvalidAliasNameException',
      `Alias ${aliasName} is reserved: alias/aws/ is for keys that AWS manages`,
    );
  }
  return aliasName;
}

/** For `needs`: the alias as a resource. */
export function aliasResource(request: AliasRequest, directory: KeyDirectory): string {
  return aliasArn(directory.realm, aliasNameOf(request));
}

/**
 * For `needs`: the key that an alias is to stand for.
 * @throws KmsError `ValidationException` for another alias; `NotFoundException`, `InvalidArnException`.
 */
export function targetKeyOf({ TargetKeyId }: { readonly TargetKeyId: string }, directory: KeyDirectory): KmsKey {
  if (/^(arn:[^/]*:)?alias\//.test(TargetKeyId)) {
    throw new KmsError('ValidationException', 'Aliases must refer to keys. Not aliases');
  }
  return findReferencedKey(directory, TargetKeyId, 'keyOnly');
}

/**
 * The alias that a request names.
 * @throws KmsError `NotFoundException`.
 */
export function existingAlias(request: AliasRequest, directory: KeyDirectory): AliasRecord {
  const aliasName = aliasNameOf(request);
  const alias = directory.findAlias(aliasName);
  if (alias === undefined) {
    throw new KmsError('NotFoundException', `Alias ${aliasArn(directory.realm, aliasName)} is not found.`);
  }
  return alias;
}

/** For `needs`: the key that the alias stands for now. */
export function keyOfExistingAlias(request: AliasRequest, directory: KeyDirectory): KmsKey {
  const alias = existingAlias(request, directory);
  const key = directory.findKey(alias.keyId);
  if (key === undefined) {
    throw new KmsError('NotFoundException', `Alias ${aliasArn(directory.realm, alias.aliasName)} is not found.`);
  }
  return key;
}
