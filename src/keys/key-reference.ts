/**
 * From the KeyId that a caller writes to the KMS key that is meant: key id, key ARN, alias name or alias ARN.
 *
 * Which forms an operation takes is its own; most management operations take key id and key ARN alone. What cannot be
 * found is `NotFoundException` in AWS's words; a string that begins like an ARN and is none is `InvalidArnException`.
 *
 * Source: AWS KMS API reference, "KeyId" of each operation.
 */

import { KmsError } from '../kms/errors.ts';
import { type AliasName, aliasArn, keyArn, parseAliasName, parseKeyId } from '../kms/names.ts';
import type { KeyView } from './key-view.ts';
import type { KmsKey } from './kms-key.ts';

export type KeyReferenceForms = 'keyOnly' | 'keyOrAlias';

const arnPattern = /^arn:(aws(?:-[a-z-]+)?):kms:([a-z0-9-]*):([0-9]*):(.*)$/;

/**
 * @param forms `keyOrAlias` accepts all four forms, `keyOnly` key id and key ARN.
 * @throws KmsError `NotFoundException`, `InvalidArnException`.
 */
export function findReferencedKey(directory: KeyView, reference: string, forms: KeyReferenceForms): KmsKey {
  const name = reference.startsWith('arn:') ? resourceOfArn(directory, reference) : reference;
  if (name.startsWith('alias/')) {
    if (forms === 'keyOnly') {
      throw new KmsError('InvalidArnException', 'Key Aliases are not supported for this operation.');
    }
    return keyOfAlias(directory, name);
  }
  const keyId = parseKeyId(name);
  if (keyId === undefined) throw new KmsError('NotFoundException', `Invalid keyId '${name}'`);
  const key = directory.findKey(keyId);
  if (key === undefined) {
    throw new KmsError('NotFoundException', `Key '${keyArn(directory.realm, keyId)}' does not exist`);
  }
  return key;
}

/** The last part of a KMS ARN of this partition, region and account, as key id or alias name. */
function resourceOfArn({ realm }: KeyView, arn: string): string {
  const [, partition, region, account, resource] = arnPattern.exec(arn) ?? [];
  if (region === undefined || account === undefined || resource === undefined) {
    throw new KmsError('InvalidArnException', `${arn} is not a valid ARN`);
  }
  const isKey = resource.startsWith('key/');
  if (!isKey && !resource.startsWith('alias/')) throw new KmsError('InvalidArnException', `${arn} is not a valid ARN`);
  if (region !== realm.region) throw new KmsError('NotFoundException', `Invalid arn ${region}`);
  // AWS's other partitions (`aws-cn`, `aws-us-gov`) have accounts and keys of their own, whatever their numbers.
  if (partition !== 'aws' || account !== realm.account) {
    const what = isKey ? `Key '${arn}' does not exist` : `Alias ${arn} is not found.`;
    throw new KmsError('NotFoundException', what);
  }
  return isKey ? resource.slice('key/'.length) : resource;
}

function keyOfAlias(directory: KeyView, name: string): KmsKey {
  const aliasName = parseAliasName(name);
  const alias = aliasName === undefined ? undefined : directory.aliases.find(aliasName);
  const key = alias === undefined ? undefined : directory.findKey(alias.keyId);
  if (key === undefined) {
    // Safe: only the text of a message is made of it.
    throw new KmsError('NotFoundException', `Alias ${aliasArn(directory.realm, name as AliasName)} is not found.`);
  }
  return key;
}
