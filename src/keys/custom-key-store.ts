/**
 * Key stores beside the default one, as keys and operations see them: those that the configuration names, and custom key stores
 * (`CreateCustomKeyStore`). Any of them may be away while the others serve, and its keys are `Unavailable` for as long.
 *
 * A key in one of them has `Origin` `AWS_CLOUDHSM`, which no key of the default store has.
 *
 * Source: AWS KMS developer guide, "Key states of AWS KMS keys", "Unavailable".
 */

import type { KeyStore } from '../hsm/key-store.ts';
import type { LoginGate } from '../hsm/login-gate.ts';
import type { ConnectionEvents } from '../hsm/pipe-key-store.ts';
import type { ConnectionProof } from '../hsm/token-connection.ts';
import type { ConnectionErrorCode, ConnectionState } from '../kms/connection-states.ts';
import type { Pin, Plaintext } from '../secrets/secret-bytes.ts';
import type { CustomKeyStoreRecord } from '../store/records/records.ts';
import type { KmsKey } from './kms-key.ts';
import { SortedNames } from './lists/sorted-names.ts';
import { NamesInTurn } from './names-in-turn.ts';

export interface CustomKeyStore {
  /** AWS's id of it (`cks-…`), or its name in the configuration. The records of its material name it so. */
  readonly customKeyStoreId: string;
  /** Of its HSM. */
  readonly cloudHsmClusterId: string;
  /** Which keys can be made in it: `symmetric`, those that AWS has in a custom key store. */
  readonly keySpecs: 'symmetric' | 'all';
  /** May keys be made in it now? */
  readonly isConnected: boolean;
  /** Are its keys unavailable? */
  readonly isAway: boolean;
}

/** One that the configuration names, where its name is its id. The daemon connects it by itself. */
export interface ConfiguredKeyStore extends CustomKeyStore {
  /** Nobody created it: since when there is this instance, as far as that is on record. */
  readonly createdAtMs: number;
  readonly connection: {
    readonly state: ConnectionState;
    /** Of `FAILED`. */
    readonly errorCode?: ConnectionErrorCode;
  };
}

/** An HSM of the configuration, as custom key stores know it. */
export interface AttachableHsm {
  /** The name in the configuration. */
  readonly name: string;
  /**
   * Of the certificate that the configuration says: the SHA-256 of its DER. `undefined` for an HSM that has a PIN of its own, and so is
   * none of a custom key store.
   */
  readonly trustAnchor: string | undefined;
  /** Why no one can log in to its token: it is not there, or has no user PIN. `null`: one could. Nothing logs in for that. */
  problem(): Promise<string | null>;
  /**
   * As `beginKeyStore`.
   * @param pin Read anew for each host.
   * @param admit Is asked over each connection before it serves.
   * @param gate Through which each of its logins goes.
   * @throws an error for operators when the configuration names what is not there.
   */
  open(
    pin: () => Promise<Pin>,
    isWaitedFor: () => boolean,
    events: ConnectionEvents,
    admit: ConnectionProof,
    gate: LoginGate,
  ): { readonly keyStore: KeyStore; readonly connected: Promise<void> };
}

/** Keeps the passwords of custom key stores encrypted, in the HSM of the service keys. */
export interface PasswordVault {
  /** The password can only be had back for the same custom key store. */
  seal(password: Plaintext, customKeyStoreId: string): Promise<Buffer>;
  unseal(record: SealedPassword): Promise<Pin>;
  /** Is it the one that was sealed? */
  isSame(password: Plaintext, record: SealedPassword): Promise<boolean>;
}

type SealedPassword = Pick<CustomKeyStoreRecord, 'customKeyStoreId' | 'sealedPassword'>;

/** Which passwords were presented to an HSM, and not taken as far as is known: on the disk, whatever becomes of the process. */
export interface PresentedPasswords {
  has(record: Pick<CustomKeyStoreRecord, 'sealedPassword'>): Promise<boolean>;
  /** Resolves when it is on the disk. */
  add(record: Pick<CustomKeyStoreRecord, 'sealedPassword'>): Promise<void>;
  remove(record: Pick<CustomKeyStoreRecord, 'sealedPassword'>): Promise<void>;
}

