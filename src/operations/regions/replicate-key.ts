/**
 * `ReplicateKey`: a replica of a multi-Region primary key in another Region of this instance, of the same id and with the same material;
 * of a key whose material is imported without any, and waiting for the same to be imported there.
 *
 * AWS makes a replica in some seconds, during which its state is `Creating`; here it is there when the request is answered, and
 * the answer says `Creating` all the same, because that is what programs wait for the end of.
 */

import { defaultKeyPolicy } from '../../authorization/default-key-policy.ts';
import { assertNoLockout } from '../../authorization/lockout.ts';
import { assertAffordable } from '../../authorization/worst-case.ts';
import { isPendingRotation } from '../../keys/imported-material.ts';
import type { KeyView } from '../../keys/key-view.ts';
import type { KmsKey } from '../../keys/kms-key.ts';
import { awaitedIn, inOrderOfRegions, relatedKeys } from '../../keys/multi-region.ts';
import { renamed } from '../../keys/regions-of-material.ts';
import { assertTokenCanHold, assertTokenCanImport, assertTokenCanWrap } from '../../keys/token-capabilities.ts';
import { KmsError } from '../../kms/errors.ts';
import { everyKeyPattern, keyArn } from '../../kms/names.ts';
import { added, type Change, removed } from '../../store/records/changes.ts';
import type { BackingKeyRecord, KeyRecord } from '../../store/records/records.ts';
import { configurationOf, describe, keyMetadata } from '../declaration/key-metadata.ts';
import {
  anyResource,
  assertPolicyLength,
  keyDescription,
  keyNamedBy,
  keyReference,
  newKeyConditions,
  policyDocument,
  regionName,
} from '../declaration/members.ts';
import { operation } from '../declaration/operation.ts';
import { boolean, object, optional, string } from '../declaration/schema.ts';
import { checkedTags, tagList } from '../declaration/tags.ts';
import { assertPrimary, regionOf } from './region-request.ts';

export const replicateKey = operation({
  name: 'ReplicateKey',
  request: object({
    KeyId: keyReference,
    ReplicaRegion: regionName,
    Policy: optional(policyDocument),
    BypassPolicyLockoutSafetyCheck: optional(boolean),
    Description: optional(keyDescription),
    Tags: optional(tagList),
  }),
  response: object({
    ReplicaKeyMetadata: optional(keyMetadata),
    ReplicaPolicy: optional(string()),
    ReplicaTags: optional(tagList),
  }),
  needs: {
    keys: {
      key: {
        action: 'kms:ReplicateKey',
        key: keyNamedBy('KeyId', 'keyOnly'),
        conditions: ['kms:ReplicaRegion'],
        states: 'replication',
      },
    },
    resources: [
      {
        action: 'kms:CreateKey',
        resource: anyResource,
        region: ({ ReplicaRegion }) => ReplicaRegion,
        like: keyNamedBy('KeyId', 'keyOnly'),
        conditions: newKeyConditions,
      },
      {
        action: 'kms:TagResource',
        resource: ({ Tags = [], ReplicaRegion: region }, { realm: { account } }) =>
          Tags.length === 0 ? undefined : everyKeyPattern({ region, account }),
        region: ({ ReplicaRegion }) => ReplicaRegion,
        conditions: ['aws:RequestTag', 'aws:TagKeys'],
      },
    ],
    keysFirst: true,
  },
  effect: 'changes',
  record: ['KeyId', 'ReplicaRegion', 'Policy', 'BypassPolicyLockoutSafetyCheck', 'Description', 'Tags'],
  recordResponse: ['ReplicaKeyMetadata', 'ReplicaPolicy', 'ReplicaTags'],
  made: ({ ReplicaKeyMetadata }) => (ReplicaKeyMetadata?.Arn === undefined ? [] : [ReplicaKeyMetadata.Arn]),
  // Source: AWS KMS API reference, ReplicateKey: "records a ReplicateKey operation in the primary key's Region and a CreateKey operation
  // in the replica key's Region".
  elsewhere({ request, response: { ReplicaKeyMetadata: made, ReplicaPolicy, ReplicaTags } }) {
    if (made === undefined) return undefined;
    const { ReplicaRegion: region, BypassPolicyLockoutSafetyCheck } = request;
    const { Arn, Description, KeyUsage, KeySpec, CustomerMasterKeySpec, Origin } = made;
    const shared = { Description, KeyUsage, KeySpec, CustomerMasterKeySpec, Origin, MultiRegion: true };
    return {
      ...{ region, operationName: 'CreateKey', resources: Arn === undefined ? [] : [Arn] },
      request: { ...shared, Policy: ReplicaPolicy, Tags: ReplicaTags, BypassPolicyLockoutSafetyCheck },
      response: { KeyMetadata: made },
    };
  },
  decide({ request, keys, directory, decideUnder, nowMs }) {
    const primary = keys.key.key;
    assertPrimary(primary);
    const there = regionOf(directory, request.ReplicaRegion);
    assertNotThere(directory, there, primary);
    if (primary.record.origin === 'EXTERNAL') assertTakesMaterial(there, primary);
    else assertUsesMaterial(there, primary);
    there.assertRoomForKey();
    const record: KeyRecord = {
      ...primary.record,
      region: there.realm.region,
      version: 1,
      state: primary.record.origin === 'EXTERNAL' ? 'PendingImport' : 'Enabled',
      description: request.Description ?? '',
      tags: checkedTags(request.Tags ?? []),
      createdAtMs: nowMs,
      rotationPeriodDays: null,
      nextRotationDateMs: null,
    };
    const { region, keyId } = record;
    const arn = keyArn(there.realm, keyId);
    const document = request.Policy ?? defaultKeyPolicy(there.realm);
    assertPolicyLength(document, there.budgets.quotas);
    const policy = there.compilePolicy(document);
    assertAffordable(policy);
    if (request.Policy !== undefined && request.BypassPolicyLockoutSafetyCheck !== true) {
      assertNoLockout(decideUnder(policy, { arn, record }));
    }
    const related = inOrderOfRegions([...relatedKeys(directory, keyId), { arn, record }]);
    return {
      changes: [
        ...withoutTombstone(there, record),
        ...materialOf(primary, related, there),
        added('key', record),
        added('keyPolicy', { region, keyId, version: 1, document }),
      ],
      response: {
        ReplicaKeyMetadata: {
          ...describe(there.realm, { arn, record, state: 'Creating', keyMaterialId: undefined }),
          ...configurationOf(record, related),
        },
        ReplicaPolicy: document,
        ReplicaTags: record.tags.length === 0 ? undefined : [...record.tags],
      },
    };
  },
});

