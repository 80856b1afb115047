/**
 * Keys of a domain on their way from one HSM into others, of both vendors and in both directions: what arrives does what it did, and what is not
 * what was said is not kept.
 */

import { execFileSync } from 'node:child_process';
import * as crypto from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readJoiningPair, trustJoiningKeys } from '../../src/hsm/joining-key-trust.ts';
import type { CarriedKey, CarryingPadding } from '../../src/hsm/key-carrying.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { WrappedKey } from '../../src/hsm/wrapped-key.ts';
import { proveKey } from '../../src/keys/domain/key-proofs.ts';
import { type BackingKeyId, newBackingKeyId } from '../../src/kms/names.ts';
import { Pin } from '../../src/secrets/secret-bytes.ts';
import { nssSoftoken, softHsm2, type TestToken, type TokenKind } from '../support/tokens.ts';
import { aad, failureOf, openStore, plaintextOf } from './test-store.ts';

const padding: CarryingPadding = 'RSAES_OAEP_SHA_1';
const domainId = 'the domain of this test';
const outlines = [
  { label: 'drawbridge:domain:test:1', keySpec: 'HMAC_256', keyUsage: 'GENERATE_VERIFY_MAC' },
  { label: 'drawbridge:service:metadata-integrity', keySpec: 'HMAC_256', keyUsage: 'GENERATE_VERIFY_MAC' },
  { label: 'drawbridge:service:access-key-encryption', keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' },
] as const;

interface Member {
  readonly token: TestToken;
  readonly keyStore: KeyStore;
}

async function open(kind: TokenKind): Promise<Member> {
  const token = kind.create();
  return { token, keyStore: await openStore(token) };
}

async function makeKeys(keyStore: KeyStore): Promise<readonly CarriedKey[]> {
  const made: CarriedKey[] = [];
  for (const outline of outlines) {
    const key = { backingKeyId: newBackingKeyId(), domainId, ...outline };
    if (key.label.startsWith('drawbridge:domain:')) await keyStore.generateDomainKey(key);
    else await keyStore.generateKey(key);
    made.push(await proveKey(keyStore, key));
  }
  return made;
}

async function newPair({ keyStore }: Member): Promise<{ joiningKeyId: BackingKeyId; publicKey: Buffer }> {
  const joiningKeyId = newBackingKeyId();
  const label = `drawbridge:joining:${joiningKeyId}`;
  const publicKey = await keyStore.carrying.generateJoiningPair({ backingKeyId: joiningKeyId, label, padding });
  return { joiningKeyId, publicKey };
}

/** He trusts these and no others. @returns What each is called. */
async function trust({ token }: Member, ...publicKeys: readonly Buffer[]): Promise<readonly BackingKeyId[]> {
  const keys = publicKeys.map((publicKey) => ({ backingKeyId: newBackingKeyId(), publicKey }));
  if (token.soPin !== null) {
    const soPin = new Pin(Buffer.from(token.soPin));
    expect(await trustJoiningKeys(token.settings(), { keys, soPin }, token.environment)).toBe(null);
  }
  return keys.map(({ backingKeyId }) => backingKeyId);
}

const forger = fileURLToPath(new URL('./forged-joining-pairs.ts', import.meta.url));
const missing = softHsm2.missing ?? nssSoftoken.missing;
if (missing !== null) process.stdout.write(`skipped: keys of a domain: ${missing}\n`);

describe.skipIf(missing !== null)('Keys of a domain', () => {
  const members: Member[] = [];
  beforeAll(async () => {
    for (const kind of [softHsm2, softHsm2, nssSoftoken]) members.push(await open(kind));
  });
  afterAll(async () => {
    for (const { keyStore, token } of members) {
      await keyStore.close();
      token.remove();
    }
  });
  const member = (index: number): Member => members[index] as Member; // There are three.
  const ids = async ({ keyStore }: Member) => (await keyStore.listKeys()).map(({ backingKeyId }) => backingKeyId);

  test.each([
    ['SoftHSM2', 'SoftHSM2', 0, 1],
    ['SoftHSM2', 'NSS softoken', 0, 2],
    ['NSS softoken', 'SoftHSM2', 2, 1],
  ] as const)('go from %s into %s, and do there what they did', async (_from, _to, from, to) => {
    const [giver, newcomer] = [member(from), member(to)];
    const keys = await makeKeys(giver.keyStore);
    const { joiningKeyId, publicKey } = await newPair(newcomer);
    const [trustedKeyId] = (await trust(giver, publicKey)) as [BackingKeyId];
    for (const key of keys) {
      const { backingKeyId } = key;
      const wrapped = await giver.keyStore.carrying.give({ backingKeyId, publicKey, trustedKeyId, padding });
      const request = { key, joiningKeyId, wrapped, padding };
      await newcomer.keyStore.carrying.receive({ ...request, keep: false });
      expect(await ids(newcomer)).not.toContain(backingKeyId);
      // Twice is once.
      for (let time = 0; time < 2; time++) await newcomer.keyStore.carrying.receive({ ...request, keep: true });
      expect((await ids(newcomer)).filter((id) => id === backingKeyId)).toHaveLength(1);
      const isGuarded = newcomer.token.profile === 'softhsm2';
      expect(await newcomer.keyStore.describeKey({ backingKeyId })).toMatchObject({
        ...{ label: key.label, token: true, private: true, sensitive: true },
        ...{ extractable: isGuarded, wrapWithTrusted: isGuarded },
      });
    }
    await newcomer.keyStore.destroyKey({ backingKeyId: joiningKeyId });
    await giver.keyStore.destroyKey({ backingKeyId: trustedKeyId });
    const [domainKeyId, macKeyId, sealingKeyId] = keys.map(({ backingKeyId }) => backingKeyId) as BackingKeyId[];
    const data = aad;
    const [one, other] = await Promise.all(
      [giver, newcomer].map(({ keyStore }) =>
        keyStore.mac({ backingKeyId: macKeyId as BackingKeyId, algorithm: 'HMAC_SHA_256', data }),
      ),
    );
    expect(one).toEqual(other);
    const sealed = await giver.keyStore.encrypt({
      ...{ backingKeyId: sealingKeyId as BackingKeyId, aad, plaintext: plaintextOf('sealed') },
    });
    const opened = await newcomer.keyStore.decrypt({ backingKeyId: sealingKeyId as BackingKeyId, aad, ...sealed });
    expect(opened.reveal().toString()).toBe('sealed');
    const kinds = [
      ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT'],
      ['HMAC_384', 'GENERATE_VERIFY_MAC'],
      ['RSA_2048', 'SIGN_VERIFY'],
      ['ECC_NIST_P256', 'SIGN_VERIFY'],
      ['ECC_NIST_P384', 'SIGN_VERIFY'],
      ['ECC_NIST_P521', 'SIGN_VERIFY'],
    ] as const;
    // The other one does not wrap what it has unwrapped.
    const rewrapping = [giver, newcomer].filter(({ token }) => token.profile === 'nss');
    for (const [keySpec, keyUsage] of kinds) {
      const outline = { domainKeyId: domainKeyId as BackingKeyId, keySpec, keyUsage };
      const { publicKey, blob } = await giver.keyStore.generateWrappedKey(outline);
      const wrappedAs = (blob: Buffer) => {
        return { backingKeyId: newBackingKeyId(), wrapped: new WrappedKey({ ...outline, publicKey, blob }) };
      };
      const key = wrappedAs(blob);
      const all = [key];
      for (const { keyStore } of rewrapping) {
        const anew = wrappedAs((await keyStore.wrapKey({ ...key, ...outline, publicKey })).blob);
        all.push(anew, wrappedAs((await keyStore.wrapKey({ ...anew, ...outline, publicKey })).blob));
      }
      const outcomes = all.flatMap((each) => [giver, newcomer].map((user) => usedBy(user.keyStore, each, key)));
      expect(await Promise.all(outcomes), keySpec).toEqual(outcomes.map(() => true));
    }
  });

  const signing = {
    RSA_2048: ['RSASSA_PKCS1_V1_5_SHA_256', 'sha256'],
    ECC_NIST_P256: ['ECDSA_SHA_256', 'sha256'],
    ECC_NIST_P384: ['ECDSA_SHA_384', 'sha384'],
    ECC_NIST_P521: ['ECDSA_SHA_512', 'sha512'],
  } as const;
  type Wrapped = Parameters<KeyStore['describeKey']>[0] & { readonly wrapped: WrappedKey };

  /** Does it do what the giver's key does, which the other one is? */
  async function usedBy(keyStore: KeyStore, key: Wrapped, same: Wrapped): Promise<boolean> {
    const { keySpec, publicKey } = key.wrapped.outline ?? {};
    if (keySpec === 'SYMMETRIC_DEFAULT') {
      const encrypted = await keyStore.encrypt({ ...key, aad, plaintext: plaintextOf('text') });
      return (await decrypted(keyStore, same, encrypted)) === 'text';
    }
    if (keySpec === 'HMAC_384') {
      const [one, other] = [key, same].map((each) =>
        keyStore.mac({ ...each, algorithm: 'HMAC_SHA_384', data: aad }),
      ) as [Promise<Buffer>, Promise<Buffer>];
      return (await one).equals(await other);
    }
    const [algorithm, hash] = signing[keySpec as keyof typeof signing];
    const message = crypto.createHash(hash).update(aad).digest();
    const signature = await keyStore.sign({ ...key, algorithm, content: 'DIGEST', message });
    const spki = crypto.createPublicKey({ key: publicKey ?? Buffer.alloc(0), format: 'der', type: 'spki' });
    return crypto.verify(hash, aad, spki, signature);
  }

  async function decrypted(
    keyStore: KeyStore,
    key: Wrapped,
    encrypted: Pick<Parameters<KeyStore['decrypt']>[0], 'iv' | 'ciphertext'>,
  ): Promise<string> {
    return (await keyStore.decrypt({ ...key, aad, ...encrypted })).reveal().toString();
  }

  test('leave SoftHSM2 under no public key that its security officer did not trust, and no other key leaves', async () => {
    const [giver, newcomer] = [member(0), member(1)];
    const [key] = (await makeKeys(giver.keyStore)) as [CarriedKey];
    const { backingKeyId } = key;
    const { publicKey } = await newPair(newcomer);
    const { publicKey: otherKey } = await newPair(newcomer);
    const give = (id: BackingKeyId, trustedKeyId: BackingKeyId) =>
      failureOf(giver.keyStore.carrying.give({ backingKeyId: id, publicKey, trustedKeyId, padding }));
    const untrusted = { failure: 'unsupported', message: expect.stringContaining('CKA_TRUSTED') };
    expect(await give(backingKeyId, newBackingKeyId())).toEqual(untrusted);
    const [otherId] = (await trust(giver, otherKey)) as [BackingKeyId];
    expect(await give(backingKeyId, otherId)).toEqual(untrusted);
    const soPin = new Pin(Buffer.from('not the PIN'));
    const { token } = giver;
    const refused = { keys: [{ backingKeyId: newBackingKeyId(), publicKey }], soPin };
    expect(await trustJoiningKeys(token.settings(), refused, token.environment)).toContain('CKR_PIN_INCORRECT');
    const [trustedKeyId] = (await trust(giver, publicKey)) as [BackingKeyId];
    const ordinary = newBackingKeyId();
    const label = 'drawbridge:test:1';
    const spec = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    await giver.keyStore.generateKey({ backingKeyId: ordinary, label, ...spec });
    expect(await give(ordinary, trustedKeyId)).toMatchObject({ failure: 'keyUnavailable' });
    expect(await give(backingKeyId, trustedKeyId)).toMatchObject({ failure: 'none' });
    // What he trusted before, whoever left it there, he trusts no more.
    await trust(giver);
    expect(await give(backingKeyId, trustedKeyId)).toEqual(untrusted);
  });

  test.each([
    ['SoftHSM2', 1, ['imported', 'decrypting', 'unguarded']],
    ['NSS softoken', 2, ['imported', 'decrypting']],
  ] as const)('are for a pair of %s that was generated in it and only joins', async (_, at, forgeries) => {
    const { token, keyStore } = member(at);
    const read = (backingKeyId: BackingKeyId) =>
      readJoiningPair(token.settings(), { backingKeyId, pin: new Pin(Buffer.from(token.pin)) }, token.environment);
    const { joiningKeyId, publicKey } = await newPair(member(at));
    expect(await read(joiningKeyId)).toEqual({ publicKey });
    expect(await read(newBackingKeyId())).toEqual({ problem: 'it has no such pair' });
    const ids = forgeries.map(() => newBackingKeyId());
    const attributes = {
      imported: /CKA_LOCAL|CKA_ALWAYS_SENSITIVE/,
      decrypting: /: CKA_DECRYPT$/,
      unguarded: /: CKA_UNWRAP_TEMPLATE$/,
    };
    const { library, libraryParameters, token: named } = token.settings();
    const login = { library, libraryParameters, token: named, rewrittenAtLogin: null, pin: token.pin };
    const jwk = crypto.generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey.export({ format: 'jwk' });
    const task = { login, forgeries: forgeries.map((kind, index) => ({ kind, id: ids[index] })), jwk };
    execFileSync(process.execPath, [forger], {
      input: JSON.stringify(task),
      env: { ...process.env, ...token.environment },
    });
    for (const [index, kind] of forgeries.entries()) {
      const backingKeyId = ids[index] as BackingKeyId; // There are as many.
      expect(await read(backingKeyId), kind).toEqual({ problem: expect.stringMatching(attributes[kind]) });
      await keyStore.destroyKey({ backingKeyId });
    }
  });

  test('are not kept when they are other keys than was said, or for another HSM, and leave nothing then', async () => {
    const [giver, newcomer] = [member(0), member(2)];
    const keys = await makeKeys(giver.keyStore);
    const others = await makeKeys(giver.keyStore);
    const { joiningKeyId, publicKey } = await newPair(newcomer);
    const { publicKey: elsewhere } = await newPair(newcomer);
    const [trustedKeyId, elsewhereId] = (await trust(giver, publicKey, elsewhere)) as [BackingKeyId, BackingKeyId];
    const before = await ids(newcomer);
    for (const [index, key] of keys.entries()) {
      const other = others[index] as CarriedKey; // There are as many.
      const { backingKeyId } = key;
      const receive = (wrapped: Buffer, claimed = key) =>
        failureOf(newcomer.keyStore.carrying.receive({ key: claimed, joiningKeyId, wrapped, padding, keep: true }));
      const give = (id: BackingKeyId, under: Buffer, trustedId: BackingKeyId) =>
        giver.keyStore.carrying.give({ backingKeyId: id, publicKey: under, trustedKeyId: trustedId, padding });
      const wrapped = await give(backingKeyId, publicKey, trustedKeyId);
      expect(await receive(await give(other.backingKeyId, publicKey, trustedKeyId))).toMatchObject({
        failure: 'materialInvalid',
      });
      expect(await receive(await give(backingKeyId, elsewhere, elsewhereId))).toMatchObject({
        failure: 'ciphertextInvalid',
      });
      // Anybody can wrap a key of his own under a public key.
      const own = { key: crypto.createPublicKey({ key: publicKey, format: 'der', type: 'spki' }), oaepHash: 'sha1' };
      expect(await receive(crypto.publicEncrypt(own, crypto.randomBytes(32)))).toMatchObject({
        failure: 'materialInvalid',
      });
      for (const claimed of [
        { ...key, domainId: 'another domain' },
        { ...key, label: 'drawbridge:service:session-credentials', keySpec: 'SYMMETRIC_DEFAULT' as const },
        { ...key, label: 'drawbridge:1' },
      ])
        expect((await receive(wrapped, claimed)).failure).not.toBe('none');
    }
    expect((await ids(newcomer)).sort()).toEqual([...before].sort());
  });
});
