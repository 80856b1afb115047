/**
 * What AWS KMS documents of the life of keys, as a small state machine: what a request is answered, and what is different
 * afterwards. Pure, and written from the documentation alone; it shares nothing with the sources that it judges.
 *
 * What only the daemon can know (ids, dates, ciphertexts) the model learns from its answers and holds it to that from then on.
 *
 * Source: AWS KMS developer guide, "Key states of AWS KMS keys"; the doc comments of `@aws-sdk/client-kms`.
 */

import { type Kind, kinds, noKey, type Step } from './life-steps.ts';

export interface Grant {
  readonly id: string;
  readonly name: string;
  readonly mayEncrypt: boolean;
}

export interface Material {
  readonly id: string;
  /** How it became current; `null` of the first, and of what waits for it. */
  readonly rotation: 'ON_DEMAND' | null;
  /** Imported and waits for RotateKeyOnDemand; only the last can. */
  readonly isPending: boolean;
  /** `false` of imported material that was deleted. */
  readonly isThere: boolean;
  /** Which of those that lives import. */
  readonly secret: number | null;
  readonly expires: Date | null;
}

export interface ModelKey {
  readonly keyId: string;
  readonly kind: Kind;
  /** The operation that used it last, `none`, or `null` where nobody knows which. */
  readonly lastUse: string | null;
  /** Its waiting period is over: nothing of it is left. */
  readonly isGone: boolean;
  /** What EnableKey and DisableKey set. */
  readonly isEnabled: boolean;
  /** `null` unless it is pending deletion. */
  readonly deletionDate: Date | null;
  readonly description: string;
  /** Names and values; they are listed by name. */
  readonly tags: readonly (readonly [string, string])[];
  readonly policy: number;
  readonly grants: readonly Grant[];
  /** How often it is rotated by itself, and when next; `null` if it is not. */
  readonly rotation: { readonly days: number; readonly next: Date } | null;
  /** All material that it ever had, in order. That of pairs and HMAC keys has no id. */
  readonly materials: readonly Material[];
}

/** What a key made, of which the key decides for ever whether it is its own. */
export interface Made {
  readonly as: 'ciphertext' | 'signature' | 'mac';
  readonly blob: Uint8Array;
  readonly key: number;
  /** The id of the material; empty for pairs and HMAC keys. */
  readonly material: string;
  readonly context: number;
  /** What it decrypts to; `null`: 32 bytes that nobody knows. */
  readonly plaintext: Uint8Array | null;
}

export interface Model {
  readonly keys: readonly ModelKey[];
  /** The number of the key that each alias stands for. */
  readonly aliases: ReadonlyMap<number, number>;
  readonly made: readonly Made[];
}

export const nothing: Model = { keys: [], aliases: new Map(), made: [] };

/** What an answer told. */
export interface Learned {
  readonly keyId?: string;
  readonly materialId?: string;
  readonly deletionDate?: Date;
  readonly validTo?: Date;
  readonly nextRotation?: Date;
  readonly grantId?: string;
  readonly blob?: Uint8Array;
  readonly plaintext?: Uint8Array;
}

/** `fine`, or the name of the error. `nothing to do`: the step is about something that this life has not had yet. */
export type Answer = 'fine' | 'nothing to do' | `${string}Exception`;

export type KeyState = 'Enabled' | 'Disabled' | 'PendingDeletion' | 'PendingImport';

export function stateOf(key: ModelKey): KeyState {
  const { deletionDate, isEnabled } = key;
  if (deletionDate !== null) return 'PendingDeletion';
  if (lacksMaterial(key)) return 'PendingImport';
  return isEnabled ? 'Enabled' : 'Disabled';
}

/** Is material missing without which the key cannot be? That is all but what waits for a rotation. */
export function lacksMaterial({ materials }: ModelKey): boolean {
  return materials.length === 0 || materials.some(({ isPending, isThere }) => !isPending && !isThere);
}

export function currentOf({ materials }: ModelKey): Material | undefined {
  return materials.findLast(({ isPending }) => !isPending);
}

export function pendingOf({ materials }: ModelKey): Material | undefined {
  return materials.find(({ isPending }) => isPending);
}

/** The material that a DeleteImportedKeyMaterial means. */
export function doomedOf(key: ModelKey, material: number | null): Material | undefined {
  return material === null ? currentOf(key) : key.materials[material % key.materials.length];
}

export function isExternal({ kind }: ModelKey): boolean {
  return kinds[kind].Origin === 'EXTERNAL';
}

/** The number of the key that a step means; `noKey` if none. */
export function keyNumber({ keys }: Model, number: number): number {
  return number === noKey || keys.length === 0 ? noKey : number % keys.length;
}

export function keyOf(model: Model, number: number): ModelKey | undefined {
  return keyAt(model, keyNumber(model, number));
}

