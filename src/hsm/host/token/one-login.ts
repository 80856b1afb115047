/**
 * For programs of one act that log in to a token: one session, one login, and the library is left by the end of the process. What a
 * crash of the library leaves has no PIN in it.
 */

import pkcs11js from 'pkcs11js';
import { becomeOwner } from '../../../secrets/act-as-owner.ts';
import { disableCoreDumps } from '../../../secrets/core-dumps.ts';
import type { VendorProfile } from '../../vendor-profile.ts';
import { initializedLibrary } from './initialize-library.ts';
import { assertRoomForLogin } from './room-for-login.ts';

export interface OneLogin {
  readonly library: string;
  readonly libraryParameters: string | null;
  readonly token: { readonly label: string } | { readonly serial: string };
  /** As the vendor profile has it. */
  readonly rewrittenAtLogin: VendorProfile['rewrittenAtLogin'];
  /** PKCS#11 takes PINs as strings here, which cannot be wiped: the process ends right after. */
  readonly pin: string;
}

export interface LoggedIn {
  readonly module: pkcs11js.PKCS11;
  readonly session: pkcs11js.Handle;
}

/**
 * Logs in once: a wrong PIN is not tried again, and none is presented as the last try that the token has by its own account, nor to one that
 * would be lost because its disk is full, as in `open-token.ts`.
 * @param user `CKU_USER` or `CKU_SO`.
 * @throws whatever the library throws, and Error when there is no such token or there are several, or no room.
 */
export function withOneLogin<Result>(
  { library, libraryParameters, token, rewrittenAtLogin, pin }: OneLogin,
  user: number,
  work: (at: LoggedIn) => Result,
): Result {
  becomeOwner();
  disableCoreDumps();
  const module = initializedLibrary(library, libraryParameters);
  const slots = module.C_GetSlotList(true).filter((slot) => {
    const info = module.C_GetTokenInfo(slot);
    return 'label' in token ? unpadded(info.label) === token.label : unpadded(info.serialNumber) === token.serial;
  });
  const [slot, ...others] = slots;
  if (slot === undefined) throw new Error('there is no such token');
  if (others.length > 0) throw new Error(`there are ${slots.length} such tokens`);
  const { flags } = module.C_GetTokenInfo(slot);
  if (lastTryOf(user).every((flag) => (flags & flag) !== 0))
    throw new Error(
      "the PIN is not presented, because the token was given wrong ones and locks itself at the next (CKF_…_PIN_FINAL_TRY); log in to it with the right one by the vendor's tool",
    );
  assertRoomForLogin(rewrittenAtLogin);
  const session = module.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
  module.C_Login(session, user, pin);
  const result = work({ module, session });
  module.C_Logout(session);
  module.C_CloseSession(session);
  return result;
}

/** The flags that a token has both when wrong PINs were given to it and the next one locks it. */
function lastTryOf(user: number): readonly number[] {
  return user === pkcs11js.CKU_SO
    ? [pkcs11js.CKF_SO_PIN_COUNT_LOW, pkcs11js.CKF_SO_PIN_FINAL_TRY]
    : [pkcs11js.CKF_USER_PIN_COUNT_LOW, pkcs11js.CKF_USER_PIN_FINAL_TRY];
}

export function findObjects(
  { module, session }: LoggedIn,
  template: readonly { readonly type: number; readonly value: Buffer | number | boolean | string }[],
): readonly pkcs11js.Handle[] {
  const found: pkcs11js.Handle[] = [];
  module.C_FindObjectsInit(session, [...template]);
  for (;;) {
    const batch = module.C_FindObjects(session, 64);
    if (batch.length === 0) break;
    found.push(...batch);
  }
  module.C_FindObjectsFinal(session);
  return found;
}

/** Absent where the token does not tell. */
export function attributeOf({ module, session }: LoggedIn, object: pkcs11js.Handle, type: number): Buffer | undefined {
  try {
    const [found] = module.C_GetAttributeValue(session, object, [{ type }]);
    return Buffer.isBuffer(found?.value) ? found.value : undefined;
  } catch {
    return undefined;
  }
}

function unpadded(text: string): string {
  return text.replace(/[\0 ]+$/, '');
}
