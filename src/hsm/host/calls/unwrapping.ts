/**
 * Opening wrapped key material: RSA-OAEP, and AES Key Wrap with Padding behind it.
 *
 * `RSAES_OAEP_…` is the material itself under the wrapping pair; `RSA_AES_KEY_WRAP_…` an AES-256 key under it, as long as the modulus, and
 * behind it the material under that key. No tested token has the latter as one mechanism (CKM_RSA_AES_KEY_WRAP), so it is two steps: the AES
 * key becomes a session object that unwraps and nothing else, and unwraps the material.
 *
 * What is opened is an object that the token makes by `C_UnwrapKey`; its bytes stay in the token. Two things are different where the
 * profile says that the token's memory is this process (`imports.software`), and there alone. The bytes are looked at here and wiped, because
 * such tokens do not check them (`key-material.ts`): what OAEP hides is unwrapped once more, as a readable session object that lives for one
 * reading, and what is under the AES key is decrypted by OpenSSL. And where the token does not know OAEP's hash (SoftHSM2 2.6.1 and
 * SHA-256: CKR_ARGUMENTS_BAD), it does the private operation (CKM_RSA_X_509), and `oaep.ts` removes the padding.
 *
 * Whatever is wrong with a ciphertext is one failure with one text. Should an attacker learn in which way a padding was wrong, he could
 * open any ciphertext; so a key that OAEP did not give is replaced by a random one, and the second step is done with it all the same.
 *
 * Source: RFC 8017, section 7.1; RFC 5649; PKCS#11 3.1, sections 5.18.3 (C_UnwrapKey), 6.1.8, 6.1.9, 6.13.9 (AES key wrap).
 */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { VendorProfile } from '../../vendor-profile.ts';
import { type Attribute, constant, type Handle, type Mechanism, returnValueOf } from '../token/cryptoki.ts';
import { HostFailure } from '../token/failures.ts';
import { readAttribute, ulong } from '../token/key-attributes.ts';
import { secretKeyUsageAttributes } from '../token/pkcs11-key-specs.ts';
import type { TokenSession } from '../token/token-session.ts';
import { decodeOaep, type OaepAlgorithm, oaepAlgorithms } from './oaep.ts';

const transportKeyBytes = 32;
/** RFC 5649: the integrity check value is a block of 8 bytes before the data, of which there is at least one block. */
const keyWrapBlockBytes = 8;
/** Somewhat more than an RSA-4096 private key has with attributes; AWS takes 6,144 bytes of ciphertext in all. */
const maxKeyWrapBytes = 8 * 1024;
/** RFC 5649, section 3: the constant half of the alternative initial value. */
const keyWrapIv = Buffer.from('a65959a6', 'hex');

interface WrappingScheme {
  readonly oaep: string;
  /** Is it an AES key that OAEP hides, with the material behind it? */
  readonly isHybrid: boolean;
}

export const wrappingSchemes: ReadonlyMap<string, WrappingScheme> = new Map([
  ['RSAES_OAEP_SHA_1', { oaep: 'RSAES_OAEP_SHA_1', isHybrid: false }],
  ['RSAES_OAEP_SHA_256', { oaep: 'RSAES_OAEP_SHA_256', isHybrid: false }],
  ['RSA_AES_KEY_WRAP_SHA_1', { oaep: 'RSAES_OAEP_SHA_1', isHybrid: true }],
  ['RSA_AES_KEY_WRAP_SHA_256', { oaep: 'RSAES_OAEP_SHA_256', isHybrid: true }],
]);

/** The usages of a wrapping pair. It decrypts where the host removes a padding; for callers it does not (`pair-calls.ts`). */
export function wrappingUsages({ paddedOutside, imports }: VendorProfile): readonly string[] {
  return imports.software && paddedOutside.length > 0 ? ['CKA_DECRYPT', 'CKA_UNWRAP'] : ['CKA_UNWRAP'];
}

/** Key material while it is open. */
export interface OpenedMaterial {
  /** In the clear, wiped when the work with it ends; `null` where nobody but the token sees it. */
  readonly bytes: Buffer | null;
  /** Makes an object of it inside of the token; `null` where the token cannot. */
  readonly unwrap: ((template: readonly Attribute[]) => Handle) | null;
}

interface Ciphertext {
  readonly wrappingKey: Handle;
  /** OAEP's part. */
  readonly head: Buffer;
  readonly algorithm: OaepAlgorithm;
  /** Does the host remove the padding? */
  readonly paddedOutside: boolean;
}

export class Unwrapping {
  readonly #session: TokenSession;
  readonly #profile: VendorProfile;

  constructor(session: TokenSession, profile: VendorProfile) {
    this.#session = session;
    this.#profile = profile;
  }

