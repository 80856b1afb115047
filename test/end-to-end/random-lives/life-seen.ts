/** All that can be seen of a life's keys through the API, and what the model says of the same. */

import type { KMS } from '@aws-sdk/client-kms';
import { expect } from 'vitest';
import { operations } from '../../../src/operations/find-operation.ts';
import { present } from '../support/daemon.ts';
import {
  answerOfMade,
  currentOf,
  isExternal,
  lacksMaterial,
  type Made,
  type Model,
  type ModelKey,
  stateOf,
} from './life-model.ts';
import { aliasName, assertSame, authenticating, contextOf, policies, signing } from './life-requests.ts';
import { kinds } from './life-steps.ts';

/** Of one key. */
export interface Seen {
  readonly state: string;
  readonly isEnabled: boolean;
  readonly deletionDate: Date | null;
  readonly description: string;
  readonly tags: readonly string[];
  readonly policy: string;
  /** Whatever the model does not know is anything. */
  readonly lastUse: unknown;
  readonly aliases: readonly string[];
  readonly grants: readonly string[];
  /** How often it is rotated by itself, and when next. */
  readonly rotation: string;
  /** When imported material expires. */
  readonly expiry: string;
  /** Of symmetric keys: each with how it stands, and the current one again. */
  readonly materials: readonly string[];
}

export interface SeenLife {
  readonly keys: readonly (Seen | 'gone')[];
  /** Of each thing that a key made: what becomes of it when it is asked back, and by which material. */
  readonly made: readonly string[];
}

const grantText = (id: string, name: string, operations: readonly string[]): string =>
  `${id} “${name}” ${operations.toSorted().join(' ')}`;

export async function seenOf(kms: KMS, model: Model): Promise<SeenLife> {
  const keys = await Promise.all(model.keys.map(({ keyId }) => seenOrGone(kms, keyId)));
  // After the keys, because it uses them.
  const made = await Promise.all(model.made.map((each) => seenMade(kms, model, each)));
  return { keys, made };
}

async function seenOrGone(kms: KMS, KeyId: string): Promise<Seen | 'gone'> {
  try {
    return await seenKey(kms, KeyId);
  } catch (error) {
    if (error instanceof Error && error.name === 'NotFoundException') return 'gone';
    throw error;
  }
}

async function seenKey(kms: KMS, KeyId: string): Promise<Seen> {
  const [described, tags, policy, aliases, grants, rotation, lastUse] = await Promise.all([
    kms.describeKey({ KeyId }),
    kms.listResourceTags({ KeyId }),
    kms.getKeyPolicy({ KeyId }),
    kms.listAliases({ KeyId }),
    kms.listGrants({ KeyId }),
    kms.getKeyRotationStatus({ KeyId }),
    seenLastUse(kms, KeyId),
  ]);
  const metadata = present(described.KeyMetadata);
  return {
    state: present(metadata.KeyState),
    isEnabled: present(metadata.Enabled),
    deletionDate: metadata.DeletionDate ?? null,
    description: present(metadata.Description),
    tags: present(tags.Tags).map(({ TagKey, TagValue }) => `${TagKey}=${TagValue}`),
    policy: JSON.stringify(JSON.parse(present(policy.Policy))),
    lastUse,
    aliases: present(aliases.Aliases)
      .map(({ AliasName = '' }) => AliasName)
      .toSorted(),
    grants: present(grants.Grants)
      .map(({ GrantId = '', Name = '', Operations = [] }) => grantText(GrantId, Name, Operations))
      .toSorted(),
    expiry: expiryText(metadata.ExpirationModel, metadata.ValidTo),
    rotation: rotationText(rotation.RotationPeriodInDays, rotation.NextRotationDate),
    materials:
      metadata.KeySpec === 'SYMMETRIC_DEFAULT' ? await seenMaterials(kms, KeyId, metadata.CurrentKeyMaterialId) : [],
  };
}

const isLastUseTold = operations.some(({ name }) => name === 'GetKeyLastUsage');

async function seenLastUse(kms: KMS, KeyId: string): Promise<string> {
  if (!isLastUseTold) return 'nobody tells';
  return (await kms.getKeyLastUsage({ KeyId })).KeyLastUsage?.Operation ?? 'none';
}

