/** What `CreateAlias`, `UpdateAlias` and `DeleteAlias` share: which alias a request means, and whether it can exist. */

import { findReferencedKey } from '../../keys/key-reference.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { KmsError } from '../../kms/errors.ts';
import { type AliasName, aliasArn, type KeyId, parseAliasName } from '../../kms/names.ts';
import type { AliasRecord } from '../../store/records/records.ts';

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
export function aliasResource(request: AliasRequest, directory: KeyView): string {
  return aliasArn(directory.realm, aliasNameOf(request));
}

/**
 * For `needs`: the key that an alias is to stand for.
 * @throws KmsError `ValidationException` for another alias; `NotFoundException`, `InvalidArnException`.
 */
export function targetKeyOf({ TargetKeyId }: { readonly TargetKeyId: string }, directory: KeyView): KmsKey {
  if (/^(arn:[^/]*:)?alias\//.test(TargetKeyId)) {
    throw new KmsError('ValidationException', 'Aliases must refer to keys. Not aliases');
  }
  return findReferencedKey(directory, TargetKeyId, 'keyOnly');
}

/**
 * The alias that a request names.
 * @throws KmsError `NotFoundException`.
 */
export function existingAlias(request: AliasRequest, directory: KeyView): AliasRecord {
  const aliasName = aliasNameOf(request);
  const alias = directory.aliases.find(aliasName);
  if (alias === undefined) {
    throw new KmsError('NotFoundException', `Alias ${aliasArn(directory.realm, aliasName)} is not found.`);
  }
  return alias;
}

/** For `needs`: the key that the alias stands for now. */
export function keyOfExistingAlias(request: AliasRequest, directory: KeyView): KmsKey {
  const alias = existingAlias(request, directory);
  const key = directory.findKey(alias.keyId);
  if (key === undefined) {
    throw new KmsError('NotFoundException', `Alias ${aliasArn(directory.realm, alias.aliasName)} is not found.`);
  }
  return key;
}

/** @throws KmsError `LimitExceededException` for a key that has as many aliases as it can have. */
export function assertRoomForAlias(directory: KeyView, keyId: KeyId): void {
  const { aliasesPerKey } = directory.budgets.quotas;
  const { length } = directory.aliases.namesOf(keyId);
  if (length < aliasesPerKey) return;
  throw new KmsError(
    'LimitExceededException',
    `Aliases per key quota for this account in this region is ${aliasesPerKey}, current usage is ${length}.`,
  );
}