  /**
   * Opens `wrapped` while `work` runs. Throws `HostFailure` (`ciphertextInvalid`) for whatever is wrong with it, and other errors of the
   * library as they are.
   */
  withOpened<Result>(
    { wrappingKey, scheme, wrapped }: { wrappingKey: Handle; scheme: WrappingScheme; wrapped: Buffer },
    work: (opened: OpenedMaterial) => Result,
  ): Result {
    const algorithm = oaepAlgorithms.get(scheme.oaep);
    if (algorithm === undefined) throw new HostFailure('unsupported', `there is no ${scheme.oaep}`);
    const modulusBytes = this.#modulusBytes(wrappingKey);
    const head = wrapped.subarray(0, modulusBytes);
    const tail = wrapped.subarray(modulusBytes);
    const isTailPossible = scheme.isHybrid
      ? tail.length >= 2 * keyWrapBlockBytes && tail.length % keyWrapBlockBytes === 0 && tail.length <= maxKeyWrapBytes
      : tail.length === 0;
    if (head.length !== modulusBytes || !isTailPossible) throw cannotUnwrap();
    const paddedOutside = this.#profile.paddedOutside.some((name) => name === scheme.oaep);
    const ciphertext = { wrappingKey, head, algorithm, paddedOutside };
    if (scheme.isHybrid) return this.#withHybrid(ciphertext, tail, work);
    return this.#withDirect(ciphertext, work);
  }

  #withDirect<Result>(ciphertext: Ciphertext, work: (opened: OpenedMaterial) => Result): Result {
    const bytes = this.#profile.imports.software ? this.#look(ciphertext) : null;
    if (this.#profile.imports.software && bytes === null) throw cannotUnwrap();
    const unwrap = (template: readonly Attribute[]) => again(bytes, () => this.#unwrapOaep(ciphertext, template));
    try {
      return work({ bytes, unwrap: ciphertext.paddedOutside ? null : unwrap });
    } finally {
      bytes?.fill(0);
    }
  }

  #withHybrid<Result>(ciphertext: Ciphertext, tail: Buffer, work: (opened: OpenedMaterial) => Result): Result {
    let bytes: Buffer | null = null;
    let transport: Handle | null = null;
    try {
      if (this.#profile.imports.software) {
        const opened = this.#lookHybrid(ciphertext, tail);
        bytes = opened.bytes;
        try {
          transport = this.#createTransport(opened.key);
        } finally {
          opened.key.fill(0);
        }
      } else transport = this.#unwrapTransport(ciphertext);
      const [key, looked] = [transport, bytes];
      return work({ bytes, unwrap: (template) => again(looked, () => this.#unwrapTail(key, tail, template)) });
    } finally {
      bytes?.fill(0);
      if (transport !== null) this.destroy(transport);
    }
  }

  /** Destroys a session object. */
  destroy(object: Handle): void {
    try {
      this.#session.cryptoki.C_DestroyObject(this.#session.handle, object);
    } catch (error) {
      // It is a session object: whatever lost it, or its session, ended it.
      if (returnValueOf(error) === undefined) throw error;
    }
  }

  #modulusBytes(wrappingKey: Handle): number {
    const { cryptoki, handle } = this.#session;
    this.#session.step = 'C_GetAttributeValue';
    const modulus = readAttribute(cryptoki, handle, wrappingKey, 'CKA_MODULUS') ?? Buffer.alloc(0);
    return modulus.length - (modulus[0] === 0 ? 1 : 0);
  }

  #unwrapOaep({ wrappingKey, head, algorithm }: Ciphertext, template: readonly Attribute[]): Handle {
    return this.#unwrap('CKM_RSA_PKCS_OAEP', algorithm.mechanism, wrappingKey, head, template);
  }

  #unwrapTail(transport: Handle, tail: Buffer, template: readonly Attribute[]): Handle {
    const name = this.#profile.imports.keyWrap;
    if (name === null) throw new HostFailure('unsupported', 'the token has no mechanism for RFC 5649');
    return this.#unwrap(name, { mechanism: constant(name) }, transport, tail, template);
  }

  #unwrap(name: string, mechanism: Mechanism, key: Handle, wrapped: Buffer, template: readonly Attribute[]): Handle {
    const { cryptoki, handle } = this.#session;
    this.#session.step = `${name} C_UnwrapKey`;
    try {
      return cryptoki.C_UnwrapKey(handle, mechanism, key, wrapped, template);
    } catch (error) {
      if (this.#session.meaningOf(error) === 'callersFault') throw cannotUnwrap(error);
      throw error;
    }
  }

