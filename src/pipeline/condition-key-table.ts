/**
 * The condition keys of this daemon: one table with name, type, which requests have the key, and where its value is.
 *
 * A key is `always` there, or on requests that are about a `key`, or where an operation has it `declared` in its
 * `needs.conditions`, or `never`: it belongs to AWS KMS and is about something that does not exist here, so that a policy
 * written for AWS is taken and the key is absent. A value is computed when a statement asks for it and not before. What
 * each is worth as evidence (the kernel's word, the caller's own, a hint) stands in `authorization/README.md`.
 *
 * Names are compared without regard to case, also the part that follows the name of a family, as AWS documents it for
 * encryption contexts and tags: `kms:EncryptionContext:AppName` is about `appname` too, and about both where a request
 * has both; what follows is in `policy-condition.ts`.
 *
 * Source: service authorization reference, "Actions, resources, and condition keys for AWS KMS" and "for AWS Security Token Service"; IAM user guide, "AWS
 * global condition context keys"; KMS developer guide, "Condition keys for AWS KMS".
 */

import type {
  ConditionKey,
  ConditionType,
  ConditionVocabulary,
} from '../authorization/language/condition-vocabulary.ts';
import type { Room } from '../authorization/language/work-budget.ts';
import { multiRegionKeyType } from '../keys/multi-region.ts';
import { defaultBudgets } from '../kms/budgets.ts';
import { isMultiRegion, userIdOf } from '../kms/names.ts';
import {
  addressOf,
  constraintsOf,
  constraintTypesOf,
  type Draw,
  daysWithoutUse,
  encryptionContextKeys,
  encryptionContextValues,
  epochSeconds,
  issueTime,
  isViaService,
  listOf,
  maxSpellings,
  member,
  one,
  property,
  reEncryptsOnSameKey,
  requestAlias,
  sourceIdentity,
  tagKeys,
  tagValues,
  transportOf,
  unixFacts,
  type Values,
} from './condition-values.ts';
import type { ConditionSource } from './question-source.ts';

export interface ConditionKeyRow extends ConditionKey {
  readonly on: 'always' | 'key' | 'declared' | 'never';
  /** For a family, what stands between its name and the parameter. */
  readonly separator?: ':' | '/';
  readonly draw: Draw;
}

/** How the rows below are written. */
interface Options {
  readonly type?: ConditionType;
  readonly multivalued?: true;
  readonly family?: ':' | '/';
  readonly room?: Room;
}

const row = (on: ConditionKeyRow['on'], name: string, draw: Draw, options: Options = {}): ConditionKeyRow => ({
  name,
  on,
  type: options.type ?? 'String',
  isMultivalued: options.multivalued === true,
  ...(options.family === undefined ? {} : { separator: options.family }),
  ...(options.room === undefined ? {} : { room: options.room }),
  draw,
});
const never = (name: string, options: Options = {}): ConditionKeyRow => row('never', name, () => undefined, options);

const bool = { type: 'Bool' } as const;
const numeric = { type: 'Numeric' } as const;
const arn = { type: 'ARN' } as const;
const set = { multivalued: true } as const;

/**
 * What requests can have at most of what is more than one short text: an encryption context has 8,192 bytes, and a key 50 tags. Where an operator raised a quota, or somebody is in very many groups, it can
 * be more, which then the request pays for.
 */
const encryptionContextRoom: Room = { values: maxSpellings, characters: 8192 };
const encryptionContextKeysRoom: Room = { values: 4300, characters: 8192 };
const tagRoom: Room = { values: 50, characters: 50 * 256 };
const tagKeysRoom: Room = { values: 50, characters: 50 * 128 };
const aliasesRoom: Room = {
  values: defaultBudgets.quotas.aliasesPerKey,
  characters: defaultBudgets.quotas.aliasesPerKey * 256,
};
const grantOperationsRoom: Room = { values: 32, characters: 1024 };
const groupsRoom: Room = { values: 256, characters: 8192 };
/** `PATH_MAX`, the headers of a request, and the path and name of a user. */
const executableRoom: Room = { values: 1, characters: 4096 };
const userAgentRoom: Room = { values: 1, characters: 16_384 };
const externalIdRoom: Room = { values: 1, characters: 1224 };
const principalRoom: Room = { values: 1, characters: 1024 };