/** @param at Its place in the model. */
export function keyAt({ keys }: Model, at: number): ModelKey | undefined {
  const key = keys[at];
  return key?.isGone === true ? undefined : key;
}

export function madeOf({ made }: Model, as: Made['as'], number: number): Made | undefined {
  const all = made.filter((each) => each.as === as);
  return all[number % all.length];
}

/** The grant of a key that a step means, of those that it has. */
export function grantOf({ grants }: ModelKey, number: number): Grant | undefined {
  return grants[number % grants.length];
}

/** The key that an Encrypt is about: its alias's, where it names one. */
export function encryptingKey(model: Model, { key, alias }: Extract<Step, { do: 'Encrypt' }>): number {
  return alias < 0 ? keyNumber(model, key) : (model.aliases.get(alias) ?? noKey);
}

const fine = 'fine';
const notFound = 'NotFoundException';
const invalidState = 'KMSInvalidStateException';

/** The groups of operations that AWS answers alike, by what it answers in each state. */
const inState = {
  anyState: { Enabled: fine, Disabled: fine, PendingDeletion: fine, PendingImport: fine },
  administration: { Enabled: fine, Disabled: fine, PendingDeletion: invalidState, PendingImport: fine },
  enabling: { Enabled: fine, Disabled: fine, PendingDeletion: invalidState, PendingImport: invalidState },
  use: { Enabled: fine, Disabled: 'DisabledException', PendingDeletion: invalidState, PendingImport: invalidState },
  cancelling: { Enabled: invalidState, Disabled: invalidState, PendingDeletion: fine, PendingImport: invalidState },
} as const satisfies Record<string, Record<KeyState, Answer>>;

function answerIn(group: keyof typeof inState, key: ModelKey | undefined): Answer {
  return key === undefined ? notFound : inState[group][stateOf(key)];
}

/** The first that is not fine. */
const firstOf = (...answers: readonly Answer[]): Answer => answers.find((answer) => answer !== fine) ?? fine;
const unless = (holds: boolean, refusal: Answer): Answer => (holds ? fine : refusal);

function useOf(key: ModelKey | undefined, usage: (typeof kinds)[Kind]['KeyUsage']): Answer {
  if (key === undefined) return notFound;
  return firstOf(answerIn('use', key), unless(kinds[key.kind].KeyUsage === usage, 'InvalidKeyUsageException'));
}

const maxOnDemandRotations = 25;

function rotationOf(key: ModelKey | undefined): Answer {
  const canRotate = key !== undefined && kinds[key.kind].KeySpec === 'SYMMETRIC_DEFAULT';
  return firstOf(answerIn('use', key), unless(canRotate, 'UnsupportedOperationException'));
}

/** Imported material is not rotated by itself, whatever its key's state. */
function automaticRotationOf(key: ModelKey | undefined): Answer {
  return key !== undefined && isExternal(key) ? 'UnsupportedOperationException' : rotationOf(key);
}

function importOf(key: ModelKey | undefined, { type, secret }: Extract<Step, { do: 'ImportKeyMaterial' }>): Answer {
  if (key === undefined) return notFound;
  if (!isExternal(key)) return 'UnsupportedOperationException';
  const isKnown = key.materials.some((material) => material.secret === secret);
  const meant = type ?? (key.materials.length === 0 ? 'NEW_KEY_MATERIAL' : 'EXISTING_KEY_MATERIAL');
  return firstOf(
    answerIn('administration', key),
    unless(type === null || key.kind === 'imported', 'UnsupportedOperationException'),
    unless((meant === 'EXISTING_KEY_MATERIAL') === isKnown, 'IncorrectKeyMaterialException'),
    unless(isKnown || pendingOf(key) === undefined, invalidState),
  );
}

