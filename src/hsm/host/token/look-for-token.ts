/**
 * A program of one act: looks whether there is one token with this label or serial number, and whether it has a user PIN.
 *
 *     stdin   {"library", "libraryParameters", "token": {"label"} or {"serial"}} as one JSON object
 *     stdout  {"problem"}: why not, or null
 *
 * It logs in to nothing, and opens no session.
 */

import { readFileSync, writeSync } from 'node:fs';
import pkcs11js from 'pkcs11js';
import { becomeOwner } from '../../../secrets/act-as-owner.ts';
import { initializedLibrary } from './initialize-library.ts';

interface Task {
  readonly library: string;
  readonly libraryParameters: string | null;
  readonly token: { readonly label: string } | { readonly serial: string };
}

becomeOwner();
// Safe: the only program that starts this one wrote it.
const task = JSON.parse(readFileSync(0, 'utf8')) as Task;
writeSync(1, `\n${JSON.stringify({ problem: problemOf(task) })}\n`);

function problemOf({ library, libraryParameters, token }: Task): string | null {
  try {
    const module = initializedLibrary(library, libraryParameters);
    const found = module
      .C_GetSlotList(true)
      .map((slot) => module.C_GetTokenInfo(slot))
      .filter(({ label, serialNumber }) =>
        'label' in token ? unpadded(label) === token.label : unpadded(serialNumber) === token.serial,
      );
    const [only, ...others] = found;
    if (only === undefined) return 'there is no such token';
    if (others.length > 0) return `there are ${found.length} such tokens`;
    return (only.flags & pkcs11js.CKF_USER_PIN_INITIALIZED) === 0 ? 'the token has no user PIN' : null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function unpadded(text: string): string {
  return text.replace(/[\0 ]+$/, '');
}
