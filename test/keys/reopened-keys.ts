/** Keys over a real token and a real SQLite file, which a test closes and opens again as the daemon does at a stop and a start. */

import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll } from 'vitest';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import { parsePolicyDocument } from '../../src/authorization/language/policy-document.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { openKeyStore } from '../../src/hsm/open-key-store.ts';
import { authorizeKey } from '../../src/keys/authorized-key.ts';
import type { EncryptionLimits } from '../../src/keys/encryption-counter.ts';
import type { KeyDirectory } from '../../src/keys/key-directory.ts';
import { currentBackingKeyOf, type KmsKey } from '../../src/keys/kms-key.ts';
import { type OpenKeys, openKeys } from '../../src/keys/life/open-keys.ts';
import { createServiceKey } from '../../src/keys/life/service-keys.ts';
import { parseCiphertext } from '../../src/keys/use/ciphertext.ts';
import { decrypt, encrypt } from '../../src/keys/use/symmetric-encryption.ts';
import { type BackingKeyId, type KeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { Pin, Plaintext } from '../../src/secrets/secret-bytes.ts';
import { type BackingKeyRecord, inToken } from '../../src/store/records/records.ts';
import { openSqliteStore, type SqliteStore } from '../../src/store/sqlite-store.ts';
import { Turns } from '../../src/store/turns.ts';
import { limitsOfTests } from '../hsm/test-store.ts';
import { type NewTestKey, newTestKey } from '../support/new-key.ts';
import { describeEachToken } from '../support/tokens.ts';

export const realm = { region: 'us-east-1', account: '000000000000' };
export const symmetric = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;

interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: object;
}

export interface Started extends Pick<OpenKeys, 'directory' | 'life'> {
  readonly turns: Turns;
  readonly store: SqliteStore;
  readonly keyStore: KeyStore;
  /** What was said since. */
  readonly lines: readonly LogLine[];
}

export interface ReopenedKeys {
  /** Opens everything, as the daemon does; `close()` or the end of the test closes it. */
  start(encryptionLimits?: EncryptionLimits): Promise<Started>;
  close(): Promise<void>;
  /** The database. */
  readonly file: string;
  /** That of the store. */
  serviceKey(): BackingKeyId;
}

/** A logger that remembers what was said. */
function remembering() {
  const lines: LogLine[] = [];
  const at = (level: string) => (fields: object, message: string) => void lines.push({ level, message, fields });
  return { lines, log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') } };
}

/** The tests of `define` over each token. */
export function describeReopenedKeys(name: string, define: (keys: ReopenedKeys) => void): void {
  describeEachToken(name, (token) => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-keys-'));
    const file = join(folder, 'metadata.sqlite');
    let serviceKey: BackingKeyId | undefined;
    let open: { readonly store: SqliteStore; readonly keyStore: KeyStore } | undefined;
    /** That of the last test: the next one begins with it, and what it closes and starts has another host. */
    let left: KeyStore | undefined;

    function serviceKeyId(): BackingKeyId {
      if (serviceKey === undefined) throw new TypeError('the service key exists inside of tests only');
      return serviceKey;
    }

    async function openToken(): Promise<KeyStore> {
      const { settings, environment, pin } = token();
      return openKeyStore({
        name: 'default',
        settings: settings(),
        hosts: 1,
        pin: async () => new Pin(Buffer.from(pin)),
        environment,
        limits: limitsOfTests,
        log: remembering().log,
      });
    }

    async function start(encryptionLimits?: EncryptionLimits): Promise<Started> {
      const keyStore = left ?? (await openToken());
      left = undefined;
      const store = await openSqliteStore({
        path: file,
        macs: (messages) => keyStore.macs({ backingKeyId: serviceKeyId(), algorithm: 'HMAC_SHA_256', messages }),
        formerRegion: realm.region,
      });
      open = { store, keyStore };
      const { lines, log } = remembering();
      // A minute and more on a busy machine, where many wait for theirs.
      const turns = new Turns(store, { maxWaitMs: 170_000 });
      const { directory, life } = await openKeys({
        realm,
        store,
        turns,
        defaultKeyStore: 'default',
        keyStores: new Map([['default', keyStore]]),
        compilePolicy: (document) => parsePolicyDocument(document, realm, () => undefined),
        log,
        ...(encryptionLimits === undefined ? {} : { encryptionLimits }),
      });
      return { directory, life, turns, store, keyStore, lines };
    }

    async function close(): Promise<void> {
      await open?.store.close();
      await open?.keyStore.close();
      open = undefined;
    }

    async function endTest(): Promise<void> {
      if (open?.keyStore.status().state !== 'connected') return close();
      left = open.keyStore;
      await open.store.close();
      open = undefined;
    }

    beforeAll(async () => {
      left = await openToken();
      serviceKey = await createServiceKey(left, 'metadata-integrity');
      return async () => {
        await left?.close();
        await rm(folder, { recursive: true });
      };
    });
    afterEach(endTest);

    define({ start, close, file, serviceKey: serviceKeyId });
  });
}

export function create(keys: Started, kind: Omit<NewTestKey, 'policyDocument'> = symmetric): Promise<KmsKey> {
  return newTestKey(keys, { ...kind, policyDocument: defaultKeyPolicy(realm) });
}

export function encryptOne({ life }: Pick<OpenKeys, 'life'>, key: KmsKey): ReturnType<typeof encrypt> {
  return encrypt(life, authorizeKey(key), new Plaintext(Buffer.from('attack at dawn')), undefined);
}

export async function decryptOne(key: KmsKey, blob: Buffer): Promise<string> {
  const parsed = parseCiphertext(blob);
  if (parsed === undefined) throw new TypeError('Encrypt gave what is no ciphertext blob');
  return (await decrypt(authorizeKey(key), parsed, undefined)).plaintext.reveal().toString();
}

/** An intent to generate a first backing key. */
export function intentOf(owner: string, keyId: KeyId): BackingKeyRecord {
  return {
    ...{ backingKeyId: newBackingKeyId(), version: 1, keyId, keyStore: 'default', residency: 'token' },
    regions: realm.region,
    ...{ state: 'Creating', owner, ordinal: 1, createdAtMs: Date.now(), reservedEncryptions: 0, publicKey: null },
    ...{
      rotationType: null,
      rotatedAtMs: null,
      importedMaterialId: '',
      materialDescription: '',
      validToMs: null,
      ...inToken,
    },
  };
}

export function currentId(key: KmsKey): BackingKeyId {
  return currentBackingKeyOf(key).record.backingKeyId;
}

/** The key as it is now. */
export function found(directory: KeyDirectory, key: KmsKey): KmsKey {
  const again = directory.findKey(key.record.keyId);
  if (again === undefined) throw new TypeError('the key is not there');
  return again;
}
