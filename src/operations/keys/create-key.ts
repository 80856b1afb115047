/**
 * `CreateKey`: a KMS key whose material is generated in the HSM of the default key store, or of the one that the request names, and
 * never leaves it; or one for material that its owner has (`Origin` `EXTERNAL`), which is there when it was imported and until then
 * in no state to be used.
 *
 * Origins and kinds of keys that this version does not build are refused by name, and KeySpecs that the token cannot hold
 * with the name of the mechanism that it lacks, after the request itself was found to make sense.
 */

import { defaultKeyPolicy } from '../../authorization/default-key-policy.ts';
import { assertNoLockout } from '../../authorization/lockout.ts';
import { assertAffordable } from '../../authorization/worst-case.ts';
import { assertImportable } from '../../keys/imported-material.ts';
import type { KeyView } from '../../keys/key-view.ts';
import { assertTokenCanHold, assertTokenCanImport } from '../../keys/token-capabilities.ts';
import { unusedKeyId } from '../../keys/unused-key-id.ts';
import { KmsError } from '../../kms/errors.ts';
import { type KeySpec, type KeyUsage, keySpecRow } from '../../kms/key-specs.ts';
import { everyKeyPattern, keyArn, newKeyId, newMultiRegionKeyId } from '../../kms/names.ts';
import { added } from '../../store/records/changes.ts';
import type { KeyRecord } from '../../store/records/records.ts';
import { keySpec, keyUsage, origin } from '../declaration/enumerations.ts';
import { configurationOf, customerMasterKeySpec, describe, keyMetadata } from '../declaration/key-metadata.ts';
import {
  anyResource,
  assertPolicyLength,
  customKeyStoreId,
  keyDescription,
  newKeyConditions,
  policyDocument,
} from '../declaration/members.ts';
import { type DecideUnder, operation } from '../declaration/operation.ts';
import { boolean, type Infer, object, optional, string } from '../declaration/schema.ts';
import { checkedTags, tagList } from '../declaration/tags.ts';
import { placeOf } from './key-place.ts';

const request = object({
  Policy: optional(policyDocument),
  Description: optional(keyDescription),
  KeyUsage: optional(keyUsage),
  CustomerMasterKeySpec: optional(customerMasterKeySpec),
  KeySpec: optional(keySpec),
  Origin: optional(origin),
  CustomKeyStoreId: optional(customKeyStoreId),
  BypassPolicyLockoutSafetyCheck: optional(boolean),
  Tags: optional(tagList),
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
        conditions: newKeyConditions,
      },
      // A key that is being made has no ARN yet. Source: developer guide, "Controlling access to tags", with its examples.
      {
        action: 'kms:TagResource',
        resource: ({ Tags = [] }, { realm }) => (Tags.length === 0 ? undefined : everyKeyPattern(realm)),
        conditions: ['aws:RequestTag', 'aws:TagKeys'],
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
  async prepare({ request, directory, decideUnder, life }) {
    const { spec, usage } = specAndUsage(request);
    const { keyStore } = placeOf(request, spec, directory);
    directory.assertRoomForKey();
    if (request.Origin === 'EXTERNAL') {
      assertImportable(spec);
      assertTokenCanImport(directory.keyStore(keyStore), spec);
    }
    // What several Regions use lives outside of the token, whatever other keys do.
    const isMultiRegion = request.MultiRegion === true;
    const residency = isMultiRegion ? 'wrapped' : life.residencyIn(keyStore);
    assertTokenCanHold(directory.keyStore(keyStore), { keySpec: spec, keyUsage: usage, residency });
    const keyId = unusedKeyId(directory, isMultiRegion ? newMultiRegionKeyId : newKeyId);
    const unmade = newRecord(request, directory, { keyId, currentBackingKeyId: null, createdAtMs: Date.now() });
    policyOf(request, directory, decideUnder, unmade);
    if (request.Origin === 'EXTERNAL') return { keyId, material: undefined, undo: async () => undefined };
    const material = await life.generate({ keyId, keySpec: spec, keyUsage: usage, keyStore, ordinal: 1, residency });
    return { keyId, material, undo: () => material.undo() };
  },
  decide({ request, directory, decideUnder, prepared: { keyId, material }, nowMs, annotate }) {
    const { realm } = directory;
    directory.assertRoomForKey();
    // Source: AWS KMS developer guide, log entry of CreateKey in a custom key store, without the handle.
    if (request.Origin === 'AWS_CLOUDHSM' && material !== undefined)
      annotate({ backingKey: JSON.stringify({ backingKeyId: material.backingKeyId }) });
    const currentBackingKeyId = material?.backingKeyId ?? null;
    const { customKeyStore } = placeOf(request, specAndUsage(request).spec, directory);
    const record = newRecord(request, directory, { keyId, currentBackingKeyId, createdAtMs: nowMs });
    const document = policyOf(request, directory, decideUnder, record);
    const arn = keyArn(realm, keyId);
    return {
      changes: [
        ...(material === undefined ? [] : [material.activated()]),
        added('key', record),
        added('keyPolicy', { region: realm.region, keyId, version: 1, document }),
      ],
      response: {
        KeyMetadata: {
          ...describe(realm, {
            ...{ arn, record, state: record.state, keyMaterialId: material?.keyMaterialId, customKeyStore },
          }),
          ...configurationOf(record, [{ arn, record }]),
        },
      },
    };
  },
});

function newRecord(
  request: Request,
  directory: KeyView,
  made: Pick<KeyRecord, 'keyId' | 'currentBackingKeyId' | 'createdAtMs'>,
): KeyRecord {
  const { spec, usage } = specAndUsage(request);
  return {
    ...made,
    region: directory.realm.region,
    version: 1,
    state: request.Origin === 'EXTERNAL' ? 'PendingImport' : 'Enabled',
    keySpec: spec,
    keyUsage: usage,
    origin: placeOf(request, spec, directory).origin,
    description: request.Description ?? '',
    tags: checkedTags(request.Tags ?? []),
    deletionDateMs: null,
    keyManager: 'CUSTOMER',
    rotationPeriodDays: null,
    nextRotationDateMs: null,
    primaryRegion: request.MultiRegion === true ? directory.realm.region : '',
    deletionWindowDays: null,
  };
}

/**
 * The policy of the new key, which AWS checks for a lockout where the request brings it. The default one is the account's,
 * whoever makes the key.
 */
function policyOf(request: Request, directory: KeyView, decideUnder: DecideUnder, record: KeyRecord): string {
  const document = request.Policy ?? defaultKeyPolicy(directory.realm);
  assertPolicyLength(document, directory.budgets.quotas);
  const policy = directory.compilePolicy(document);
  assertAffordable(policy);
  if (request.Policy !== undefined && request.BypassPolicyLockoutSafetyCheck !== true) {
    assertNoLockout(decideUnder(policy, { arn: keyArn(directory.realm, record.keyId), record }));
  }
  return document;
}

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
