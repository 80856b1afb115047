/**
 * A program of one act: the security officer of a token trusts the public halves of joining pairs, which makes them objects under which keys
 * with `CKA_WRAP_WITH_TRUSTED` may be wrapped. He trusts these and no others: what he trusted of joining pairs before is destroyed, whoever
 * left it there, so an act that was interrupted is repeated or ended by the next one, and no keys are how his trust ends.
 *
 * It is a process of its own because a process logs in to a token as one user or as the other, and it reads everything from stdin because
 * arguments and environments can be seen by others. It logs in once: a wrong PIN is not tried again.
 *
 *     stdin   {"library", "libraryParameters", "token", "pin", "keys": [{"id", "label", "modulus", "exponent"}]} as one JSON object; id in
 *             hexadecimal digits, modulus and exponent in base64
 *     stdout  {"problem"}: why not, or null
 *
 * What he trusts cannot be changed or copied: whoever has the user's PIN could else give it another label, under which nobody ends it.
 * Source: PKCS#11 v3.1, 4.9 (CKA_TRUSTED), 4.4.1 (CKA_MODIFIABLE, CKA_COPYABLE), 5.6.8 (C_Login).
 */

import { readFileSync, writeSync } from 'node:fs';
import pkcs11js from 'pkcs11js';
import { attributeOf, findObjects, type LoggedIn, type OneLogin, withOneLogin } from './one-login.ts';

interface Key {
  readonly id: string;
  readonly label: string;
  readonly modulus: string;
  readonly exponent: string;
}

/** What of `key-carrying.ts` this program does not load. */
const labelPrefix = 'drawbridge:joining:';
const publicKeys = { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PUBLIC_KEY };

// Safe: the only program that starts this one wrote it.
const { keys, ...login } = JSON.parse(readFileSync(0, 'utf8')) as OneLogin & { readonly keys: readonly Key[] };
writeSync(1, `\n${JSON.stringify({ problem: problemOf() })}\n`);

function problemOf(): string | null {
  try {
    withOneLogin(login, pkcs11js.CKU_SO, trust);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function trust(at: LoggedIn): void {
  const { module, session } = at;
  for (const object of findObjects(at, [publicKeys])) {
    const isOurs = attributeOf(at, object, pkcs11js.CKA_LABEL)?.toString('utf8').startsWith(labelPrefix) === true;
    const isTrusted = attributeOf(at, object, pkcs11js.CKA_TRUSTED)?.[0] === 1;
    if (isOurs && isTrusted) module.C_DestroyObject(session, object);
  }
  const flag = (type: number, value: boolean) => ({ type, value });
  for (const { id, label, modulus, exponent } of keys)
    module.C_CreateObject(session, [
      publicKeys,
      { type: pkcs11js.CKA_ID, value: Buffer.from(id, 'hex') },
      { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_RSA },
      { type: pkcs11js.CKA_LABEL, value: label },
      { type: pkcs11js.CKA_MODULUS, value: Buffer.from(modulus, 'base64') },
      { type: pkcs11js.CKA_PUBLIC_EXPONENT, value: Buffer.from(exponent, 'base64') },
      flag(pkcs11js.CKA_TOKEN, true),
      flag(pkcs11js.CKA_PRIVATE, false),
      flag(pkcs11js.CKA_MODIFIABLE, false),
      flag(pkcs11js.CKA_COPYABLE, false),
      flag(pkcs11js.CKA_ENCRYPT, false),
      flag(pkcs11js.CKA_VERIFY, false),
      flag(pkcs11js.CKA_WRAP, true),
      flag(pkcs11js.CKA_TRUSTED, true),
    ]);
}
