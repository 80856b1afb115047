/**
 * `CreateKey`: a KMS key whose material is generated in the HSM and never leaves it.
 *
 * Origins and kinds of keys that this version does not build are refused by name, and KeySpecs that the token cannot hold
 * with the name of the mechanism that it lacks, after the request itself was found to make sense.
 */

import { defaultKeyPolicy } from '../../authorization/default-key-policy.ts';
import { assertNoLockout } from '../../authorization/lockout.ts';
import { createKey as createKmsKey } from '../../keys/life/key-creation.ts';
import { assertTokenCanHold } from '../../keys/token-capabilities.ts';
import { KmsError } from '../../kms/errors.ts';
import { type KeySpec, type KeyUsage, keySpecRow } from '../../kms/key-specs.ts';
import { keyArn, newKeyId } from '../../kms/names.ts';
import { keySpec, keyUsage, origin } from '../declaration/enumerations.ts';
import { anyResource, assertPolicyLength, policyDocument, refuseCustomKeyStore, tag } from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { boolean, type Infer, list, object, optional, string } from '../declaration/schema.ts';
import { customerMasterKeySpec, describe, keyMetadata } from './key-metadata.ts';

const request = object({
  Policy: optional(policyDocument),
  Description: optional(string({ min: 0, max: 8192 })),
  KeyUsage: optional(keyUsage),
  CustomerMasterKeySpec: optional(customerMasterKeySpec),
  KeySpec: optional(keySpec),
  Origin: optional(origin),
  CustomKeyStoreId: optional(string({ min: 1, max: 64 })),
  BypassPolicyLockoutSafetyCheck: optional(boolean),
  Tags: optional(list(tag)),
  MultiRegion: optional(boolean),
  XksKeyId: optional(string({ min: 1, max: 128, pattern: /^[a-zA-Z0-9-_.]+$/ })),
});
type Request = Infer<typeof request>;

export const createKey = operation({
  name: 'CreateKey',
  request,
  response: object({ KeyMetadata: optional(keyMetadata) }),
  needs: {
    resources: [
      {
        action: 'kms:CreateKey',
        resource: anyResource,
        conditions: [
          'kms:BypassPolicyLockoutSafetyCheck',
          'kms:CustomerMasterKeySpec',
          'kms:CustomerMasterKeyUsage',
          'kms:KeyOrigin',
          'kms:KeySpec',
          'kms:KeyUsage',
          'kms:MultiRegion',
          'aws:RequestTag',
          'aws:TagKeys',
        ],
      },
      {
        action: 'kms:TagResource',
        resource: ({ Tags }) => (Tags === undefined || Tags.length === 0 ? undefined : '*'),
      },
    ],
  },
  effect: 'changes',
  generates: true,
  record: [
    'Policy',
    'Description',
    'KeyUsage',
    'CustomerMasterKeySpec',
    'KeySpec',
    'Origin',
    'CustomKeyStoreId',
    'BypassPolicyLockoutSafetyCheck',
    'Tags',
    'MultiRegion',
    'XksKeyId',
  ],
  recordResponse: ['KeyMetadata'],
  made: ({ KeyMetadata }) => (KeyMetadata?.Arn === undefined ? [] : [KeyMetadata.Arn]),
  async handle({ request, directory, decideUnder }) {
    const { spec, usage } = specAndUsage(request);
    refuseUnbuilt(request);
    assertTokenCanHold(directory.keyStore('default'), spec, usage);
    const keyId = newKeyId();
    const policyDocument = request.Policy ?? defaultKeyPolicy(directory.realm);
    assertPolicyLength(policyDocument);
    const policy = directory.compilePolicy(policyDocument);
    // AWS asks this of a policy that the request brings. The default one is the account's, whoever makes the key.
    if (request.Policy !== undefined && request.BypassPolicyLockoutSafetyCheck !== true) {
      assertNoLockout(decideUnder(policy, 'kms:PutKeyPolicy', keyArn(directory.realm, keyId)));
    }
    const key = await createKmsKey(directory, {
      keyId,
      keySpec: spec,
      keyUsage: usage,
      description: request.Description ?? '',
      tags: checkedTags(request.Tags ?? []),
      policyDocument,
      keyStore: 'default',
    });
    return { KeyMetadata: describe(directory.realm, key) };
  },
});

function specAndUsage(request: Request): { readonly spec: KeySpec; readonly usage: KeyUsage } {
  if (request.KeySpec !== undefined && request.CustomerMasterKeySpec !== undefined) {
    throw new KmsError(
      'ValidationException',
      'You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.',
    );
  }
  const spec = request.KeySpec ?? request.CustomerMasterKeySpec ?? 'SYMMETRIC_DEFAULT';
  const usage = request.KeyUsage ?? (spec === 'SYMMETRIC_DEFAULT' ? 'ENCRYPT_DECRYPT' : undefined);
  if (usage === undefined) {
    throw new KmsError(
      'ValidationException',
      'You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.',
    );
  }
  if (keySpecRow(spec).usages[usage] === undefined) {
    throw new KmsError('ValidationException', `KeyUsage ${usage} is not compatible with KeySpec ${spec}`);
  }
  return { spec, usage };
}

function refuseUnbuilt(request: Request): void {
  const requestedOrigin = request.Origin ?? 'AWS_KMS';
  if (request.XksKeyId !== undefined && requestedOrigin !== 'EXTERNAL_KEY_STORE') {
    throw new KmsError('ValidationException', 'XksKeyId can be specified only when Origin is EXTERNAL_KEY_STORE.');
  }
  if (requestedOrigin === 'EXTERNAL_KEY_STORE' && request.XksKeyId === undefined) {
    throw new KmsError('ValidationException', 'XksKeyId is required when Origin is EXTERNAL_KEY_STORE.');
  }
  if (requestedOrigin !== 'AWS_KMS') {
    throw new KmsError(
      'UnsupportedOperationException',
      `Origin ${requestedOrigin} is not supported: keys are generated in the HSM.`,
    );
  }
  refuseCustomKeyStore(request);
  if (request.MultiRegion === true) {
    throw new KmsError('UnsupportedOperationException', 'MultiRegion is not supported: this daemon serves one Region.');
  }
}

const maxTagsPerKey = 50;

/** The tags of a request, in AWS's words where they cannot be. */
function checkedTags(tags: NonNullable<Request['Tags']>): NonNullable<Request['Tags']> {
  if (tags.length > maxTagsPerKey) throw new KmsError('TagException', 'Too many tags');
  if (tags.some(({ TagKey }) => TagKey.toLowerCase().startsWith('aws:'))) {
    throw new KmsError('TagException', 'Tags beginning with aws: are reserved');
  }
  if (new Set(tags.map(({ TagKey }) => TagKey)).size < tags.length) {
    throw new KmsError('TagException', 'Duplicate tag keys');
  }
  return tags;
}
