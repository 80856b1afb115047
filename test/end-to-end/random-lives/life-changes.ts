/** The other half of the model (`life-model.ts`): what is different after a step that was answered as fine. */

import {
  encryptingKey,
  grantOf,
  keyNumber,
  type Learned,
  type Made,
  type Model,
  type ModelKey,
  madeOf,
} from './life-model.ts';
import type { Step } from './life-steps.ts';

/** What root and nobody encrypt, sign and authenticate. */
export const text: Uint8Array = Buffer.from('a whole life');

/** @param learned What the answer told, or what was found to be there afterwards. */
export function after(model: Model, step: Step, learned: Learned): Model {
  switch (step.do) {
    case 'CreateKey': {
      const key: ModelKey = {
        ...{ keyId: told(learned.keyId), kind: step.kind, isEnabled: true, deletionDate: null },
        ...{ description: '', tags: [['made', step.tag]], policy: 0, grants: [], rotation: null },
        materials: [{ id: learned.materialId ?? '', rotation: null }],
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
      return withKey(model, step.key, ({ materials }) => ({
        materials: [...materials, { id: told(learned.materialId), rotation: 'ON_DEMAND' }],
      }));
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
  const material = model.keys[key]?.materials.at(-1)?.id ?? '';
  return { ...model, made: [...model.made, { as, blob: told(learned.blob), key, material, context, plaintext }] };
}

function told<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the answer lacks a member that the model has to know');
  return value;
}