const keySpec = property(
  ({ record }) => record.keySpec,
  ({ source: { request } }) => one(request['KeySpec'] ?? request['CustomerMasterKeySpec'] ?? 'SYMMETRIC_DEFAULT'),
);
const keyUsage = property(({ record }) => record.keyUsage, member('KeyUsage', 'ENCRYPT_DECRYPT'));

/** Of a key that is being made: one that will be like another is its replica. */
const multiRegionType: Draw = ({ key, need, source: { request } }) => {
  if (key !== undefined) return one(multiRegionKeyType(key.record));
  return need.like === undefined ? one(request['MultiRegion'] === true ? 'PRIMARY' : undefined) : ['REPLICA'];
};

const kmsKeys: readonly ConditionKeyRow[] = [
  // A member of the request is in the context only where the request has it, so that `Null` can ask for it.
  row('declared', 'kms:BypassPolicyLockoutSafetyCheck', member('BypassPolicyLockoutSafetyCheck'), bool),
  row('always', 'kms:CallerAccount', ({ accountId }) => one(accountId)),
  row('key', 'kms:CustomerMasterKeySpec', keySpec),
  row('key', 'kms:CustomerMasterKeyUsage', keyUsage),
  row('declared', 'kms:DataKeyPairSpec', member('KeyPairSpec')),
  row('declared', 'kms:EncapsulationAlgorithm', member('EncapsulationAlgorithm')),
  row('declared', 'kms:EncryptionAlgorithm', ({ need, source }) => one(need.algorithm?.(source.request))),
  row('declared', 'kms:EncryptionContext', encryptionContextValues, {
    family: ':',
    room: encryptionContextRoom,
  }),
  row('declared', 'kms:EncryptionContextKeys', encryptionContextKeys, {
    ...set,
    room: encryptionContextKeysRoom,
  }),
  row('declared', 'kms:ExpirationModel', member('ExpirationModel')),
  row('declared', 'kms:GrantConstraintSourceArn', ({ source }) => one(constraintsOf(source.request)['SourceArn']), arn),
  row('declared', 'kms:GrantConstraintType', ({ source }) => constraintTypesOf(source.request)),
  row('declared', 'kms:GranteePrincipal', member('GranteePrincipal')),
  row('declared', 'kms:GranteeServicePrincipal', member('GranteeServicePrincipal')),
  row('declared', 'kms:GrantIsForAWSResource', isViaService, bool),
  row('declared', 'kms:GrantOperations', ({ source }) => listOf(source.request['Operations']), {
    ...set,
    room: grantOperationsRoom,
  }),
  row('declared', 'kms:KeyAgreementAlgorithm', member('KeyAgreementAlgorithm')),
  row(
    'key',
    'kms:KeyOrigin',
    property(({ record }) => record.origin, member('Origin', 'AWS_KMS')),
  ),
  row('key', 'kms:KeySpec', keySpec),
  row('key', 'kms:KeyUsage', keyUsage),
  row('declared', 'kms:MacAlgorithm', member('MacAlgorithm')),
  row('declared', 'kms:MessageType', member('MessageType', 'RAW')),
  row(
    'key',
    'kms:MultiRegion',
    property(({ record }) => isMultiRegion(record.keyId), member('MultiRegion', 'false')),
    bool,
  ),
  row('key', 'kms:MultiRegionKeyType', multiRegionType),
  row('declared', 'kms:PrimaryRegion', member('PrimaryRegion')),
  // Attested environments do not exist here; a request with a Recipient is refused.
  never('kms:RecipientAttestation', { family: ':' }),
  row('declared', 'kms:ReEncryptOnSameKey', (question) => one(reEncryptsOnSameKey(question)), bool),
  row('declared', 'kms:ReplicaRegion', member('ReplicaRegion')),
  row('key', 'kms:RequestAlias', requestAlias),
  row('key', 'kms:ResourceAliases', ({ key, source }) => key && source.directory.aliases.namesOf(key.record.keyId), {
    ...set,
    room: aliasesRoom,
  }),
  row('declared', 'kms:RetiringPrincipal', member('RetiringPrincipal')),
  row('declared', 'kms:RetiringServicePrincipal', member('RetiringServicePrincipal')),
  row('declared', 'kms:RotationPeriodInDays', member('RotationPeriodInDays'), numeric),
  row('declared', 'kms:ScheduleKeyDeletionPendingWindowInDays', member('PendingWindowInDays'), numeric),
  row('declared', 'kms:SigningAlgorithm', member('SigningAlgorithm')),
  row('declared', 'kms:TrailingDaysWithoutKeyUsage', daysWithoutUse, numeric),
  row('declared', 'kms:ValidTo', ({ source }) => epochSeconds(source.request['ValidTo']), { type: 'Date' }),
  row('always', 'kms:ViaService', ({ source: { directory, caller } }) => one(directory.services.viaService(caller))),
  row('declared', 'kms:WrappingAlgorithm', member('WrappingAlgorithm')),
  row('declared', 'kms:WrappingKeySpec', member('WrappingKeySpec')),
];

