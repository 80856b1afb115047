/**
 * The calls with the private half of a pair: sign, decrypt with RSA, agree on a secret.
 *
 * What a call returns are views of this object's buffer, valid until the next call; `wipe` zeroes them once the reply is
 * written. Lengths and points are checked before the token sees them, and so is whether the key is for this: SoftHSM2 2.6.1
 * answers ECDSA with an RSA key by CKR_GENERAL_ERROR, and NSS softoken 3.87 derives with keys whose CKA_DERIVE is false.
 *
 * Source: PKCS#11 3.1, sections 6.1.8 (CKM_RSA_PKCS_OAEP), 6.1.9 (CKM_RSA_X_509) and 6.3.17 (CKM_ECDH1_DERIVE); for signatures see
 * `signing-mechanisms.ts`.
 */

import type { VendorProfile } from '../../vendor-profile.ts';
import { constant, type Handle, type Mechanism } from '../token/cryptoki.ts';
import { HostFailure } from '../token/failures.ts';
import { readAttribute } from '../token/key-attributes.ts';
import type { KeyTable } from '../token/key-table.ts';
import type { KeyFacts } from '../token/object-facts.ts';
import { maxSignatureBytes } from '../token/parameter-sets.ts';
import { unbuiltAlgorithms } from '../token/pkcs11-key-specs.ts';
import { peerPoint } from '../token/subject-public-keys.ts';
import type { TokenSession } from '../token/token-session.ts';
import { decodeOaep, oaepAlgorithms } from './oaep.ts';
import type { SecretCalls } from './secret-calls.ts';
import { type SigningAlgorithm, signingAlgorithms } from './signing-mechanisms.ts';

/** Of RSA with 4,096 bits. All other outputs but ML-DSA's signatures are shorter. */
const maxModulusBytes = 512;
/** A shorter modulus has room neither for OAEP with SHA-256 nor on any key of KMS; probes use short ones. */
const minModulusBytes = 128;

const rawRsa: Mechanism = { mechanism: constant('CKM_RSA_X_509') };

export class PairCalls {
  readonly #session: TokenSession;
  readonly #keys: KeyTable;
  readonly #secrets: SecretCalls;
  readonly #paddedOutside: readonly string[];
  readonly #output = Buffer.alloc(maxSignatureBytes);
  /** The part of it that a plaintext can reach. */
  readonly #plaintext = this.#output.subarray(0, maxModulusBytes);
  #outputBytes = 0;

  constructor(session: TokenSession, keys: KeyTable, secrets: SecretCalls, profile: VendorProfile) {
    this.#session = session;
    this.#keys = keys;
    this.#secrets = secrets;
    this.#paddedOutside = profile.paddedOutside;
  }