  /** What OAEP hides, in memory of its own, or `null` for whatever is wrong. The token's memory is this process (`imports.software`). */
  #look(ciphertext: Ciphertext): Buffer | null {
    try {
      return ciphertext.paddedOutside ? this.#decryptRaw(ciphertext) : this.#readOnce(ciphertext);
    } catch (error) {
      if (error instanceof HostFailure && error.failure === 'ciphertextInvalid') return null;
      throw error;
    }
  }

  #readOnce(ciphertext: Ciphertext): Buffer {
    const { cryptoki, handle } = this.#session;
    const object = this.#unwrapOaep(ciphertext, readableTemplate);
    try {
      this.#session.step = 'C_GetAttributeValue';
      const value = readAttribute(cryptoki, handle, object, 'CKA_VALUE');
      if (value === undefined) throw new HostFailure('internal', 'the token does not give out a readable secret');
      return value;
    } finally {
      this.destroy(object);
    }
  }

  #decryptRaw({ wrappingKey, head, algorithm }: Ciphertext): Buffer | null {
    const { cryptoki, handle } = this.#session;
    const encoded = Buffer.alloc(head.length);
    try {
      this.#session.step = 'CKM_RSA_X_509 C_DecryptInit';
      cryptoki.C_DecryptInit(handle, { mechanism: constant('CKM_RSA_X_509') }, wrappingKey);
      this.#session.step = 'CKM_RSA_X_509 C_Decrypt';
      const bytes = cryptoki.C_Decrypt(handle, head, encoded);
      if (bytes !== head.length) throw new HostFailure('internal', `CKM_RSA_X_509 C_Decrypt: ${bytes} bytes`);
      return decodeOaep(encoded, algorithm.hash);
    } catch (error) {
      if (error instanceof HostFailure || this.#session.meaningOf(error) !== 'callersFault') throw error;
      return null;
    } finally {
      encoded.fill(0);
    }
  }

  /** The AES key and what it opens. */
  #lookHybrid(ciphertext: Ciphertext, tail: Buffer): { readonly key: Buffer; readonly bytes: Buffer } {
    const found = this.#look(ciphertext);
    const isKey = found?.length === transportKeyBytes;
    const key = isKey ? found : randomBytes(transportKeyBytes);
    if (!isKey) found?.fill(0);
    const bytes = unwrapByOpenSsl(key, tail);
    if (bytes !== null && isKey) return { key, bytes };
    key.fill(0);
    bytes?.fill(0);
    throw cannotUnwrap();
  }

  #createTransport(value: Buffer): Handle {
    this.#session.step = 'C_CreateObject';
    const template = [...transportTemplate, { type: constant('CKA_VALUE'), value }];
    return this.#session.cryptoki.C_CreateObject(this.#session.handle, template);
  }

  #unwrapTransport(ciphertext: Ciphertext): Handle {
    const key = this.#unwrapOaep(ciphertext, transportTemplate);
    this.#session.step = 'C_GetAttributeValue';
    const told = ulong(readAttribute(this.#session.cryptoki, this.#session.handle, key, 'CKA_VALUE_LEN'));
    if (told === undefined || told === 0 || told === transportKeyBytes) return key;
    this.destroy(key);
    throw cannotUnwrap();
  }
}

/** One text for every way in which a ciphertext can be wrong. */
function cannotUnwrap(cause?: unknown): HostFailure {
  return new HostFailure('ciphertextInvalid', 'the wrapped key material cannot be unwrapped', { cause });
}

/** What was opened once and is now refused is no fault of whoever wrapped it: a token without room may say the same (SoftHSM2). */
function again<Result>(looked: Buffer | null, unwrap: () => Result): Result {
  try {
    return unwrap();
  } catch (error) {
    if (looked === null || !(error instanceof HostFailure) || error.failure !== 'ciphertextInvalid') throw error;
    throw new HostFailure('internal', 'the token does not unwrap what it is known to be able to', { cause: error });
  }
}

/** AES Key Wrap with Padding, as callers do it. */
export function wrapByOpenSsl(key: Buffer, material: Buffer): Buffer {
  const cipher = createCipheriv('id-aes256-wrap-pad', key, keyWrapIv);
  return Buffer.concat([cipher.update(material), cipher.final()]);
}

function unwrapByOpenSsl(key: Buffer, tail: Buffer): Buffer | null {
  const decipher = createDecipheriv('id-aes256-wrap-pad', key, keyWrapIv);
  try {
    const opened = decipher.update(tail);
    decipher.final();
    return opened;
  } catch {
    // The integrity check value is wrong, or the length in it: which of them nobody is told.
    return null;
  }
}

const flag = (name: string, value: boolean): Attribute => ({ type: constant(name), value });
const secretOf = (keyType: string, usages: readonly string[], isReadable: boolean): readonly Attribute[] => [
  { type: constant('CKA_CLASS'), value: constant('CKO_SECRET_KEY') },
  { type: constant('CKA_KEY_TYPE'), value: constant(keyType) },
  flag('CKA_TOKEN', false),
  flag('CKA_PRIVATE', true),
  flag('CKA_SENSITIVE', !isReadable),
  flag('CKA_EXTRACTABLE', isReadable),
  ...secretKeyUsageAttributes.map((name) => flag(name, usages.includes(name))),
];

/** The AES key that the caller made for the material: it unwraps, for as long as the call lasts. */
const transportTemplate = secretOf('CKK_AES', ['CKA_UNWRAP'], false);
/** Bytes of any kind, to be read once. */
const readableTemplate = secretOf('CKK_GENERIC_SECRET', [], true);
