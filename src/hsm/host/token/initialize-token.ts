/**
 * A program of one act: makes a token out of an uninitialised slot, with a label, a security officer's PIN and a user PIN.
 *
 * It is a process of its own because it loads the vendor's library, and it reads everything from stdin because
 * arguments and environments can be seen by others (`softhsm2-util` takes PINs as arguments or from a terminal, and
 * nothing else). INVARIANT: an initialised token is never touched, so no key can be lost to it.
 *
 *     stdin   {"library", "libraryParameters", "label", "soPin", "pin"} as one JSON object
 *     stdout  {"serial"} on success, {"error"} otherwise
 *
 * PKCS#11 takes PINs as strings here, which cannot be wiped: the process ends right after.
 * Source: PKCS#11 v3.0, 5.5 (C_InitToken, C_InitPIN).
 */

import { readFileSync, writeSync } from 'node:fs';
import pkcs11js from 'pkcs11js';
import { becomeOwner } from '../../../secrets/act-as-owner.ts';
import { disableCoreDumps } from '../../../secrets/core-dumps.ts';
import { initializedLibrary } from './initialize-library.ts';

interface Task {
  readonly library: string;
  readonly libraryParameters: string | null;
  readonly label: string;
  readonly soPin: string;
  readonly pin: string;
}

const labelBytes = 32;

becomeOwner();
disableCoreDumps();
// Safe: the only program that starts this one wrote it.
const task = JSON.parse(readFileSync(0, 'utf8')) as Task;
writeSync(1, `\n${JSON.stringify(initialize(task))}\n`);

function initialize({ library, libraryParameters, label, soPin, pin }: Task): { serial: string } | { error: string } {
  try {
    const module = initializedLibrary(library, libraryParameters);
    const slots = module.C_GetSlotList(true);
    const flagsOf = (slot: Buffer): number => module.C_GetTokenInfo(slot).flags;
    const free = slots.find((slot) => (flagsOf(slot) & pkcs11js.CKF_TOKEN_INITIALIZED) === 0);
    if (free === undefined) return { error: `none of the ${slots.length} slots has an uninitialised token` };
    if (slots.some((slot) => labelOf(module, slot) === label))
      return { error: `there is a token \`${label}\` already` };
    // The specification wants 32 bytes padded with blanks, and pkcs11js passes on exactly what it gets.
    module.C_InitToken(free, soPin, label.padEnd(labelBytes));
    // SoftHSM2 gives a fresh token another slot, so it is looked up by its label again.
    const made = module.C_GetSlotList(true).find((slot) => labelOf(module, slot) === label);
    if (made === undefined) return { error: 'the library made a token that it does not list' };
    const session = module.C_OpenSession(made, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
    module.C_Login(session, pkcs11js.CKU_SO, soPin);
    module.C_InitPIN(session, pin);
    module.C_CloseSession(session);
    return { serial: module.C_GetTokenInfo(made).serialNumber.trim() };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

function labelOf(module: pkcs11js.PKCS11, slot: Buffer): string {
  const { flags, label } = module.C_GetTokenInfo(slot);
  return (flags & pkcs11js.CKF_TOKEN_INITIALIZED) === 0 ? '' : label.trimEnd();
}