async function seenMaterials(kms: KMS, KeyId: string, current: string | undefined): Promise<readonly string[]> {
  const { Rotations } = await kms.listKeyRotations({ KeyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL', Limit: 1000 });
  const listed = present(Rotations).map(
    ({ KeyMaterialId = '', KeyMaterialState = '', RotationType = '', ImportState = '', ExpirationModel, ValidTo }) =>
      `${KeyMaterialId} ${KeyMaterialState} ${RotationType} ${ImportState} ${expiryText(ExpirationModel, ValidTo)}`,
  );
  return [...listed, `${current}`];
}

function expiryText(model: string = 'none', at?: Date): string {
  return at === undefined ? model : `${model} ${at.toISOString()}`;
}

function expiryAt(date: Date | null): string {
  return date === null ? expiryText('KEY_MATERIAL_DOES_NOT_EXPIRE') : expiryText('KEY_MATERIAL_EXPIRES', date);
}

function rotationText(days: number | undefined, next: Date | undefined): string {
  return days === undefined ? 'never' : `every ${days} days, next at ${next?.toISOString()}`;
}

async function seenMade(kms: KMS, model: Model, made: Made): Promise<string> {
  const KeyId = present(model.keys[made.key]).keyId;
  try {
    if (made.as === 'signature') await kms.verify({ ...signing, KeyId, Signature: made.blob });
    else if (made.as === 'mac') await kms.verifyMac({ ...authenticating, KeyId, Mac: made.blob });
    else {
      const opened = await kms.decrypt({ CiphertextBlob: made.blob, ...contextOf(made.context) });
      assertSame(made, present(opened.Plaintext));
      return `fine ${opened.KeyMaterialId}`;
    }
    return 'fine ';
  } catch (error) {
    if (error instanceof Error && error.name.endsWith('Exception')) return error.name;
    throw error;
  }
}

/** What there is to see, by the model. */
export function expectedOf(model: Model, life: string): SeenLife {
  return {
    keys: model.keys.map((key, at) => (key.isGone ? 'gone' : expectedKey(key, namesOf(model, at, life)))),
    made: model.made.map((made) => {
      const answer = answerOfMade(model, made);
      return answer === 'fine' ? `fine ${made.material}` : answer;
    }),
  };
}

function namesOf({ aliases }: Model, number: number, life: string): readonly string[] {
  return [...aliases]
    .filter(([, key]) => key === number)
    .map(([alias]) => aliasName(life, alias))
    .toSorted();
}

function expectedKey(key: ModelKey, aliases: readonly string[]): Seen {
  const state = stateOf(key);
  return {
    state,
    isEnabled: state === 'Enabled',
    deletionDate: key.deletionDate,
    description: key.description,
    tags: key.tags.map(([name, value]) => `${name}=${value}`).toSorted(),
    policy: JSON.stringify(JSON.parse(present(policies[key.policy]))),
    lastUse: key.lastUse === null || !isLastUseTold ? expect.anything() : key.lastUse,
    aliases,
    grants: key.grants
      .map(({ id, name, mayEncrypt }) => grantText(id, name, mayEncrypt ? ['DescribeKey', 'Encrypt'] : ['DescribeKey']))
      .toSorted(),
    expiry: expectedExpiry(key),
    // None happens while it is pending deletion, and that is what is told.
    rotation:
      key.rotation === null || state === 'PendingDeletion'
        ? 'never'
        : rotationText(key.rotation.days, key.rotation.next),
    materials: kinds[key.kind].KeySpec === 'SYMMETRIC_DEFAULT' ? expectedMaterials(key) : [],
  };
}

/** What is told of the key, is told of all that it cannot do without. */
function expectedExpiry(key: ModelKey): string {
  if (!isExternal(key) || lacksMaterial(key)) return expiryText();
  const dates = key.materials.flatMap(({ expires, isPending }) => (isPending || expires === null ? [] : [expires]));
  return expiryAt(dates.toSorted((one, other) => one.getTime() - other.getTime())[0] ?? null);
}

function expectedMaterials(key: ModelKey): readonly string[] {
  const current = currentOf(key);
  const listed = key.materials.map((material) => {
    const state = material.isPending ? 'PENDING_ROTATION' : material === current ? 'CURRENT' : 'NON_CURRENT';
    const importing = isExternal(key)
      ? material.isThere
        ? `IMPORTED ${expiryAt(material.expires)}`
        : // What is not there does not expire.
          `PENDING_IMPORT ${expiryText()}`
      : ` ${expiryText()}`;
    return `${material.id} ${state} ${material.rotation ?? ''} ${importing}`;
  });
  return [...listed, `${current?.id}`];
}
