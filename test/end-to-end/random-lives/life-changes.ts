/** The other half of the model (`life-model.ts`): what is different after a step that was answered as fine. */

import {
  currentOf,
  doomedOf,
  encryptingKey,
  grantOf,
  keyNumber,
  type Learned,
  lacksMaterial,
  type Made,
  type Material,
  type Model,
  type ModelKey,
  madeOf,
  pendingOf,
  stateOf,
} from './life-model.ts';
import { kinds, noKey, type Step } from './life-steps.ts';

/** What root and nobody encrypt, sign and authenticate. */
export const text: Uint8Array = Buffer.from('a whole life');

/** Time has passed: nothing is left of the keys whose waiting period is over by then. */
export function passed(model: Model, now: Date): Model {
  const isOver = ({ deletionDate }: ModelKey): boolean => deletionDate !== null && deletionDate <= now;
  return {
    ...model,
    keys: model.keys.map((key) => (isOver(key) ? { ...key, isGone: true } : key)),
    aliases: new Map([...model.aliases].filter(([, at]) => !isOver(told(model.keys[at])))),
  };
}

/** @param learned What the answer told, or what was found to be there afterwards. */
export function after(model: Model, step: Step, learned: Learned): Model {
  const used = usedBy(model, step);
  const changed = changedBy(model, step, learned);
  return {
    ...changed,
    keys: changed.keys.map((key, at) => (used.includes(at) ? { ...key, lastUse: step.do } : key)),
  };
}

/** A crash may lose the last use, and whoever looks at what keys made uses them. */
export function withUnknownUses(model: Model): Model {
  return { ...model, keys: model.keys.map((key) => ({ ...key, lastUse: null })) };
}

/** The places of the keys that a step uses. */
function usedBy(model: Model, step: Step): readonly number[] {
  switch (step.do) {
    case 'Encrypt':
      return [encryptingKey(model, step)];
    case 'GenerateDataKey':
    case 'GenerateDataKeyWithoutPlaintext':
    case 'Sign':
    case 'GenerateMac':
      return [keyNumber(model, step.key)];
    case 'Decrypt':
      return [madeOf(model, 'ciphertext', step.made)?.key ?? noKey];
    case 'ReEncrypt':
      return [madeOf(model, 'ciphertext', step.made)?.key ?? noKey, keyNumber(model, step.key)];
    case 'Verify':
      return [madeOf(model, 'signature', step.made)?.key ?? noKey];
    case 'VerifyMac':
      return [madeOf(model, 'mac', step.made)?.key ?? noKey];
    default:
      return [];
  }
}