/** The key stores of a Region beside its default one. */
export interface CustomKeyStoreSource {
  /** Those that the configuration names, by name. */
  readonly configured: ReadonlyMap<string, ConfiguredKeyStore>;
  /** Of these and of those that CreateCustomKeyStore made, in order. */
  readonly allIds: Pick<SortedNames<string>, 'page'>;
  /** Also one that the configuration names. */
  find(customKeyStoreId: string): CustomKeyStore | undefined;
  /** What stands for the HSM of one that CreateCustomKeyStore made, connected or not. */
  keyStore(customKeyStoreId: string): KeyStore | undefined;
  /** Of those that CreateCustomKeyStore made, in order. */
  readonly ids: Pick<SortedNames<string>, 'page' | 'size'>;
  record(customKeyStoreId: string): CustomKeyStoreRecord | undefined;
  recordNamed(name: string): CustomKeyStoreRecord | undefined;
  /** The first whose HSM is meant, in whatever Region. */
  recordOfHsm(isMeant: (cloudHsmClusterId: string) => boolean): CustomKeyStoreRecord | undefined;
  connectionState(customKeyStoreId: string): ConnectionState;
  hsm(cloudHsmClusterId: string): AttachableHsm | undefined;
  /** Of its certificate, as `AttachableHsm` has it. */
  trustAnchorOf(record: Pick<CustomKeyStoreRecord, 'trustAnchorCertificate'>): string | undefined;
  seal(password: Plaintext, customKeyStoreId: string): Promise<Buffer>;
  /** Is it the one that the custom key store has? */
  isPasswordOf(record: CustomKeyStoreRecord, password: Plaintext): Promise<boolean>;
  /** By the names of those that are being made: a request that is repeated meanwhile finds what the first one made. */
  readonly creations: NamesInTurn;
  /** Does somebody who would create one give it the password that this one has? Wrong ones are counted (`GuessedPasswords`). */
  isRepeated(record: CustomKeyStoreRecord, password: Plaintext): Promise<boolean>;
  /** Resolves when the hosts of a connection that was ended are gone. */
  closed(customKeyStoreId: string): Promise<void>;
}

export const noCustomKeyStores: CustomKeyStoreSource = {
  configured: new Map(),
  allIds: new SortedNames<string>(),
  creations: new NamesInTurn(),
  find: () => undefined,
  keyStore: () => undefined,
  ids: new SortedNames<string>(),
  record: () => undefined,
  recordNamed: () => undefined,
  recordOfHsm: () => undefined,
  connectionState: () => 'DISCONNECTED',
  hsm: () => undefined,
  trustAnchorOf: () => undefined,
  seal: () => Promise.reject(new TypeError('there are no custom key stores')),
  isPasswordOf: () => Promise.reject(new TypeError('there are no custom key stores')),
  isRepeated: () => Promise.resolve(false),
  closed: () => Promise.resolve(),
};

/** The name of the custom key store that the key is in; `undefined` for one in the default key store. */
export function customKeyStoreIdOf({ record, materials }: Pick<KmsKey, 'record' | 'materials'>): string | undefined {
  return record.origin === 'AWS_CLOUDHSM' ? materials[0]?.keyStore : undefined;
}

/**
 * Does it make data key pairs, if it is of the kind that does? A key in a custom key store does not, as in AWS, unless that takes keys of all kinds.
 *
 * Source: AWS KMS API reference, `GenerateDataKeyPair`.
 */
export function makesDataKeyPairs(
  key: Pick<KmsKey, 'record' | 'materials'>,
  stores: Pick<CustomKeyStoreSource, 'find'>,
): boolean {
  const id = customKeyStoreIdOf(key);
  return id === undefined || stores.find(id)?.keySpecs === 'all';
}

/**
 * What events of the beginning and the end of a key's deletion say of its custom key store, and of what is in it; of other keys nothing.
 *
 * Source: AWS KMS developer guide, log entries of ScheduleKeyDeletion and DeleteKey. Backing keys are told as JSON in a string there; the
 * handle beside the id is left out, because a token gives another one at each connection.
 */
export function customKeyStoreOnRecord(
  key: Pick<KmsKey, 'record' | 'materials'>,
  stores: Pick<CustomKeyStoreSource, 'find'>,
): Readonly<Record<string, string>> | undefined {
  const customKeyStoreId = customKeyStoreIdOf(key);
  if (customKeyStoreId === undefined) return undefined;
  const clusterId = stores.find(customKeyStoreId)?.cloudHsmClusterId;
  const backingKeys = JSON.stringify(key.materials.map(({ backingKeyId }) => ({ backingKeyId })));
  return { customKeyStoreId, ...(clusterId === undefined ? {} : { clusterId }), backingKeys };
}
