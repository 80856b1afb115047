/**
 * What AWS KMS answers to an operation on a key in each key state: one table, from which the pipeline answers and the
 * reviewed lists of the tests are drawn.
 *
 * Operations that AWS answers alike are a group; an operation names its group in its need of the key. The comment at each
 * group has all operations of AWS KMS that belong there, built or not; `test/vectors/kms-developer-guide/key-states.txt` has
 * them one by one, and a test holds this table to it. What is neither state nor origin of a key (its KeyUsage, its KeySpec,
 * whether it has replicas) is not known here.
 *
 * Source: AWS KMS developer guide, "Key states of AWS KMS keys", table and notes, and of operations that this page lacks the
 * errors in the API reference. Where the page leaves it open whether the use of a key that is pending deletion is refused
 * with DisabledException or with KMSInvalidStateException, it is the latter.
 */

import { KmsError, type KmsErrorName } from './errors.ts';

export const keyStates = [
  'Creating',
  'Enabled',
  'Disabled',
  'PendingDeletion',
  'PendingImport',
  'PendingReplicaDeletion',
  'Unavailable',
  'Updating',
] as const;
export type KeyState = (typeof keyStates)[number];

export const keyOrigins = ['AWS_KMS', 'EXTERNAL', 'AWS_CLOUDHSM', 'EXTERNAL_KEY_STORE'] as const;
export type KeyOrigin = (typeof keyOrigins)[number];

/** What of a key decides the answer. */
export interface KeyInState {
  readonly arn: string;
  readonly state: KeyState;
  readonly origin: KeyOrigin;
}

interface Refusal {
  readonly name: KmsErrorName;
  readonly text: (key: KeyInState) => string;
}

const because = (words: string, name: KmsErrorName = 'KMSInvalidStateException'): Refusal => ({
  name,
  text: ({ arn }) => `${arn} is ${words}.`,
});

const fine = 'fine';
const disabled = because('disabled', 'DisabledException');
const pendingDeletion = because('pending deletion');
const pendingReplicaDeletion = because('pending replica deletion');
const notPendingDeletion = because('not pending deletion');
const pendingImport = because('pending import');
const unavailable = because('unavailable');
const creating = because('creating');
const updating = because('updating');
const wrongOrigin: Refusal = {
  name: 'UnsupportedOperationException',
  text: ({ arn, origin }) => `${arn} origin is ${origin} which is not valid for this operation.`,
};

type Row = Readonly<Record<KeyState, typeof fine | Refusal>> & {
  /** The origins that the operation is for, where it is not for every key. */
  readonly origins?: readonly KeyOrigin[];
};

const inEveryState = {
  Enabled: fine,
  Disabled: fine,
  PendingDeletion: fine,
  PendingReplicaDeletion: fine,
  PendingImport: fine,
  Unavailable: fine,
  Creating: fine,
  Updating: fine,
} as const satisfies Row;

