/**
 * Access keys and short-lived credentials of this daemon: the store, the HSM and the mapping put under `identity/`.
 *
 * A secret access key is encrypted by AES-256-GCM in the HSM under the service key `access-key-encryption`, bound to its
 * access key id and principal:
 *
 *     sealed secret = 12 bytes IV ‖ ciphertext ‖ 16 bytes tag
 *     AAD           = "drawbridge/access-key/1" 00 access key id 00 principal
 *
 * The two service keys are made when a data folder is first opened by a version that has them, and named in the store.
 * One that the store names and the HSM lacks is an error, as for every key: secrets that it encrypted are lost. One that
 * the store no longer names (somebody removed the row) is made anew, which revokes what it was for and gives nobody
 * anything.
 */

import type { KeyStore } from '../hsm/key-store.ts';
import type { CredentialSource } from '../http/identity-routes.ts';
import { type AccessKey, AccessKeys, type AccessKeyVault } from '../identity/access-keys.ts';
import type { UnixPeer } from '../identity/caller.ts';
import { RoleSessions, type RolesInForce } from '../identity/role-sessions.ts';
import { SessionCredentials } from '../identity/session-credentials.ts';
import type { FindSigningKey } from '../identity/signing-key.ts';
import { findUnixCaller, namesOf, type UnixMapping, unixUserCalled } from '../identity/unix-caller.ts';
import { userDatabaseState } from '../identity/unix-names.ts';
import { assertServiceKey, createServiceKey } from '../keys/life/service-keys.ts';
import { KmsError } from '../kms/errors.ts';
import type { Account, BackingKeyId, PrincipalArn } from '../kms/names.ts';
import { Plaintext, Secret } from '../secrets/secret-bytes.ts';
import { secretMemory } from '../secrets/secret-memory.ts';
import { added, type Change, removed } from '../store/records/changes.ts';
import type { ServiceKeyPurpose, SqliteStore } from '../store/sqlite-store.ts';
import type { Announcer, Turns } from '../store/turns.ts';

export interface CredentialsOptions extends Account {
  readonly store: SqliteStore;
  readonly turns: Turns;
  /** The one that holds the service keys. */
  readonly keyStore: KeyStore;
  /** What the store has loaded. */
  readonly accessKeys: readonly AccessKey[];
  readonly mapping: UnixMapping;
  /** Those that can be assumed now. */
  readonly roles: () => RolesInForce;
  /** Asked first: dev mode's key, which is nowhere but in memory. */
  readonly findFixedKey?: FindSigningKey | undefined;
}

export interface Credentials {
  readonly source: CredentialSource;
  readonly roleSessions: RoleSessions;
  readonly findKey: FindSigningKey;
}

/** @throws KeyStoreError, StoreError, for operators. */
export async function openCredentials(options: CredentialsOptions): Promise<Credentials> {
  const { store, turns, keyStore, mapping, findFixedKey } = options;
  const encryptionKey = await serviceKey(store, keyStore, 'access-key-encryption');
  const derivationKey = await serviceKey(store, keyStore, 'session-credentials');
  const accessKeys = new AccessKeys(
    options,
    vault(turns, keyStore, encryptionKey),
    options.accessKeys,
    namesOf(mapping),
  );
  turns.follow({ apply: (changes) => follow(accessKeys, changes) });
  const deriveKey = (data: Buffer) => keyStore.mac({ backingKeyId: derivationKey, algorithm: 'HMAC_SHA_256', data });
  const temporary = {
    deriveKey,
    callerOf: (peer: UnixPeer) => findUnixCaller(peer, mapping),
    // Both only ever grow, so their sum is another one when either is.
    standing: () => userDatabaseState() + namesOf(mapping).changeCount,
    clock: Date.now,
  };
  const sessions = new SessionCredentials(temporary);
  const roleSessions = new RoleSessions({
    ...temporary,
    account: options.account,
    principalOfAccessKey: (accessKeyId) => accessKeys.principalOf(accessKeyId),
    roles: options.roles,
  });
  return {
    roleSessions,
    findKey(accessKeyId, sessionToken) {
      // What is a token of one kind is none of the other: their first bytes differ, and their keys.
      if (sessionToken !== undefined) {
        return roleSessions.isOwn(sessionToken)
          ? roleSessions.find(accessKeyId, sessionToken)
          : sessions.find(accessKeyId, sessionToken);
      }
      return findFixedKey?.(accessKeyId, undefined) ?? accessKeys.find(accessKeyId);
    },
    source: {
      async createAccessKey(principal, by) {
        assertNoUnixUserIsCalledLike(principal, mapping);
        const { key, secretAccessKey } = await accessKeys.create(principal, by);
        return { ...key, secretAccessKey };
      },
      accessKeys: () => accessKeys.list(),
      revokeAccessKey: (accessKeyId, by) => accessKeys.revoke(accessKeyId, by),
      issueCredentials: (peer, lifetimeSeconds) => sessions.issue(peer, lifetimeSeconds),
    },
  };
}