  /** The signature as the token makes it; for ECDSA r and s, one after the other. */
  sign({
    id,
    algorithm,
    content,
    message,
  }: {
    id: Buffer;
    algorithm: string;
    content: string;
    message: Buffer;
  }): Buffer {
    const row = signingAlgorithms.get(algorithm);
    if (row === undefined)
      throw new HostFailure('unsupported', unbuiltAlgorithms.get(algorithm) ?? `there is no signing with ${algorithm}`);
    if (content !== row.content)
      throw new HostFailure('internal', `${algorithm} signs a ${row.content}, not a ${content}`);
    if (row.digestBytes !== null && message.length !== row.digestBytes)
      throw new HostFailure('internal', `${algorithm} signs ${row.digestBytes} bytes, not ${message.length}`);
    if (message.length === 0) throw new HostFailure('internal', 'a message has at least one byte');
    const signed = row.prefix.length === 0 ? message : Buffer.concat([row.prefix, message]);
    let signatureBytes: number | null = null;
    this.#withPair(id, { keyType: row.keyType, usage: 'CKA_SIGN' }, (key, facts) => {
      signatureBytes = signatureBytesOf(row, algorithm, facts);
      const { cryptoki, handle: session } = this.#session;
      this.#session.step = `${row.mechanismName} C_SignInit`;
      cryptoki.C_SignInit(session, row.mechanism, key);
      this.#session.step = `${row.mechanismName} C_Sign`;
      this.#outputBytes = cryptoki.C_Sign(session, signed, this.#output);
    });
    if (signatureBytes !== null && signatureBytes !== this.#outputBytes)
      throw new HostFailure('internal', `${row.mechanismName} C_Sign: ${this.#outputBytes} bytes`);
    return this.#output.subarray(0, this.#outputBytes);
  }

  /** The plaintext. Throws `HostFailure` (`ciphertextInvalid`) for whatever is wrong with the ciphertext. */
  decrypt(id: Buffer, algorithm: string, ciphertext: Buffer): Buffer {
    const row = oaepAlgorithms.get(algorithm);
    if (row === undefined) throw new HostFailure('unsupported', `there is no decryption with ${algorithm}`);
    if (ciphertext.length < minModulusBytes || ciphertext.length > maxModulusBytes) throw invalidCiphertext();
    if (!this.#paddedOutside.includes(algorithm)) {
      this.#decrypt(id, row.mechanism, 'CKM_RSA_PKCS_OAEP', ciphertext);
      return this.#output.subarray(0, this.#outputBytes);
    }
    this.#decrypt(id, rawRsa, 'CKM_RSA_X_509', ciphertext);
    if (this.#outputBytes !== ciphertext.length)
      throw new HostFailure('internal', `CKM_RSA_X_509 C_Decrypt: ${this.#outputBytes} bytes for ${ciphertext.length}`);
    const message = decodeOaep(this.#output.subarray(0, this.#outputBytes), row.hash);
    if (message === null) throw invalidCiphertext();
    message.copy(this.#output);
    const bytes = message.length;
    message.fill(0);
    return this.#output.subarray(0, bytes);
  }

  /** The x coordinate of the shared point. Throws `HostFailure` (`publicKeyInvalid`). */
  deriveSharedSecret(id: Buffer, publicKey: Buffer): Buffer {
    this.#withPair(id, { keyType: 'CKK_EC', usage: 'CKA_DERIVE' }, (key, { curve }) => {
      if (curve === undefined) throw new HostFailure('keyUnavailable', 'the key is on a curve that KMS does not have');
      const point = peerPoint(publicKey, curve);
      const { cryptoki, handle: session } = this.#session;
      const mechanism = {
        mechanism: constant('CKM_ECDH1_DERIVE'),
        parameter: { type: constant('CK_PARAMS_EC_DH'), kdf: constant('CKD_NULL'), publicData: point },
      };
      this.#session.step = 'CKM_ECDH1_DERIVE C_DeriveKey';
      const secret = cryptoki.C_DeriveKey(session, mechanism, key, sharedSecretTemplate(curve.fieldBytes));
      try {
        this.#session.step = 'C_GetAttributeValue';
        const value = readAttribute(cryptoki, session, secret, 'CKA_VALUE');
        if (value?.length !== curve.fieldBytes)
          throw new HostFailure('internal', `CKM_ECDH1_DERIVE: ${value?.length} bytes on ${curve.title}`);
        this.#outputBytes = value.copy(this.#output);
        value.fill(0);
      } finally {
        cryptoki.C_DestroyObject(session, secret);
      }
    });
    return this.#output.subarray(0, this.#outputBytes);
  }

  /** Zeroes what the last call left here. */
  wipe(): void {
    if (this.#outputBytes > 0) this.#output.fill(0, 0, this.#outputBytes);
    this.#outputBytes = 0;
  }

  /** As `SecretCalls.withKey`, for a key of this type that may be used so. */
  #withPair(
    id: Buffer,
    needed: { readonly keyType: string; readonly usage: string },
    call: (key: Handle, facts: KeyFacts) => void,
  ): void {
    this.#secrets.withKey(id, (key) => {
      const facts = this.#keys.facts(id);
      if (facts.keyType !== constant(needed.keyType))
        throw new HostFailure('keyUnavailable', `the key is not of the type ${needed.keyType}`);
      if (!facts.usages.has(needed.usage)) throw new HostFailure('keyUnavailable', `the key lacks ${needed.usage}`);
      // Some of them have CKA_DECRYPT (`unwrapping.ts`): whoever could decrypt with one would see key material.
      if (facts.usages.has('CKA_UNWRAP')) throw new HostFailure('keyUnavailable', 'the key is a wrapping key');
      call(key, facts);
    });
  }

  #decrypt(id: Buffer, mechanism: Mechanism, name: string, ciphertext: Buffer): void {
    this.#withPair(id, { keyType: 'CKK_RSA', usage: 'CKA_DECRYPT' }, (key) => {
      const { cryptoki, handle: session } = this.#session;
      this.#session.step = `${name} C_DecryptInit`;
      cryptoki.C_DecryptInit(session, mechanism, key);
      this.#session.step = `${name} C_Decrypt`;
      // A library may have written before it found the padding wrong; `wipe` clears that as well.
      this.#outputBytes = maxModulusBytes;
      this.#outputBytes = cryptoki.C_Decrypt(session, ciphertext, this.#plaintext);
    });
  }
}

/** How long a signature by this key is; `null` for RSA. Throws `HostFailure` for a key that the algorithm is not for. */
function signatureBytesOf(row: SigningAlgorithm, algorithm: string, { curve, parameterSet }: KeyFacts): number | null {
  if (row.keyType === 'CKK_RSA') return null;
  if (row.keyType === 'CKK_ML_DSA') {
    if (parameterSet !== undefined) return parameterSet.signatureBytes;
    throw new HostFailure('keyUnavailable', 'the key is of a parameter set that KMS does not have');
  }
  if (row.signatureBytes === 2 * (curve?.fieldBytes ?? 0)) return row.signatureBytes;
  throw new HostFailure('keyUnavailable', `the key is on another curve than ${algorithm} is for`);
}

/** Extractable and not sensitive, because its value is what was asked for; it lives until it was read. */
function sharedSecretTemplate(fieldBytes: number) {
  return [
    { type: constant('CKA_CLASS'), value: constant('CKO_SECRET_KEY') },
    { type: constant('CKA_KEY_TYPE'), value: constant('CKK_GENERIC_SECRET') },
    { type: constant('CKA_VALUE_LEN'), value: fieldBytes },
    { type: constant('CKA_TOKEN'), value: false },
    { type: constant('CKA_PRIVATE'), value: true },
    { type: constant('CKA_SENSITIVE'), value: false },
    { type: constant('CKA_EXTRACTABLE'), value: true },
  ];
}

/** One text for every way in which a ciphertext can be wrong. */
function invalidCiphertext(): HostFailure {
  return new HostFailure('ciphertextInvalid', 'the ciphertext is not one of this key');
}