const principalTypes = { Root: 'Account', IAMUser: 'User', AssumedRole: 'AssumedRole' } as const;

const globalKeys: readonly ConditionKeyRow[] = [
  row('always', 'aws:CurrentTime', ({ source }) => [new Date(source.origin.receivedAtMs).toISOString()], {
    type: 'Date',
  }),
  row('always', 'aws:EpochTime', ({ source }) => one(Math.floor(source.origin.receivedAtMs / 1000)), { type: 'Date' }),
  row('always', 'aws:PrincipalAccount', ({ accountId }) => one(accountId)),
  row('always', 'aws:PrincipalArn', ({ principal, role }) => one(role ?? principal), { ...arn, room: principalRoom }),
  row('always', 'aws:PrincipalIsAWSService', () => ['false'], bool),
  // Principals have no tags here.
  never('aws:PrincipalTag', { family: '/' }),
  row('always', 'aws:PrincipalType', ({ source }) => [principalTypes[source.caller.type]]),
  row('always', 'aws:RequestedRegion', ({ source }) => [source.directory.realm.region]),
  row(
    'always',
    'aws:RequestTag',
    (question, name) => tagValues(question, 'tags of the request', question.source.request['Tags'], name),
    {
      family: '/',
      room: tagRoom,
    },
  ),
  row('always', 'aws:ResourceAccount', ({ source }) => [source.directory.realm.account]),
  row(
    'key',
    'aws:ResourceTag',
    (question, name) => tagValues(question, 'tags of the key', question.key?.record.tags, name),
    {
      family: '/',
      room: tagRoom,
    },
  ),
  // A Unix socket never leaves the machine; the loopback listener is plain HTTP, and never encrypted.
  row('always', 'aws:SecureTransport', ({ source }) => [String(transportOf(source.caller) !== 'tcp')], bool),
  // No AWS service calls here.
  never('aws:SourceAccount'),
  never('aws:SourceArn', arn),
  row('always', 'aws:SourceIdentity', ({ source }) => sourceIdentity(source.caller)),
  row('always', 'aws:SourceIp', ({ source }) => addressOf(source.origin.sourceIPAddress), { type: 'IPAddress' }),
  // No private clouds, and no end points in them.
  never('aws:SourceVpc'),
  never('aws:SourceVpce'),
  row('always', 'aws:TagKeys', ({ source }) => tagKeys(source.request), {
    ...set,
    room: tagKeysRoom,
  }),
  row('always', 'aws:TokenIssueTime', ({ source }) => issueTime(source.caller), { type: 'Date' }),
  row('always', 'aws:UserAgent', ({ source }) => one(source.origin.userAgent), { room: userAgentRoom }),
  row('always', 'aws:userid', ({ source }) => [userIdOf(source.caller)]),
  row('always', 'aws:username', ({ source }) => one(source.caller.userName)),
  row('always', 'aws:ViaAWSService', isViaService, bool),
  // Nobody signs in with a password, a second factor or at another identity provider.
  never('aws:FederatedProvider'),
  never('aws:MultiFactorAuthAge', numeric),
  never('aws:MultiFactorAuthPresent', bool),
  never('aws:AssumedRoot', bool),
  never('aws:referer'),
  // An account alone: there are no organizations.
  never('aws:PrincipalOrgID'),
  never('aws:PrincipalOrgPaths', set),
  never('aws:ResourceOrgID'),
  never('aws:ResourceOrgPaths', set),
  never('aws:SourceOrgID'),
  never('aws:SourceOrgPaths', set),
  // No AWS service, and no chain of them.
  never('aws:CalledVia', set),
  never('aws:CalledViaFirst'),
  never('aws:CalledViaLast'),
  never('aws:PrincipalServiceName'),
  never('aws:PrincipalServiceNamesList', set),
  never('aws:ChatbotSourceArn', arn),
  // No private clouds.
  never('aws:Ec2InstanceSourcePrivateIPv4', { type: 'IPAddress' }),
  never('aws:Ec2InstanceSourceVpc'),
  never('aws:SourceVpcArn', arn),
  never('aws:VpceAccount'),
  never('aws:VpceOrgID'),
  never('aws:VpceOrgPaths', set),
  never('aws:VpcSourceIp', { type: 'IPAddress' }),
];

