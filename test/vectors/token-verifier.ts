/**
 * Verifies signatures inside of a token, with public keys that are imported as session objects: what Drawbridge never does,
 * so that its own verification, outside of the HSM, can be compared with the token's.
 *
 * Mechanisms that hash are used where both tokens have them (RSA), so that even the hashing is the token's. ECDSA is
 * verified over the digest, and its DER signature becomes PKCS#11's r‖s; one that is not strict DER has no such form.
 *
 * Source: PKCS#11 3.1, sections 6.1.6 and 6.1.10 (RSA), 6.3.12 (ECDSA), 6.3.16 (EdDSA).
 */

import { createHash, type KeyObject } from 'node:crypto';
import {
  type Attribute,
  type Cryptoki,
  constant,
  type Handle,
  type Mechanism,
  returnValueOf,
} from '../../src/hsm/host/token/cryptoki.ts';
import type { InProcessHost } from '../hsm/host/in-process.ts';
import { curveParams } from './imported-keys.ts';

/** The native functions of pkcs11js that the host does not call. */
interface Verification extends Cryptoki {
  C_VerifyInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_Verify(session: Handle, message: Buffer, signature: Buffer): boolean;
}

/** How a token says that a signature is bad. */
const badSignature = new Set(['CKR_SIGNATURE_INVALID', 'CKR_SIGNATURE_LEN_RANGE'].map(constant));

/** How NSS 3.87 says that it knows neither secp256k1 nor Edwards curves. */
const unknownKind = new Set(['CKR_DOMAIN_PARAMS_INVALID', 'CKR_ATTRIBUTE_VALUE_INVALID'].map(constant));

export class TokenVerifier {
  readonly #cryptoki: Verification;
  readonly #session: Handle;

  constructor(host: InProcessHost) {
    this.#cryptoki = host.cryptoki as Verification; // The native class has every function of PKCS#11.
    this.#session = host.session.handle;
  }

  /** A handle of it in the token, or `undefined` when the token knows no such keys. */
  import(publicKey: KeyObject): Handle | undefined {
    const {
      kty,
      crv = '',
      n = '',
      e = '',
      x = '',
      y = '',
    } = publicKey.export({ format: 'jwk' }) as JsonWebKeyOfPublicKey;
    const bytes = (base64url: string): Buffer => Buffer.from(base64url, 'base64url');
    const common: Attribute[] = [
      { type: constant('CKA_CLASS'), value: constant('CKO_PUBLIC_KEY') },
      { type: constant('CKA_TOKEN'), value: false },
      { type: constant('CKA_VERIFY'), value: true },
    ];
    const specific: Attribute[] =
      kty === 'RSA'
        ? [
            { type: constant('CKA_KEY_TYPE'), value: constant('CKK_RSA') },
            { type: constant('CKA_MODULUS'), value: bytes(n) },
            { type: constant('CKA_PUBLIC_EXPONENT'), value: bytes(e) },
          ]
        : [
            { type: constant('CKA_KEY_TYPE'), value: constant(kty === 'EC' ? 'CKK_EC' : 'CKK_EC_EDWARDS') },
            { type: constant('CKA_EC_PARAMS'), value: Buffer.from(curveParams.get(crv) ?? '', 'hex') },
            {
              type: constant('CKA_EC_POINT'),
              value: octetString(kty === 'EC' ? Buffer.concat([Buffer.from([4]), bytes(x), bytes(y)]) : bytes(x)),
            },
          ];
    try {
      return this.#cryptoki.C_CreateObject(this.#session, [...common, ...specific]);
    } catch (error) {
      if (unknownKind.has(returnValueOf(error) ?? -1)) return undefined;
      throw error;
    }
  }

  destroy(key: Handle): void {
    this.#cryptoki.C_DestroyObject(this.#session, key);
  }

  verify(key: Handle, mechanism: Mechanism, message: Buffer, signature: Buffer): boolean {
    this.#cryptoki.C_VerifyInit(this.#session, mechanism, key);
    try {
      return this.#cryptoki.C_Verify(this.#session, withAddress(message), withAddress(signature));
    } catch (error) {
      if (badSignature.has(returnValueOf(error) ?? -1)) return false;
      throw error;
    }
  }
}