/** @throws KmsError `AlreadyExistsException` where there is a related key already, in whatever state it is. */
function assertNotThere(directory: KeyView, there: KeyView, { record: { keyId } }: KmsKey): void {
  if (there.findKey(keyId) === undefined) return;
  const where = there === directory ? 'is the primary key' : 'already exists';
  throw new KmsError('AlreadyExistsException', `${keyArn(there.realm, keyId)} ${where}.`);
}

/**
 * @throws KmsError `UnsupportedOperationException` where no HSM of the Region can use the material: none is in its domain, or its token does
 * not know such keys.
 */
function assertUsesMaterial(there: KeyView, { arn, materials, record: { keySpec, keyUsage } }: KmsKey): void {
  for (const material of materials) {
    const name = there.keyStores.servingName(material);
    if (name === undefined || !there.keyStores.takesWhatIsNewIn(material.keyStore))
      throw notInDomain(there, arn, material);
    if (name !== material.keyStore)
      assertTokenCanHold(there.keyStore(name), { keySpec, keyUsage, residency: 'wrapped' });
  }
}

function notInDomain({ realm, defaultKeyStore }: KeyView, arn: string, { keyStore, domainKeyId }: BackingKeyRecord) {
  return new KmsError(
    'UnsupportedOperationException',
    `No key store of the Region ${realm.region} is in the domain of \`${keyStore}\`, in which the material of ${arn} is wrapped under the domain key ` +
      `${domainKeyId}: have one join it (drawbridge domain invite ${keyStore}, drawbridge domain join --key-store ${defaultKeyStore}), then run ` +
      `drawbridge reconnect ${defaultKeyStore}.`,
  );
}

/** @throws KmsError `UnsupportedOperationException` where the HSM of the Region's new keys cannot be given such material. */
function assertTakesMaterial(there: KeyView, { record: { keySpec } }: KmsKey): void {
  const keyStore = there.keyStore(there.defaultKeyStore);
  assertTokenCanImport(keyStore, keySpec);
  assertTokenCanWrap(keyStore, keySpec);
}

/**
 * What was generated here is that of one Region more; what was imported has to be imported there, but for what the key was not rotated to and is
 * just losing: the primary key forgets it, and takes other material in its place.
 */
function materialOf(
  primary: KmsKey,
  related: readonly { readonly record: Pick<KeyRecord, 'region'> }[],
  there: KeyView,
): readonly Change[] {
  const { record, materials } = primary;
  if (record.origin === 'EXTERNAL') {
    const kept = materials.filter((each) => each.state !== 'Destroying' || !isPendingRotation(primary, each));
    return kept.map((material) => awaitedIn(there, material));
  }
  const regions = related.map(({ record: { region } }) => region);
  return materials.flatMap((material) => renamed(material, regions));
}

/** A replica that was deleted may be made anew. */
function withoutTombstone({ tombstones }: KeyView, { keyId }: KeyRecord): readonly Change[] {
  const tombstone = tombstones.find(keyId);
  return tombstone === undefined ? [] : [removed('tombstone', tombstone)];
}
