/** The steps of a life as requests, and what their answers tell the model. */

import type { CreateGrantRequest, GetParametersForImportCommandOutput, KMS } from '@aws-sdk/client-kms';
import { rootArn, unixUserArn, unknownKeyId } from '../support/arns.ts';
import { present } from '../support/daemon.ts';
import { wrapped } from '../support/imports.ts';
import { allow, deny, policy, rootMayAll } from '../support/policies.ts';
import type { UnixClient } from '../support/unix-users.ts';
import { text } from './life-changes.ts';
import {
  doomedOf,
  encryptingKey,
  grantOf,
  keyNumber,
  keyOf,
  type Learned,
  type Made,
  type Model,
  madeOf,
} from './life-model.ts';
import { kinds, noKey, type Step } from './life-steps.ts';

const nobodyArn = unixUserArn('nobody');

export const policies: readonly string[] = [
  policy(rootMayAll),
  policy(rootMayAll, allow(nobodyArn, 'kms:Encrypt')),
  policy(rootMayAll, deny(nobodyArn, 'kms:*')),
];

/** Whom the steps are sent as. */
export interface Callers {
  readonly kms: KMS;
  readonly nobody: UnixClient;
  /** Keeps the aliases of this life apart from those of others over the same instance. */
  readonly life: string;
  /** By the daemon's clock. */
  readonly nowMs: () => number;
  /** What was got for imports, by the ids of their keys: good for a day, however often it is used. */
  readonly parameters: Map<string, GetParametersForImportCommandOutput>;
}

/** Material that expires does not in the time that a life has. */
const lifeOfMaterialMs = 300 * 24 * 60 * 60 * 1000;

const wrapping = { WrappingAlgorithm: 'RSAES_OAEP_SHA_256', WrappingKeySpec: 'RSA_2048' } as const;

async function parametersOf({ kms, parameters }: Callers, KeyId: string): Promise<GetParametersForImportCommandOutput> {
  const got = parameters.get(KeyId) ?? (await kms.getParametersForImport({ KeyId, ...wrapping }));
  parameters.set(KeyId, got);
  return got;
}

export function aliasName(life: string, alias: number): string {
  return `alias/${life}/${alias}`;
}

export const contextOf = (context: number): { EncryptionContext?: Record<string, string> } =>
  context === 0 ? {} : { EncryptionContext: { number: String(context) } };
export const signing = { Message: text, SigningAlgorithm: 'ECDSA_SHA_256' } as const;
export const authenticating = { Message: text, MacAlgorithm: 'HMAC_SHA_256' } as const;

/** What `nobody` was refused, as the SDK would have thrown it. */
class Refused extends Error {
  readonly $fault = 'client';
  constructor(name: string, message: string) {
    super(message);
    this.name = name;
  }
}

