/**
 * A program of one act: reads, in the token that is to receive keys, the public half of a joining pair off its private half, if that was
 * generated in there and does nothing but unwrap.
 *
 *     stdin   {"library", "libraryParameters", "token", "pin", "id", "isGuarded", "notReadBack"} as one JSON object; id in hexadecimal digits
 *     stdout  {"problem", "modulus", "exponent"}: why not, or null; the numbers in base64
 *
 * Whoever has the user's PIN can put any object into the token, under any id and label. He cannot have one say that it was generated there
 * and never left (`CKA_LOCAL`, `CKA_ALWAYS_SENSITIVE`, `CKA_NEVER_EXTRACTABLE`), and everything is read off that one object. A pair that
 * decrypts would give him what was wrapped for it; and where the token holds to `CKA_UNWRAP_TEMPLATE` (`isGuarded`), so would one without
 * it, which is tried: what the pair unwraps must not be readable, nor leave under a key that nobody trusted.
 * Attributes that a token does not tell truly (`notReadBack`, by its profile) are not looked at.
 * Source: PKCS#11 v3.1, 4.9 (CKA_LOCAL, CKA_ALWAYS_SENSITIVE), 5.18.3 (C_UnwrapKey), 6.1.8 (RSA PKCS #1 OAEP).
 */

import { constants, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { readFileSync, writeSync } from 'node:fs';
import pkcs11js from 'pkcs11js';
import { attributeOf, findObjects, type LoggedIn, type OneLogin, withOneLogin } from './one-login.ts';

interface Task extends OneLogin {
  readonly id: string;
  readonly isGuarded: boolean;
  readonly notReadBack: readonly string[];
}

interface PublicHalf {
  readonly modulus: string;
  readonly exponent: string;
}

const musts: readonly (readonly [name: string, type: number, value: 0 | 1])[] = [
  ['CKA_LOCAL', pkcs11js.CKA_LOCAL, 1],
  ['CKA_SENSITIVE', pkcs11js.CKA_SENSITIVE, 1],
  ['CKA_ALWAYS_SENSITIVE', pkcs11js.CKA_ALWAYS_SENSITIVE, 1],
  ['CKA_EXTRACTABLE', pkcs11js.CKA_EXTRACTABLE, 0],
  ['CKA_NEVER_EXTRACTABLE', pkcs11js.CKA_NEVER_EXTRACTABLE, 1],
  ['CKA_UNWRAP', pkcs11js.CKA_UNWRAP, 1],
  ['CKA_DECRYPT', pkcs11js.CKA_DECRYPT, 0],
];

// Safe: the only program that starts this one wrote it.
const task = JSON.parse(readFileSync(0, 'utf8')) as Task;
writeSync(1, `\n${JSON.stringify(outcome(task))}\n`);

function outcome({
  id,
  isGuarded,
  notReadBack,
  ...login
}: Task): Partial<PublicHalf> & { readonly problem: string | null } {
  try {
    return {
      problem: null,
      ...withOneLogin(login, pkcs11js.CKU_USER, (at) => publicHalf(at, { id, isGuarded, notReadBack })),
    };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

function publicHalf(at: LoggedIn, { id, isGuarded, notReadBack }: Omit<Task, keyof OneLogin>): PublicHalf {
  const [pair, another] = findObjects(at, [
    { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
    { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_RSA },
    { type: pkcs11js.CKA_TOKEN, value: true },
    { type: pkcs11js.CKA_ID, value: Buffer.from(id, 'hex') },
  ]);
  if (pair === undefined) throw new Error('it has no such pair');
  if (another !== undefined) throw new Error('it has several pairs with this CKA_ID');
  const wrong = musts
    .filter(([name, type, value]) => !notReadBack.includes(name) && attributeOf(at, pair, type)?.[0] !== value)
    .map(([name]) => name);
  if (wrong.length > 0) throw new Error(`its pair is none that joins: ${wrong.join(', ')}`);
  const [modulus, exponent] = [pkcs11js.CKA_MODULUS, pkcs11js.CKA_PUBLIC_EXPONENT].map((type) =>
    attributeOf(at, pair, type)?.toString('base64'),
  );
  if (modulus === undefined || exponent === undefined) throw new Error('its pair does not tell its public half');
  if (isGuarded) assertGuarded(at, pair, { modulus, exponent });
  return { modulus, exponent };
}

function assertGuarded(at: LoggedIn, pair: pkcs11js.Handle, { modulus, exponent }: PublicHalf): void {
  const { module, session } = at;
  const [n, e] = [modulus, exponent].map((text) => Buffer.from(text, 'base64').toString('base64url'));
  const key = createPublicKey({ key: { kty: 'RSA', n: String(n), e: String(e) }, format: 'jwk' });
  const padded = { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha1' };
  const wrapped = publicEncrypt(padded, randomBytes(32));
  const parameter = {
    type: pkcs11js.CK_PARAMS_RSA_OAEP,
    hashAlg: pkcs11js.CKM_SHA_1,
    mgf: pkcs11js.CKG_MGF1_SHA1,
    // CKZ_DATA_SPECIFIED, with no data: OpenSSL's label is empty, too.
    source: 1,
  };
  const unwrap = (isSensitive: boolean, isGivenOnToTrusted: boolean): void => {
    const mechanism = { mechanism: pkcs11js.CKM_RSA_PKCS_OAEP, parameter };
    const object = module.C_UnwrapKey(session, mechanism, pair, wrapped, [
      { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY },
      { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_AES },
      { type: pkcs11js.CKA_TOKEN, value: false },
      { type: pkcs11js.CKA_PRIVATE, value: true },
      { type: pkcs11js.CKA_EXTRACTABLE, value: true },
      { type: pkcs11js.CKA_SENSITIVE, value: isSensitive },
      { type: pkcs11js.CKA_WRAP_WITH_TRUSTED, value: isGivenOnToTrusted },
    ]);
    module.C_DestroyObject(session, object);
  };
  // It unwraps; so what it refuses after that it refuses for the template.
  unwrap(true, true);
  for (const [isSensitive, isGivenOnToTrusted] of [
    [false, true],
    [true, false],
  ] as const) {
    let isRefused = false;
    try {
      unwrap(isSensitive, isGivenOnToTrusted);
    } catch {
      isRefused = true;
    }
    if (!isRefused) throw new Error('its pair is none that joins: CKA_UNWRAP_TEMPLATE');
  }
}