const rows = {
  /**
   * DescribeKey, GetKeyPolicy, ListKeyPolicies, ListAliases, ListGrants, ListResourceTags, GetKeyRotationStatus,
   * ListKeyRotations, GetKeyLastUsage.
   *
   * The page refuses GetKeyRotationStatus of keys that are imported or in a custom key store. Here it is answered, as it is
   * for pairs: programs ask it of every key, and such a key's answer is `false`.
   */
  reading: inEveryState,

  /** What an owner can do to any key: PutKeyPolicy, RevokeGrant, RetireGrant, DeleteAlias, UpdateAlias to the key that it takes the alias from. */
  control: inEveryState,

  /** CreateAlias, UpdateAlias to the key that it gives the alias to, UpdateKeyDescription, TagResource, UntagResource. */
  administration: {
    Enabled: fine,
    Disabled: fine,
    PendingDeletion: pendingDeletion,
    PendingReplicaDeletion: pendingReplicaDeletion,
    PendingImport: fine,
    Unavailable: fine,
    Creating: fine,
    Updating: fine,
  },

  /** EnableKey, DisableKey. Of a key that is unavailable the state shows only when it is available again. */
  enabling: {
    Enabled: fine,
    Disabled: fine,
    PendingDeletion: pendingDeletion,
    PendingReplicaDeletion: pendingReplicaDeletion,
    PendingImport: pendingImport,
    Unavailable: fine,
    Creating: creating,
    Updating: updating,
  },

  /**
   * Encrypt, Decrypt, ReEncrypt (both keys), GenerateDataKey, GenerateDataKeyWithoutPlaintext, GenerateDataKeyPair,
   * GenerateDataKeyPairWithoutPlaintext, Sign, Verify, GenerateMac, VerifyMac, DeriveSharedSecret, Encapsulate, Decapsulate,
   * GetPublicKey; and UpdatePrimaryRegion, which is no use but is answered like one.
   */
  use: {
    Enabled: fine,
    Disabled: disabled,
    PendingDeletion: pendingDeletion,
    PendingReplicaDeletion: pendingReplicaDeletion,
    PendingImport: pendingImport,
    Unavailable: unavailable,
    Creating: creating,
    Updating: fine,
  },

  /** CreateGrant. */
  granting: {
    Enabled: fine,
    Disabled: disabled,
    PendingDeletion: pendingDeletion,
    PendingReplicaDeletion: pendingReplicaDeletion,
    PendingImport: pendingImport,
    Unavailable: fine,
    Creating: creating,
    Updating: fine,
  },

  /** ReplicateKey. The page has no answer for a key that is unavailable, as no multi-Region key is in a custom key store. */
  replication: {
    Enabled: fine,
    Disabled: disabled,
    PendingDeletion: pendingDeletion,
    PendingReplicaDeletion: pendingReplicaDeletion,
    PendingImport: pendingImport,
    Unavailable: unavailable,
    Creating: creating,
    Updating: updating,
  },

  /** EnableKeyRotation, DisableKeyRotation. */
  automaticRotation: {
    origins: ['AWS_KMS'],
    Enabled: fine,
    Disabled: disabled,
    PendingDeletion: pendingDeletion,
    PendingReplicaDeletion: pendingReplicaDeletion,
    PendingImport: wrongOrigin,
    Unavailable: wrongOrigin,
    Creating: creating,
    Updating: fine,
  },

  /** RotateKeyOnDemand, which the page lacks: as automatic rotation, but imported keys can do it too. */
  rotationOnDemand: {
    origins: ['AWS_KMS', 'EXTERNAL'],
    Enabled: fine,
    Disabled: disabled,
    PendingDeletion: pendingDeletion,
    PendingReplicaDeletion: pendingReplicaDeletion,
    PendingImport: pendingImport,
    Unavailable: wrongOrigin,
    Creating: creating,
    Updating: fine,
  },

  /** GetParametersForImport. */
  importPreparation: {
    origins: ['EXTERNAL'],
    Enabled: fine,
    Disabled: fine,
    PendingDeletion: pendingDeletion,
    PendingReplicaDeletion: pendingReplicaDeletion,
    PendingImport: fine,
    Unavailable: wrongOrigin,
    Creating: creating,
    Updating: updating,
  },

  /** ImportKeyMaterial. */
  import: {
    origins: ['EXTERNAL'],
    Enabled: fine,
    Disabled: fine,
    PendingDeletion: pendingDeletion,
    PendingReplicaDeletion: pendingReplicaDeletion,
    PendingImport: fine,
    Unavailable: wrongOrigin,
    Creating: creating,
    Updating: fine,
  },

  /** DeleteImportedKeyMaterial, which has no effect while there is none. */
  importRemoval: {
    origins: ['EXTERNAL'],
    Enabled: fine,
    Disabled: fine,
    PendingDeletion: fine,
    PendingReplicaDeletion: fine,
    PendingImport: fine,
    Unavailable: wrongOrigin,
    Creating: creating,
    Updating: updating,
  },

  /** ScheduleKeyDeletion. */
  deletion: {
    Enabled: fine,
    Disabled: fine,
    PendingDeletion: pendingDeletion,
    PendingReplicaDeletion: pendingReplicaDeletion,
    PendingImport: fine,
    Unavailable: fine,
    Creating: fine,
    Updating: updating,
  },

  /** CancelKeyDeletion. A key that is pending deletion stays so while its key store is away. */
  deletionCancelling: {
    Enabled: notPendingDeletion,
    Disabled: notPendingDeletion,
    PendingDeletion: fine,
    PendingReplicaDeletion: fine,
    PendingImport: notPendingDeletion,
    Unavailable: notPendingDeletion,
    Creating: notPendingDeletion,
    Updating: notPendingDeletion,
  },
} as const satisfies Record<string, Row>;

/** The operations that AWS answers alike, whatever the state of the key. */
export type StateGroup = keyof typeof rows;

// Safe: the object above has exactly these keys.
export const stateGroups = Object.keys(rows) as readonly StateGroup[];

/**
 * What AWS answers instead of performing an operation of this group on this key; `undefined`: state and origin do not stand
 * in its way.
 *
 * An origin that the operation is not for is said before the key's state, except to a key that is only passing through its
 * state: the page has the two alternatives ("[1] or [7]") wherever it has a state that lasts, and the state alone elsewhere.
 */
export function stateRefusal(group: StateGroup, key: KeyInState): KmsError | undefined {
  const row: Row = rows[group];
  const answer = row[key.state];
  const isPassing = answer === creating || answer === updating;
  const refusal = row.origins?.includes(key.origin) === false && !isPassing ? wrongOrigin : answer;
  return refusal === fine ? undefined : new KmsError(refusal.name, refusal.text(key));
}