/** Sends it. Rejects as the SDK does. */
export async function send(callers: Callers, model: Model, step: Step): Promise<Learned> {
  const { kms, life } = callers;
  const number = 'key' in step ? step.key : noKey;
  const key = number === null ? undefined : keyOf(model, number);
  // Also that of a key which is gone.
  const KeyId = (number === null ? undefined : model.keys[keyNumber(model, number)]?.keyId) ?? unknownKeyId;
  switch (step.do) {
    case 'CreateKey': {
      const { KeyMetadata } = await kms.createKey({
        ...kinds[step.kind],
        Tags: [{ TagKey: 'made', TagValue: step.tag }],
        Policy: policies[0],
      });
      return {
        keyId: present(KeyMetadata?.KeyId),
        ...(KeyMetadata?.CurrentKeyMaterialId === undefined ? {} : { materialId: KeyMetadata.CurrentKeyMaterialId }),
      };
    }
    case 'EnableKey':
      await kms.enableKey({ KeyId });
      return {};
    case 'DisableKey':
      await kms.disableKey({ KeyId });
      return {};
    case 'ScheduleKeyDeletion': {
      const { DeletionDate } = await kms.scheduleKeyDeletion({ KeyId, PendingWindowInDays: step.days });
      return { deletionDate: present(DeletionDate) };
    }
    case 'CancelKeyDeletion':
      await kms.cancelKeyDeletion({ KeyId });
      return {};
    case 'CreateAlias':
      await kms.createAlias({ AliasName: aliasName(life, step.alias), TargetKeyId: KeyId });
      return {};
    case 'UpdateAlias':
      await kms.updateAlias({ AliasName: aliasName(life, step.alias), TargetKeyId: KeyId });
      return {};
    case 'DeleteAlias':
      await kms.deleteAlias({ AliasName: aliasName(life, step.alias) });
      return {};
    case 'TagResource':
      await kms.tagResource({ KeyId, Tags: [{ TagKey: step.tag, TagValue: step.value }] });
      return {};
    case 'UntagResource':
      await kms.untagResource({ KeyId, TagKeys: [step.tag] });
      return {};
    case 'UpdateKeyDescription':
      await kms.updateKeyDescription({ KeyId, Description: step.description });
      return {};
    case 'PutKeyPolicy':
      await kms.putKeyPolicy({ KeyId, Policy: present(policies[step.policy]) });
      return {};
    case 'CreateGrant': {
      const terms: Omit<CreateGrantRequest, 'KeyId'> = {
        GranteePrincipal: nobodyArn,
        RetiringPrincipal: rootArn,
        Operations: step.mayEncrypt ? ['DescribeKey', 'Encrypt'] : ['DescribeKey'],
      };
      const name = step.name === '' ? {} : { Name: step.name };
      return { grantId: present((await kms.createGrant({ KeyId, ...terms, ...name })).GrantId) };
    }
    case 'RevokeGrant':
      await kms.revokeGrant({ KeyId, GrantId: grantIdOf(model, step) });
      return {};
    case 'RetireGrant':
      await kms.retireGrant({ KeyId, GrantId: grantIdOf(model, step) });
      return {};
    case 'EnableKeyRotation': {
      const period = step.days === null ? {} : { RotationPeriodInDays: step.days };
      await kms.enableKeyRotation({ KeyId, ...period });
      return { nextRotation: present((await kms.getKeyRotationStatus({ KeyId })).NextRotationDate) };
    }
    case 'DisableKeyRotation':
      await kms.disableKeyRotation({ KeyId });
      return {};
    case 'RotateKeyOnDemand':
      await kms.rotateKeyOnDemand({ KeyId });
      return { materialId: present((await kms.describeKey({ KeyId })).KeyMetadata?.CurrentKeyMaterialId) };
    case 'ImportKeyMaterial': {
      const { PublicKey, ImportToken } = await parametersOf(callers, KeyId);
      // In whole seconds, as it comes back.
      const ValidTo = new Date(Math.floor((callers.nowMs() + lifeOfMaterialMs) / 1000) * 1000);
      const EncryptedKeyMaterial = wrapped(
        { ...wrapping, publicKey: present(PublicKey) },
        Buffer.alloc(32, step.secret + 1),
      );
      const made = await kms.importKeyMaterial({
        ...{ KeyId, ImportToken, EncryptedKeyMaterial },
        ...(step.expires ? { ValidTo } : { ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' }),
        ...(step.type === null ? {} : { ImportType: step.type }),
      });
      const learned = step.expires ? { validTo: ValidTo } : {};
      return made.KeyMaterialId === undefined ? learned : { ...learned, materialId: made.KeyMaterialId };
    }
    case 'DeleteImportedKeyMaterial': {
      const doomed = step.material === null || key === undefined ? undefined : doomedOf(key, step.material)?.id;
      const named = doomed === undefined || doomed === '' ? {} : { KeyMaterialId: doomed };
      await kms.deleteImportedKeyMaterial({ KeyId, ...named });
      return {};
    }
    case 'Encrypt': {
      const used = model.keys[encryptingKey(model, step)]?.keyId ?? unknownKeyId;
      const input = {
        KeyId: step.alias < 0 ? used : aliasName(life, step.alias),
        Plaintext: text,
        ...contextOf(step.context),
      };
      if (step.as === 'root') return { blob: present((await kms.encrypt(input)).CiphertextBlob) };
      const reply = await callers.nobody.send('Encrypt', input);
      if (!reply.ok) throw new Refused(reply.name, reply.message);
      return { blob: reply.output['CiphertextBlob'] as Uint8Array }; // As the SDK types it.
    }
    case 'GenerateDataKey': {
      const made = await kms.generateDataKey({ KeyId, KeySpec: 'AES_256', ...contextOf(step.context) });
      return { blob: present(made.CiphertextBlob), plaintext: present(made.Plaintext) };
    }
    case 'GenerateDataKeyWithoutPlaintext': {
      const made = await kms.generateDataKeyWithoutPlaintext({ KeyId, NumberOfBytes: 32, ...contextOf(step.context) });
      return { blob: present(made.CiphertextBlob) };
    }
    case 'Decrypt': {
      const made = present(madeOf(model, 'ciphertext', step.made));
      const named = step.key === null ? {} : { KeyId };
      const context = step.isRight ? made.context : made.context + 1;
      const { Plaintext } = await kms.decrypt({ CiphertextBlob: made.blob, ...named, ...contextOf(context) });
      assertSame(made, present(Plaintext));
      return {};
    }
    case 'ReEncrypt': {
      const made = present(madeOf(model, 'ciphertext', step.made));
      const { EncryptionContext: SourceEncryptionContext } = contextOf(made.context);
      const { EncryptionContext: DestinationEncryptionContext } = contextOf(step.context);
      const again = await kms.reEncrypt({
        CiphertextBlob: made.blob,
        SourceEncryptionContext,
        DestinationKeyId: KeyId,
        DestinationEncryptionContext,
      });
      return { blob: present(again.CiphertextBlob) };
    }
    case 'Sign':
      return { blob: present((await kms.sign({ KeyId, ...signing })).Signature) };
    case 'GenerateMac':
      return { blob: present((await kms.generateMac({ KeyId, ...authenticating })).Mac) };
    case 'Verify': {
      const { key: by, blob: Signature } = present(madeOf(model, 'signature', step.made));
      const Message = step.isRight ? text : Buffer.from('another message');
      await kms.verify({ ...signing, KeyId: present(model.keys[by]).keyId, Signature, Message });
      return {};
    }
    case 'VerifyMac': {
      const { key: by, blob: Mac } = present(madeOf(model, 'mac', step.made));
      const Message = step.isRight ? text : Buffer.from('another message');
      await kms.verifyMac({ ...authenticating, KeyId: present(model.keys[by]).keyId, Mac, Message });
      return {};
    }
    default:
      return step satisfies never;
  }
}

function grantIdOf(model: Model, { key: number, grant }: { readonly key: number; readonly grant: number }): string {
  const key = keyOf(model, number);
  // An id of the right form that no grant has.
  return (key === undefined ? undefined : grantOf(key, grant)?.id) ?? 'f'.repeat(64);
}

/** Another plaintext than was encrypted is no refusal: nothing could be worse. */
export function assertSame({ plaintext }: Pick<Made, 'plaintext'>, opened: Uint8Array): void {
  const isSame = plaintext === null ? opened.length === 32 : Buffer.from(plaintext).equals(opened);
  if (!isSame) throw new TypeError('a ciphertext decrypts to what was not encrypted');
}