/** What the request is answered. */
export function answerOf(model: Model, step: Step): Answer {
  const key = 'key' in step && step.key !== null ? keyOf(model, step.key) : undefined;
  switch (step.do) {
    case 'CreateKey':
      return fine;
    case 'EnableKey':
    case 'DisableKey':
      return answerIn('enabling', key);
    case 'ImportKeyMaterial':
      return importOf(key, step);
    case 'DeleteImportedKeyMaterial':
      if (key !== undefined && !isExternal(key)) return 'UnsupportedOperationException';
      if (key !== undefined && step.material !== null && doomedOf(key, step.material) === undefined)
        return 'nothing to do';
      return answerIn('anyState', key);
    case 'TagResource':
    case 'UntagResource':
    case 'UpdateKeyDescription':
      return answerIn('administration', key);
    case 'PutKeyPolicy':
      return answerIn('anyState', key);
    case 'ScheduleKeyDeletion':
      return firstOf(answerIn('administration', key), unless(step.days >= 7 && step.days <= 30, 'ValidationException'));
    case 'CancelKeyDeletion':
      return answerIn('cancelling', key);
    case 'CreateAlias':
      return firstOf(answerIn('administration', key), unless(!model.aliases.has(step.alias), 'AlreadyExistsException'));
    case 'UpdateAlias': {
      const current = keyAt(model, model.aliases.get(step.alias) ?? noKey);
      if (current === undefined) return notFound;
      return firstOf(
        answerIn('administration', key),
        unless(key !== undefined && kinds[current.kind].KeySpec === kinds[key.kind].KeySpec, 'ValidationException'),
      );
    }
    case 'DeleteAlias':
      return unless(model.aliases.has(step.alias), notFound);
    case 'CreateGrant':
      // Encrypt is an operation of some kinds of keys only.
      return firstOf(
        answerIn('use', key),
        unless(
          !step.mayEncrypt || (key !== undefined && kinds[key.kind].KeyUsage === 'ENCRYPT_DECRYPT'),
          'ValidationException',
        ),
      );
    case 'RevokeGrant':
    case 'RetireGrant':
      if (key !== undefined && grantOf(key, step.grant) === undefined) return 'nothing to do';
      return answerIn('anyState', key);
    case 'EnableKeyRotation':
      if (step.days !== null && step.days < 90) return 'ValidationException';
      return automaticRotationOf(key);
    case 'DisableKeyRotation':
      return automaticRotationOf(key);
    case 'RotateKeyOnDemand': {
      const rotations = key?.materials.filter(({ rotation }) => rotation === 'ON_DEMAND') ?? [];
      const hasNext = key === undefined || !isExternal(key) || pendingOf(key) !== undefined;
      return firstOf(
        rotationOf(key),
        unless(rotations.length < maxOnDemandRotations, 'LimitExceededException'),
        unless(hasNext, invalidState),
      );
    }
    case 'Encrypt': {
      const used = keyAt(model, encryptingKey(model, step));
      if (used === undefined) return notFound;
      return firstOf(
        unless(step.as === 'root' || mayNobodyEncrypt(used), 'AccessDeniedException'),
        useOf(used, 'ENCRYPT_DECRYPT'),
      );
    }
    case 'GenerateDataKey':
    case 'GenerateDataKeyWithoutPlaintext':
      return useOf(key, 'ENCRYPT_DECRYPT');
    case 'Sign':
      return useOf(key, 'SIGN_VERIFY');
    case 'GenerateMac':
      return useOf(key, 'GENERATE_VERIFY_MAC');
    case 'Decrypt': {
      const made = madeOf(model, 'ciphertext', step.made);
      if (made === undefined) return 'nothing to do';
      if (step.key !== null && key === undefined) return notFound;
      if (keyAt(model, made.key) === undefined) {
        const isForIt = key === undefined || kinds[key.kind].KeyUsage === 'ENCRYPT_DECRYPT';
        return isForIt ? answerOfMade(model, made) : useOf(key, 'ENCRYPT_DECRYPT');
      }
      if (step.key !== null && keyNumber(model, step.key) !== made.key) {
        // Whatever the key that was named, the ciphertext is another one's.
        return 'IncorrectKeyException';
      }
      return firstOf(answerOfMade(model, made), unless(step.isRight, 'InvalidCiphertextException'));
    }
    case 'ReEncrypt': {
      const made = madeOf(model, 'ciphertext', step.made);
      if (made === undefined) return 'nothing to do';
      if (keyAt(model, made.key) === undefined) return answerOfMade(model, made);
      if (key === undefined) return notFound;
      return firstOf(answerOfMade(model, made), useOf(key, 'ENCRYPT_DECRYPT'));
    }
    case 'Verify':
    case 'VerifyMac': {
      const made = madeOf(model, step.do === 'Verify' ? 'signature' : 'mac', step.made);
      if (made === undefined) return 'nothing to do';
      const wrong = step.do === 'Verify' ? 'KMSInvalidSignatureException' : 'KMSInvalidMacException';
      return firstOf(answerOfMade(model, made), unless(step.isRight, wrong));
    }
    default:
      return step satisfies never;
  }
}

/** What Decrypt, Verify or VerifyMac answers of what a key made. */
export function answerOfMade(model: Model, { key, as }: Made): Answer {
  const by = keyAt(model, key);
  // A ciphertext that names no key which is here is as good as none.
  return by === undefined && as === 'ciphertext' ? 'InvalidCiphertextException' : answerIn('use', by);
}

/** Policies 1 and 2 allow it and deny it; a grant does what the policy leaves open. */
function mayNobodyEncrypt({ policy, grants }: ModelKey): boolean {
  if (policy === 2) return false;
  return policy === 1 || grants.some(({ mayEncrypt }) => mayEncrypt);
}
