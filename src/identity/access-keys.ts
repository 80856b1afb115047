/**
 * Long-lived access keys for signed requests: made, listed, revoked, and found when a request names one.
 *
 * A secret is random bytes of the HSM, told once to whoever made the key, and kept encrypted under a key of the HSM. It is
 * decrypted when its key is first used and stays in memory from then on: each day's signatures are computed from it. A change is
 * on disk before it is answered, and is in force from that moment; a revoked key is refused before it is taken off the
 * disk, and is taken again only if that fails. What is on disk is told by `put` and `drop` alone.
 *
 * Who may do this is decided above. Disk and HSM come as an `AccessKeyVault`.
 */

import { KmsError } from '../kms/errors.ts';
import { type AccessKeyId, type Account, type PrincipalArn, parseAccessKeyId, rootArn } from '../kms/names.ts';
import type { Secret } from '../secrets/secret-bytes.ts';
import { accessKeyIdBytes, lastingAccessKeyId } from './access-key-id.ts';
import type { Caller } from './caller.ts';
import { ScopedKeys } from './scoped-keys.ts';
import { secretAccessKeyBytes, secretAccessKeyOf } from './secret-access-key.ts';
import type { SigningKey } from './signing-key.ts';
import { isKeptName, UserNames } from './user-names.ts';

export interface AccessKey {
  /** Of its record: it is never changed, so there is one. */
  readonly version: number;
  readonly accessKeyId: AccessKeyId;
  readonly principal: PrincipalArn;
  readonly sealedSecret: Buffer;
  readonly createdAtMs: number;
}

/** @typeParam By In whose name something is changed: what the vault makes of it is its own. */
export interface AccessKeyVault<By = void> {
  /** From the HSM's random generator. */
  random(lengthBytes: number): Promise<Buffer>;
  /** Encrypts in the HSM. The secret can only be had back for the same access key. */
  seal(secret: Secret, key: Pick<AccessKey, 'accessKeyId' | 'principal'>): Promise<Buffer>;
  unseal(key: AccessKey): Promise<Secret>;
  /** On disk, and `put` here, when it resolves. */
  save(key: AccessKey, by: By): Promise<void>;
  /**
   * Off the disk, and `drop`ped here, when it resolves.
   * @param isOnRecord Asked in the turn: another node may have revoked it by then, which is what was asked for.
   */
  remove(key: AccessKey, isOnRecord: () => boolean, by: By): Promise<void>;
}

/** All of them are in memory. */
export const maxAccessKeys = 1_000;

interface UnsealedKey extends SigningKey {
  readonly secret: Secret;
}

interface Entry {
  readonly key: AccessKey;
  readonly caller: Omit<Caller, 'proof'>;
  /** Once it was used; a promise while the HSM decrypts. */
  signing: UnsealedKey | Promise<UnsealedKey> | undefined;
  /** From the moment that somebody revokes it: it is refused before it is taken off the disk. */
  isRevoked: boolean;
}

export class AccessKeys<By = void> {
  readonly #account: Account;
  readonly #vault: AccessKeyVault<By>;
  readonly #userNames: UserNames;
  readonly #entries = new Map<string, Entry>();
  /** Keys that are being made count too. */
  #underWay = 0;

  /** @param userNames Is told who has keys; who else there is, it knows. */
  constructor(account: Account, vault: AccessKeyVault<By>, keys: readonly AccessKey[], userNames = new UserNames()) {
    this.#account = account;
    this.#vault = vault;
    this.#userNames = userNames;
    for (const key of keys) {
      this.put(key);
    }
  }

