/**
 * Data key pairs: made by the token as session objects, read out, and encrypted under a symmetric backing key.
 *
 * The private key's very purpose is to leave, so its object is extractable and not sensitive, lives for this call alone,
 * and its components become PKCS#8 by way of JWK: one way for every kind of pair on both tested tokens. C_WrapKey would
 * spare the components, but SoftHSM2 2.6.1 wraps no Ed25519 key (CKR_KEY_NOT_WRAPPABLE), and a value that was wrapped
 * still has to be decrypted here, because what goes to the caller's ciphertext is AES-GCM with an AAD of ours.
 *
 * Accepted: JWK is text, and JavaScript's strings cannot be wiped; the components lie in this process's memory, which runs no
 * code but ours and the vendor's and dumps no core, until the engine collects them. The PKCS#8 itself is wiped.
 */

import { createPrivateKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import type { VendorProfile } from '../../vendor-profile.ts';
import { constant, type Handle, returnValueOf } from '../token/cryptoki.ts';
import type { Curve } from '../token/curves.ts';
import { HostFailure } from '../token/failures.ts';
import { readAttribute, readPublicKey } from '../token/key-attributes.ts';
import { type HostKeySpec, keySpecRow } from '../token/pkcs11-key-specs.ts';
import { publicJwk } from '../token/subject-public-keys.ts';
import type { TokenSession } from '../token/token-session.ts';
import { type GeneratedObjects, generateObjects } from './key-generation.ts';
import { assertConsistentPair } from './pair-consistency.ts';
import type { SecretCalls } from './secret-calls.ts';

export interface SealedPair {
  readonly publicKey: Buffer;
  readonly iv: Buffer;
  readonly ciphertext: Buffer;
  /** PKCS#8, DER; wiped by `wipe`. */
  readonly privateKey: Buffer;
}

/** JWK's private members of an RSA key (RFC 7518, section 6.3.2), and where PKCS#11 has them. */
const rsaComponents = {
  n: 'CKA_MODULUS',
  e: 'CKA_PUBLIC_EXPONENT',
  d: 'CKA_PRIVATE_EXPONENT',
  p: 'CKA_PRIME_1',
  q: 'CKA_PRIME_2',
  dp: 'CKA_EXPONENT_1',
  dq: 'CKA_EXPONENT_2',
  qi: 'CKA_COEFFICIENT',
} as const;

/** Made once: `wipe` comes after every call of the lane, and an empty buffer for each took longer than all else that the lane does for it. */
const none = Buffer.alloc(0);

export class DataKeyPairs {
  readonly #session: TokenSession;
  readonly #secrets: SecretCalls;
  readonly #profile: VendorProfile;
  /** Why a KeySpec cannot be generated on this token, or `null`. */
  readonly #whyNot: (keySpec: string) => string | null;
  #privateKey: Buffer = none;

  constructor(
    session: TokenSession,
    secrets: SecretCalls,
    profile: VendorProfile,
    whyNot: (keySpec: string) => string | null,
  ) {
    this.#session = session;
    this.#secrets = secrets;
    this.#profile = profile;
    this.#whyNot = whyNot;
  }

  /** Makes a pair and encrypts its private half under the key `id`. */
  generate(id: Buffer, aad: Buffer, keyPairSpec: string): SealedPair {
    const row = keySpecRow(keyPairSpec);
    if (row.objectClass !== 'CKO_PRIVATE_KEY')
      throw new HostFailure('unsupported', `${keyPairSpec} is no kind of key pair`);
    if (row.parameterSet !== null) throw new HostFailure('unsupported', `KMS has no data key pairs of ${keyPairSpec}`);
    const missing = this.#whyNot(keyPairSpec);
    if (missing !== null) throw new HostFailure('unsupported', missing);
    // Before the seconds that an RSA pair may take: is there the key to encrypt it under?
    this.#secrets.withKey(id, () => undefined);
    const publicKey = this.#session.run(() => this.#generate(row));
    return { publicKey, ...this.#secrets.encrypt(id, aad, this.#privateKey), privateKey: this.#privateKey };
  }

  /** Zeroes what the last call left here. */
  wipe(): void {
    if (this.#privateKey === none) return;
    this.#privateKey.fill(0);
    this.#privateKey = none;
  }

  /** Returns the public key and leaves the private one in `#privateKey`. */
  #generate(row: HostKeySpec): Buffer {
    const usage = { attributes: ['CKA_SIGN'], publicAttributes: ['CKA_VERIFY'], algorithms: {} };
    const outline = { row, usage, id: null, label: 'data key pair', leaves: 'inTheClear' as const };
    const pair = generateObjects(this.#session, outline, this.#profile);
    if (pair.publicKey === null) throw new HostFailure('internal', 'a pair has a public key');
    try {
      const { cryptoki, handle } = this.#session;
      this.#session.step = 'C_GetAttributeValue';
      const handles = { publicKey: pair.publicKey, privateKey: pair.key };
      const publicKey = readPublicKey(cryptoki, handle, handles, row);
      this.wipe();
      const jwk = row.curve === null ? this.#rsaJwk(pair.key) : this.#curveJwk(handles, row.curve);
      const privateKey = privateKeyOf(jwk);
      assertConsistentPair({ publicKey, privateKey, jwk });
      this.#privateKey = privateKey.export({ type: 'pkcs8', format: 'der' });
      return publicKey;
    } finally {
      this.#destroy(pair);
    }
  }

  #rsaJwk(privateKey: Handle): JsonWebKey {
    const members = Object.entries(rsaComponents).map(([member, attribute]) => [
      member,
      this.#read(privateKey, attribute),
    ]);
    return { kty: 'RSA', ...Object.fromEntries(members) };
  }

  #curveJwk({ publicKey, privateKey }: { publicKey: Handle; privateKey: Handle }, curve: Curve): JsonWebKey {
    const ecPoint = Buffer.from(this.#read(publicKey, 'CKA_EC_POINT'), 'base64url');
    return { ...publicJwk(ecPoint, curve), d: this.#read(privateKey, 'CKA_VALUE', curve.fieldBytes) };
  }

  /** A component in base64url, with zeroes before it up to `lengthBytes`: PKCS#11 lets a token leave them out. */
  #read(object: Handle, attribute: string, lengthBytes = 0): string {
    const value = readAttribute(this.#session.cryptoki, this.#session.handle, object, attribute);
    if (value === undefined || value.length === 0)
      throw new HostFailure('unsupported', `the token does not give out ${attribute} of an extractable private key`);
    const padded = Buffer.concat([Buffer.alloc(Math.max(0, lengthBytes - value.length)), value]);
    const text = padded.toString('base64url');
    padded.fill(0);
    value.fill(0);
    return text;
  }

  #destroy({ key, publicKey }: GeneratedObjects): void {
    for (const object of [key, publicKey]) {
      if (object === null) continue;
      try {
        this.#session.cryptoki.C_DestroyObject(this.#session.handle, object);
      } catch (error) {
        // They are session objects: whatever lost them ended them.
        if (returnValueOf(error) !== constant('CKR_OBJECT_HANDLE_INVALID')) throw error;
      }
    }
  }
}

function privateKeyOf(key: JsonWebKey): KeyObject {
  try {
    return createPrivateKey({ key, format: 'jwk' });
  } catch {
    // The cause may quote the key.
    throw new HostFailure('internal', 'the token gave a private key that is none');
  }
}
