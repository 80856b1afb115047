/**
 * A program of one act: the security officer of a token trusts the public half of a joining pair, which makes it an object under which keys with
 * `CKA_WRAP_WITH_TRUSTED` may be wrapped.
 *
 * It is a process of its own because a process logs in to a token as one user or as the other, and it reads everything from stdin because
 * arguments and environments can be seen by others. It logs in once: a wrong PIN is not tried again.
 *
 *     stdin   {"library", "libraryParameters", "token", "soPin", "id", "label", "modulus", "exponent"} as one JSON object; id in hexadecimal
 *             digits, modulus and exponent in base64
 *     stdout  {"problem"}: why not, or null
 *
 * What has the same `CKA_ID` and is a public key is destroyed first, so that an interrupted act can be repeated.
 * PKCS#11 takes PINs as strings here, which cannot be wiped: the process ends right after.
 * Source: PKCS#11 v3.1, 4.9 (CKA_TRUSTED), 5.6.8 (C_Login).
 */

import { readFileSync, writeSync } from 'node:fs';
import pkcs11js from 'pkcs11js';

interface Task {
  readonly library: string;
  readonly libraryParameters: string | null;
  readonly token: { readonly label: string } | { readonly serial: string };
  readonly soPin: string;
  readonly id: string;
  readonly label: string;
  readonly modulus: string;
  readonly exponent: string;
}

// Safe: the only program that starts this one wrote it.
const task = JSON.parse(readFileSync(0, 'utf8')) as Task;
writeSync(1, JSON.stringify({ problem: trust(task) }));

function trust({ library, libraryParameters, token, soPin, id, label, modulus, exponent }: Task): string | null {
  const module = new pkcs11js.PKCS11();
  try {
    module.load(library);
    // pkcs11js 2.1.7 loses the last character of the parameters; the blank is there to be lost.
    if (libraryParameters === null) module.C_Initialize();
    else module.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK, libraryParameters: `${libraryParameters} ` });
    const slots = module.C_GetSlotList(true).filter((slot) => {
      const info = module.C_GetTokenInfo(slot);
      return 'label' in token ? unpadded(info.label) === token.label : unpadded(info.serialNumber) === token.serial;
    });
    const [slot, ...others] = slots;
    if (slot === undefined) return 'there is no such token';
    if (others.length > 0) return `there are ${slots.length} such tokens`;
    const session = module.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
    module.C_Login(session, pkcs11js.CKU_SO, soPin);
    const identity = [
      { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PUBLIC_KEY },
      { type: pkcs11js.CKA_ID, value: Buffer.from(id, 'hex') },
    ];
    module.C_FindObjectsInit(session, identity);
    const former = module.C_FindObjects(session, 16);
    module.C_FindObjectsFinal(session);
    for (const object of former) module.C_DestroyObject(session, object);
    const flag = (type: number, value: boolean) => ({ type, value });
    module.C_CreateObject(session, [
      ...identity,
      { type: pkcs11js.CKA_KEY_TYPE, value: pkcs11js.CKK_RSA },
      { type: pkcs11js.CKA_LABEL, value: label },
      { type: pkcs11js.CKA_MODULUS, value: Buffer.from(modulus, 'base64') },
      { type: pkcs11js.CKA_PUBLIC_EXPONENT, value: Buffer.from(exponent, 'base64') },
      flag(pkcs11js.CKA_TOKEN, true),
      flag(pkcs11js.CKA_PRIVATE, false),
      flag(pkcs11js.CKA_ENCRYPT, false),
      flag(pkcs11js.CKA_VERIFY, false),
      flag(pkcs11js.CKA_WRAP, true),
      flag(pkcs11js.CKA_TRUSTED, true),
    ]);
    module.C_Logout(session);
    module.C_CloseSession(session);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function unpadded(text: string): string {
  return text.replace(/[\0 ]+$/, '');
}
