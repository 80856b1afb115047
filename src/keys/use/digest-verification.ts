/**
 * Verifies a signature over a digest, or over the mu of ML-DSA, with the OpenSSL that is part of Node.js.
 *
 * `crypto.verify` always hashes, and the message behind a digest or a mu is not known here. What it calls underneath does not:
 * `EVP_PKEY_verify`, which Node.js exports for add-ons (Node.js documentation, "C++ addons", "Linking to libraries included
 * with Node.js") and which is called here through koffi. So a message and its digest are judged by the same code.
 * Rejected: a verification in the HSM, which would cost it as much as a signature; `@noble/curves`, ten times slower for
 * P-256 and on the thread that serves everybody.
 *
 * The calls are synchronous, because OpenSSL keeps a queue of errors for each thread and an asynchronous call could leave
 * one behind on a thread of others. Keys, digests and signatures are public. Every object is freed before this returns, but for
 * the keys: OpenSSL's own form of one is kept for as long as it is among the last that were used. To make it costs as much as
 * the verification of a signature on P-256 (export 44 µs and parsing 13, of 134; verifying 60).
 *
 * Sources: OpenSSL 3, EVP_PKEY_verify(3), EVP_PKEY_CTX_ctrl(3), d2i_PUBKEY(3), BIO_s_mem(3); 3.5, EVP_SIGNATURE-ML-DSA(7).
 */

import type { KeyObject } from 'node:crypto';
import koffi from 'koffi';
import { maxParsedPublicKeys } from '../../kms/budgets.ts';
import { RecentlyUsed } from './recently-used.ts';
import type { SignatureScheme } from './signing-algorithms.ts';

/** RSA_PKCS1_PADDING and RSA_PKCS1_PSS_PADDING of openssl/rsa.h. */
const paddings: Readonly<Partial<Record<SignatureScheme, number>>> = { PKCS1: 1, PSS: 6 };
/** RSA_PSS_SALTLEN_DIGEST: the salt is as long as the hash, no other length is taken. */
const saltAsLongAsHash = -1;
/** The parameter by which OpenSSL 3.5 is told that what it verifies is a mu and no message (EVP_SIGNATURE-ML-DSA(7)). */
const muParameter = { name: 'mu', value: '1' } as const;

export interface SignedDigest {
  readonly publicKey: KeyObject;
  readonly scheme: SignatureScheme;
  /** As OpenSSL calls it: `sha256`. */
  readonly hashName: string;
  readonly digest: Buffer;
  readonly signature: Buffer;
}

/** Is this a signature over that digest? `false` for whatever is wrong with the signature. */
export function verifyDigest({ publicKey, scheme, hashName, digest, signature }: SignedDigest): boolean {
  return verify(publicKey, { signature, signed: digest }, (functions, context) => {
    succeeded(functions.beginVerify(context));
    const padding = paddings[scheme];
    if (padding !== undefined) succeeded(functions.setPadding(context, padding));
    succeeded(functions.setHash(context, given(functions.hashByName(hashName))));
    if (scheme === 'PSS') succeeded(functions.setSaltLength(context, saltAsLongAsHash));
  });
}

export interface SignedMu {
  /** Of ML-DSA. */
  readonly publicKey: KeyObject;
  /** FIPS 204, section 6.2: 64 bytes, in which public key, context and message went. */
  readonly mu: Buffer;
  readonly signature: Buffer;
}

/** Is this a signature over the message that `mu` was made from? `false` for whatever is wrong with the signature. */
export function verifyMu({ publicKey, mu, signature }: SignedMu): boolean {
  opensslForMu ??= declareFunctionsForMu();
  const functions = opensslForMu;
  return verify(publicKey, { signature, signed: mu }, (_functions, context) => {
    const algorithm = given(functions.signatureByName(null, publicKey.asymmetricKeyType?.toUpperCase() ?? '', null));
    try {
      succeeded(functions.beginVerifyMessage(context, algorithm, null));
      succeeded(functions.setParameter(context, muParameter.name, muParameter.value));
    } finally {
      functions.freeSignature(algorithm);
    }
  });
}