  /** A key is on disk. */
  put(key: AccessKey): void {
    // One that was made for another account, before the configuration changed, is not taken.
    if (!key.principal.startsWith(`arn:aws:iam::${this.#account.account}:`)) return;
    if (!this.#entries.has(key.accessKeyId)) this.#userNames.add(key.principal);
    const caller = callerOf(key.principal, this.#account, this.#userNames);
    this.#entries.set(key.accessKeyId, { key, caller, signing: undefined, isRevoked: false });
  }

  /** A key is on disk no more. */
  drop(accessKeyId: string): void {
    const entry = this.#entries.get(accessKeyId);
    this.#entries.delete(accessKeyId);
    if (entry !== undefined) this.#userNames.remove(entry.key.principal);
    const signing = entry?.signing;
    if (signing !== undefined && !(signing instanceof Promise)) {
      signing.secret.wipe();
      signing.keys.forget();
    }
  }

  list(): readonly AccessKey[] {
    return [...this.#entries.values()]
      .filter(({ isRevoked }) => !isRevoked)
      .map(({ key }) => key)
      .sort((a, b) => a.createdAtMs - b.createdAtMs || (a.accessKeyId < b.accessKeyId ? -1 : 1));
  }

  /** @throws KmsError `ValidationException` for who cannot have one, `AlreadyExistsException` for whose name another user has, `LimitExceededException`. */
  async create(
    principal: PrincipalArn,
    by: By,
  ): Promise<{ readonly key: AccessKey; readonly secretAccessKey: string }> {
    callerOf(principal, this.#account, this.#userNames);
    this.#assertNameIsFree(principal);
    if (this.#entries.size + this.#underWay >= maxAccessKeys) {
      throw new KmsError('LimitExceededException', `Cannot exceed quota for access keys: ${maxAccessKeys}`);
    }
    this.#underWay++;
    try {
      const accessKeyId = parseAccessKeyId(lastingAccessKeyId(await this.#vault.random(accessKeyIdBytes)));
      if (accessKeyId === undefined) throw new TypeError('an access key id was made that is none');
      const secret = secretAccessKeyOf(await this.#vault.random(secretAccessKeyBytes));
      const sealedSecret = await this.#vault.seal(secret, { accessKeyId, principal });
      const key: AccessKey = { version: 1, accessKeyId, principal, sealedSecret, createdAtMs: Date.now() };
      await this.#vault.save(key, by);
      // Whoever made it will use it soon, and need not wait for the HSM to decrypt the secret.
      const entry = this.#entries.get(accessKeyId);
      if (entry !== undefined) entry.signing = this.#signingOf(entry, secret);
      return { key, secretAccessKey: secret.reveal().toString('latin1') };
    } finally {
      this.#underWay--;
    }
  }

  /** As in IAM, where the path is no part of a user's name. */
  #assertNameIsFree(principal: PrincipalArn): void {
    const other = this.#userNames.sharedWith(principal);
    if (other === undefined && !isKeptName(principal)) return;
    const why = other === undefined ? 'such names are kept for users of the operating system' : `so is ${other}`;
    throw new KmsError(
      'AlreadyExistsException',
      `User with name ${principal.slice(principal.lastIndexOf('/') + 1)} already exists: ${why}, and the path is no part of a name (aws:username). Choose another name for ${principal}.`,
    );
  }

  /** @throws KmsError `NotFoundException` */
  async revoke(accessKeyId: string, by: By): Promise<AccessKey> {
    const entry = this.#entryOf(accessKeyId);
    if (entry === undefined) {
      throw new KmsError('NotFoundException', `The Access Key with id ${accessKeyId.slice(0, 64)} cannot be found.`);
    }
    entry.isRevoked = true;
    try {
      await this.#vault.remove(entry.key, () => this.#entries.get(accessKeyId) === entry, by);
    } catch (error) {
      entry.isRevoked = false;
      throw error;
    }
    return entry.key;
  }

  /** One that is in force. */
  #entryOf(accessKeyId: string): Entry | undefined {
    const entry = this.#entries.get(accessKeyId);
    return entry?.isRevoked === true ? undefined : entry;
  }

  /** Whose it is; `undefined` where it is not in force. */
  principalOf(accessKeyId: string): PrincipalArn | undefined {
    return this.#entryOf(accessKeyId)?.key.principal;
  }

  find(accessKeyId: string): SigningKey | undefined | Promise<SigningKey | undefined> {
    const entry = this.#entryOf(accessKeyId);
    if (entry === undefined) return undefined;
    if (entry.signing === undefined) entry.signing = this.#unseal(entry);
    const { signing } = entry;
    // It may be revoked while the HSM decrypts its secret.
    if (signing instanceof Promise) {
      return signing.then((found) => (this.#entryOf(accessKeyId) === entry ? found : undefined));
    }
    return signing;
  }

  async #unseal(entry: Entry): Promise<UnsealedKey> {
    try {
      const signing = this.#signingOf(entry, await this.#vault.unseal(entry.key));
      entry.signing = signing;
      return signing;
    } catch (error) {
      entry.signing = undefined;
      throw error;
    }
  }

  #signingOf(entry: Entry, secret: Secret): UnsealedKey {
    const { caller, key } = entry;
    return { secret, keys: ScopedKeys.of(secret), caller, isRevoked: () => this.#entryOf(key.accessKeyId) !== entry };
  }
}

/**
 * Users and the account's root have access keys, as on AWS. Sessions of roles are had by mapping a Unix user or group, and
 * `drawbridge credentials`.
 */
function callerOf(principal: PrincipalArn, { account }: Account, userNames: UserNames): Omit<Caller, 'proof'> {
  if (principal === rootArn({ account })) return { type: 'Root', arn: principal, accountId: account };
  const start = `arn:aws:iam::${account}:user/`;
  if (principal.startsWith(start) && !principal.endsWith('/')) {
    return { type: 'IAMUser', arn: principal, accountId: account, userName: userNames.nameOf(principal) };
  }
  throw new KmsError(
    'ValidationException',
    `Access keys are for ${start}NAME and ${rootArn({ account })}, not for ${principal.slice(0, 256)}.`,
  );
}