/** An empty buffer of its own has no address, and libraries take a null pointer for a mistake. */
function withAddress(bytes: Buffer): Buffer {
  return bytes.length === 0 ? Buffer.alloc(1).subarray(1) : bytes;
}

interface JsonWebKeyOfPublicKey {
  readonly kty: 'RSA' | 'EC' | 'OKP';
  readonly crv?: string;
  readonly n?: string;
  readonly e?: string;
  readonly x?: string;
  readonly y?: string;
}

/** The token's way to verify an algorithm of KMS: mechanism, and what it is given for a message and a signature. */
export interface TokenAlgorithm {
  readonly mechanism: Mechanism;
  message(message: Buffer): Buffer;
  /** `undefined`: the signature has no form that a token could be asked about. */
  signature(signature: Buffer): Buffer | undefined;
}

const asItIs = { message: (message: Buffer) => message, signature: (signature: Buffer) => signature };

/** @param hashBits 256, 384 or 512. */
export function pkcs1(hashBits: number): TokenAlgorithm {
  return { mechanism: { mechanism: constant(`CKM_SHA${hashBits}_RSA_PKCS`) }, ...asItIs };
}

export function pss(hashBits: number): TokenAlgorithm {
  const parameter = {
    type: constant('CK_PARAMS_RSA_PSS'),
    hashAlg: constant(`CKM_SHA${hashBits}`),
    mgf: constant(`CKG_MGF1_SHA${hashBits}`),
    saltLen: hashBits / 8,
  };
  return { mechanism: { mechanism: constant(`CKM_SHA${hashBits}_RSA_PKCS_PSS`), parameter }, ...asItIs };
}

export function ecdsa(hashBits: number, fieldBytes: number): TokenAlgorithm {
  return {
    mechanism: { mechanism: constant('CKM_ECDSA') },
    message: (message) => createHash(`sha${hashBits}`).update(message).digest(),
    signature: (signature) => rawEcdsa(signature, fieldBytes),
  };
}

export const ed25519: TokenAlgorithm = { mechanism: { mechanism: constant('CKM_EDDSA') }, ...asItIs };

function octetString(bytes: Buffer): Buffer {
  const length = bytes.length < 128 ? [bytes.length] : [0x81, bytes.length];
  return Buffer.concat([Buffer.from([0x04, ...length]), bytes]);
}

/** r‖s of a strict DER `ECDSA-Sig-Value`, or `undefined` for any other encoding and for numbers that do not fit. */
function rawEcdsa(der: Buffer, fieldBytes: number): Buffer | undefined {
  const outer = element(der, 0x30);
  const r = outer === undefined ? undefined : element(outer.value, 0x02);
  const s = r === undefined ? undefined : element(r.rest, 0x02);
  if (outer?.rest.length !== 0 || s?.rest.length !== 0) return undefined;
  const numbers = [r?.value, s.value].map((value) => fixedWidth(value, fieldBytes));
  return numbers.includes(undefined) ? undefined : Buffer.concat(numbers as Buffer[]); // None is undefined.
}

/** A DER element with that tag, and what follows it. */
function element(bytes: Buffer, tag: number): { readonly value: Buffer; readonly rest: Buffer } | undefined {
  const [found, first = 0x80, second = 0] = bytes;
  const isLong = first === 0x81 && second >= 0x80;
  if (found !== tag || (first >= 0x80 && !isLong)) return undefined;
  const [begin, length] = isLong ? [3, second] : [2, first];
  if (bytes.length < begin + length) return undefined;
  return { value: bytes.subarray(begin, begin + length), rest: bytes.subarray(begin + length) };
}

/** A DER INTEGER, not negative and in the shortest form, as so many bytes. */
function fixedWidth(value: Buffer | undefined, bytes: number): Buffer | undefined {
  const [first = 0x80, second = 0] = value ?? [];
  if (value === undefined || first >= 0x80 || (first === 0 && value.length > 1 && second < 0x80)) return undefined;
  const digits = first === 0 ? value.subarray(1) : value;
  return digits.length > bytes ? undefined : Buffer.concat([Buffer.alloc(bytes - digits.length), digits]);
}