const ownKeys: readonly ConditionKeyRow[] = [
  row('always', 'drawbridge:Executable', (question) => one(unixFacts(question, 'connected')?.executable()), {
    room: executableRoom,
  }),
  row('always', 'drawbridge:SystemdUnit', (question) => one(unixFacts(question, 'connected')?.systemdUnit())),
  row('always', 'drawbridge:Transport', ({ source }) => [transportOf(source.caller)]),
  row('always', 'drawbridge:UnixGroup', (question) => unixFacts(question, 'vouched for')?.groupNames(), {
    ...set,
    room: groupsRoom,
  }),
  row('always', 'drawbridge:UnixUser', (question) => one(unixFacts(question, 'vouched for')?.userName())),
];

/** Of AssumeRole and nothing else. */
const stsKeys: readonly ConditionKeyRow[] = [
  never('sts:AWSServiceName'),
  never('sts:DurationSeconds', numeric),
  row('declared', 'sts:ExternalId', member('ExternalId'), { room: externalIdRoom }),
  never('sts:RequestContext', { family: '/' }),
  never('sts:RequestContextProviders', set),
  row('declared', 'sts:RoleSessionName', member('RoleSessionName')),
  row('declared', 'sts:SourceIdentity', member('SourceIdentity')),
  never('sts:TaskPolicyArn', arn),
  // Sessions have no tags.
  never('sts:TransitiveTagKeys', set),
];

export const conditionKeys: readonly ConditionKeyRow[] = [...kmsKeys, ...globalKeys, ...stsKeys, ...ownKeys];

const byName: ReadonlyMap<string, ConditionKeyRow> = new Map(conditionKeys.map((key) => [key.name.toLowerCase(), key]));

/** The keys as the policy language asks for them. A family without its parameter is no key, and neither is the reverse. */
export const conditionVocabulary: ConditionVocabulary = (name) => {
  const exact = byName.get(name.toLowerCase());
  if (exact !== undefined) return exact.separator === undefined ? exact : undefined;
  const [, family = '', separator = '', parameter = ''] = /^([\w-]+:\w+)([:/])(.+)$/s.exec(name) ?? [];
  const found = byName.get(family.toLowerCase());
  return found === undefined || found.separator !== separator ? undefined : { ...found, parameter };
};

/** What a request has for a key. */
export function conditionValues(question: ConditionSource, { name, parameter = '' }: ConditionKey): Values {
  const key = byName.get(name.toLowerCase());
  if (key === undefined) return undefined;
  const isDeclared = question.need.conditions?.includes(key.name) === true;
  if (key.on === 'declared' && !isDeclared) return undefined;
  if (key.on === 'key' && question.key === undefined && !isDeclared) return undefined;
  return key.draw(question, parameter);
}