function changedBy(model: Model, step: Step, learned: Learned): Model {
  switch (step.do) {
    case 'CreateKey': {
      const key: ModelKey = {
        ...{
          keyId: told(learned.keyId),
          kind: step.kind,
          lastUse: 'none',
          isGone: false,
          isEnabled: true,
          deletionDate: null,
        },
        ...{ description: '', tags: [['made', step.tag]], policy: 0, grants: [], rotation: null },
        materials: kinds[step.kind].Origin === 'EXTERNAL' ? [] : [materialOf(learned.materialId ?? '')],
      };
      return { ...model, keys: [...model.keys, key] };
    }
    case 'EnableKey':
      return withKey(model, step.key, () => ({ isEnabled: true }));
    case 'DisableKey':
      return withKey(model, step.key, () => ({ isEnabled: false }));
    case 'ScheduleKeyDeletion':
      return withKey(model, step.key, () => ({ deletionDate: told(learned.deletionDate) }));
    case 'CancelKeyDeletion':
      return withKey(model, step.key, () => ({ deletionDate: null, isEnabled: false }));
    case 'CreateAlias':
    case 'UpdateAlias':
      return { ...model, aliases: new Map(model.aliases).set(step.alias, keyNumber(model, step.key)) };
    case 'DeleteAlias': {
      const aliases = new Map(model.aliases);
      aliases.delete(step.alias);
      return { ...model, aliases };
    }
    case 'TagResource':
      return withKey(model, step.key, ({ tags }) => ({ tags: [...new Map(tags).set(step.tag, step.value)] }));
    case 'UntagResource':
      return withKey(model, step.key, ({ tags }) => ({ tags: tags.filter(([name]) => name !== step.tag) }));
    case 'UpdateKeyDescription':
      return withKey(model, step.key, () => ({ description: step.description }));
    case 'PutKeyPolicy':
      return withKey(model, step.key, () => ({ policy: step.policy }));
    case 'CreateGrant':
      return withKey(model, step.key, ({ grants }) => {
        const { name, mayEncrypt } = step;
        // With a name, the same request gives the same grant.
        if (name !== '' && grants.some((grant) => grant.name === name && grant.mayEncrypt === mayEncrypt)) return {};
        return { grants: [...grants, { id: told(learned.grantId), name, mayEncrypt }] };
      });
    case 'RevokeGrant':
    case 'RetireGrant':
      return withKey(model, step.key, (key) => ({
        grants: key.grants.filter((grant) => grant !== grantOf(key, step.grant)),
      }));
    case 'EnableKeyRotation':
      return withKey(model, step.key, ({ rotation }) => {
        const days = step.days ?? 365;
        // What is so already changes nothing, and puts nothing off.
        return rotation?.days === days ? {} : { rotation: { days, next: told(learned.nextRotation) } };
      });
    case 'DisableKeyRotation':
      return withKey(model, step.key, () => ({ rotation: null }));
    case 'RotateKeyOnDemand':
      return withKey(model, step.key, (key) => {
        const next = pendingOf(key) ?? materialOf(told(learned.materialId));
        const others = key.materials.filter((material) => material !== next);
        return { materials: [...others, { ...next, isPending: false, rotation: 'ON_DEMAND' }] };
      });
    case 'ImportKeyMaterial':
      return withKey(model, step.key, (key) => imported(key, step, learned));
    case 'DeleteImportedKeyMaterial':
      return withKey(model, step.key, (key) => {
        const doomed = doomedOf(key, step.material);
        // What the key was never rotated to is forgotten with it.
        const kept = key.materials.filter((material) => material !== doomed || !material.isPending);
        return {
          materials: kept.map((material) => (material === doomed ? { ...material, isThere: false } : material)),
        };
      });
    case 'Encrypt': {
      const key = encryptingKey(model, step);
      return withMade(model, 'ciphertext', key, learned, step.context, text);
    }
    case 'GenerateDataKey':
    case 'GenerateDataKeyWithoutPlaintext': {
      const key = keyNumber(model, step.key);
      return withMade(model, 'ciphertext', key, learned, step.context, learned.plaintext ?? null);
    }
    case 'ReEncrypt': {
      const source = madeOf(model, 'ciphertext', step.made);
      return withMade(
        model,
        'ciphertext',
        keyNumber(model, step.key),
        learned,
        step.context,
        source?.plaintext ?? null,
      );
    }
    case 'Sign':
      return withMade(model, 'signature', keyNumber(model, step.key), learned);
    case 'GenerateMac':
      return withMade(model, 'mac', keyNumber(model, step.key), learned);
    case 'Decrypt':
    case 'Verify':
    case 'VerifyMac':
      return model;
    default:
      return step satisfies never;
  }
}

const materialOf = (id: string): Material => ({
  ...{ id, rotation: null, isPending: false, isThere: true, secret: null, expires: null },
});

function imported(
  key: ModelKey,
  { secret, expires }: Extract<Step, { do: 'ImportKeyMaterial' }>,
  learned: Learned,
): Partial<ModelKey> {
  const known = key.materials.find((material) => material.secret === secret);
  const isThere = { isThere: true, expires: expires ? told(learned.validTo) : null };
  const materials =
    known === undefined
      ? [
          ...key.materials,
          { ...materialOf(learned.materialId ?? ''), ...isThere, secret, isPending: key.materials.length > 0 },
        ]
      : key.materials.map((material) => (material === known ? { ...material, ...isThere } : material));
  // With what was missing the key can be used again, also where it had been disabled before.
  const isComplete = stateOf(key) === 'PendingImport' && !lacksMaterial({ ...key, materials });
  return { materials, ...(isComplete ? { isEnabled: true } : {}) };
}

function withKey(model: Model, number: number, change: (key: ModelKey) => Partial<ModelKey>): Model {
  const at = keyNumber(model, number);
  return { ...model, keys: model.keys.map((key, index) => (index === at ? { ...key, ...change(key) } : key)) };
}

function withMade(
  model: Model,
  as: Made['as'],
  key: number,
  learned: Learned,
  context: number = 0,
  plaintext: Uint8Array | null = text,
): Model {
  const by = model.keys[key];
  const material = (by === undefined ? undefined : currentOf(by)?.id) ?? '';
  return { ...model, made: [...model.made, { as, blob: told(learned.blob), key, material, context, plaintext }] };
}

function told<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the answer lacks a member that the model has to know');
  return value;
}