/** A Unix user would have another `aws:username` from then on, which what denies him by it does not know. */
function assertNoUnixUserIsCalledLike(principal: PrincipalArn, mapping: UnixMapping): void {
  const name = principal.slice(principal.lastIndexOf('/') + 1);
  const unixUser = unixUserCalled(name, mapping);
  if (unixUser === undefined || unixUser === principal || namesOf(mapping).has(principal)) return;
  throw new KmsError(
    'AlreadyExistsException',
    `User with name ${name} already exists: so is ${unixUser}, and the path is no part of a name (aws:username). Make the access key for that one, map the Unix user to ${principal} in identity.users, or choose another name.`,
  );
}

async function serviceKey(store: SqliteStore, keyStore: KeyStore, purpose: ServiceKeyPurpose): Promise<BackingKeyId> {
  const named = store.serviceKey(purpose);
  if (named !== undefined) {
    await assertServiceKey(keyStore, purpose, named);
    return named;
  }
  const made = await createServiceKey(keyStore, purpose);
  await store.nameServiceKey(purpose, made);
  return made;
}

/** Access keys are a fold over the records, as keys are. */
function follow(accessKeys: Pick<AccessKeys, 'put' | 'drop'>, changes: readonly Change[]): void {
  for (const change of changes) {
    if ('put' in change && change.put === 'accessKey') accessKeys.put(change.record);
    if ('remove' in change && change.remove === 'accessKey') accessKeys.drop(change.record.accessKeyId);
  }
}

const ivBytes = 12;

function vault(turns: Turns, keyStore: KeyStore, backingKeyId: BackingKeyId): AccessKeyVault<Announcer | undefined> {
  return {
    async random(lengthBytes) {
      return (await keyStore.random({ lengthBytes })).reveal();
    },
    async seal(secret, key) {
      // A copy, which is wiped: the key store takes plaintexts, and the secret lives on.
      const bytes = secretMemory(secret.lengthBytes);
      secret.reveal().copy(bytes);
      using plaintext = new Plaintext(bytes);
      const { iv, ciphertext } = await keyStore.encrypt({ backingKeyId, aad: aadOf(key), plaintext });
      return Buffer.concat([iv, ciphertext]);
    },
    async unseal(key) {
      const iv = key.sealedSecret.subarray(0, ivBytes);
      const ciphertext = key.sealedSecret.subarray(ivBytes);
      const plaintext = await keyStore.decrypt({ backingKeyId, aad: aadOf(key), iv, ciphertext });
      return new Secret(plaintext.reveal());
    },
    save: (record, by) => turns.take(() => ({ changes: [added('accessKey', record)], response: undefined }), { by }),
    remove: (record, isOnRecord, by) =>
      turns.take(() => ({ changes: isOnRecord() ? [removed('accessKey', record)] : [], response: undefined }), { by }),
  };
}

function aadOf({ accessKeyId, principal }: Pick<AccessKey, 'accessKeyId' | 'principal'>): Buffer {
  return Buffer.from(`drawbridge/access-key/1\0${accessKeyId}\0${principal}`);
}