function verify(
  publicKey: KeyObject,
  { signature, signed }: { readonly signature: Buffer; readonly signed: Buffer },
  prepare: (functions: OpenSsl, context: unknown) => void,
): boolean {
  openssl ??= declareFunctions();
  const context = openssl.newContext(nativeKey(openssl, publicKey), null);
  try {
    prepare(openssl, given(context));
    return openssl.verify(context, signature, signature.length, signed, signed.length) === 1;
  } finally {
    openssl.freeContext(context);
    openssl.clearErrors();
  }
}

/** INVARIANT: only `verify` takes one out, and it is done with it before another is added, which may free it. */
const nativeKeys = new RecentlyUsed<KeyObject, unknown>(maxParsedPublicKeys, (key) => openssl?.freeKey(key));

function nativeKey(functions: OpenSsl, publicKey: KeyObject): unknown {
  const known = nativeKeys.get(publicKey);
  if (known !== undefined) return known;
  const info = publicKey.export({ format: 'der', type: 'spki' });
  const bio = given(functions.newMemoryBio(info, info.length));
  const key = functions.readPublicKey(bio, null);
  functions.freeBio(bio);
  nativeKeys.add(publicKey, given(key));
  return key;
}

type OpenSsl = ReturnType<typeof declareFunctions>;

let openssl: OpenSsl | undefined;

/** Found when the first digest comes, so that a Node.js without these symbols fails for digests alone. */
function declareFunctions() {
  const own = koffi.load(null);
  return {
    newMemoryBio: own.func('void *BIO_new_mem_buf(const uint8_t *bytes, int length)'),
    freeBio: own.func('int BIO_free(void *bio)'),
    readPublicKey: own.func('void *d2i_PUBKEY_bio(void *bio, void *reused)'),
    freeKey: own.func('void EVP_PKEY_free(void *key)'),
    newContext: own.func('void *EVP_PKEY_CTX_new(void *key, void *engine)'),
    freeContext: own.func('void EVP_PKEY_CTX_free(void *context)'),
    beginVerify: own.func('int EVP_PKEY_verify_init(void *context)'),
    setPadding: own.func('int EVP_PKEY_CTX_set_rsa_padding(void *context, int padding)'),
    hashByName: own.func('void *EVP_get_digestbyname(const char *name)'),
    setHash: own.func('int EVP_PKEY_CTX_set_signature_md(void *context, void *hash)'),
    setSaltLength: own.func('int EVP_PKEY_CTX_set_rsa_pss_saltlen(void *context, int lengthBytes)'),
    verify: own.func(
      'int EVP_PKEY_verify(void *context, const uint8_t *signature, size_t signatureBytes, const uint8_t *digest, size_t digestBytes)',
    ),
    clearErrors: own.func('void ERR_clear_error(void)'),
  };
}

let opensslForMu: ReturnType<typeof declareFunctionsForMu> | undefined;

/** Apart from the others, because the OpenSSL 3.0 of a Node.js before 24.5 does not have them all. */
function declareFunctionsForMu() {
  const own = koffi.load(null);
  return {
    signatureByName: own.func('void *EVP_SIGNATURE_fetch(void *library, const char *name, const char *properties)'),
    freeSignature: own.func('void EVP_SIGNATURE_free(void *algorithm)'),
    beginVerifyMessage: own.func('int EVP_PKEY_verify_message_init(void *context, void *algorithm, void *parameters)'),
    setParameter: own.func('int EVP_PKEY_CTX_ctrl_str(void *context, const char *name, const char *value)'),
  };
}

function given(pointer: unknown): unknown {
  if (pointer === null) throw new TypeError('OpenSSL could not take a public key');
  return pointer;
}

function succeeded(result: unknown): void {
  if (result !== 1) throw new TypeError('OpenSSL could not prepare the verification of a digest');
}
