/**
 * What each PKCS#11 return value means: one table, in the order of their numbers, and what mechanisms and vendors change.
 *
 * The meanings are defined in `vendor-profile.ts`. INVARIANT: nothing that a caller's ciphertext can provoke means
 * `tokenGone` or `restartHost`; a vendor whose library answers a bad ciphertext with an unusual value says so in its
 * profile (`returnValues`). A value that is not in the table means `internal`: the call fails loudly, nothing is
 * restarted, and the number is in the message for whoever writes the profile.
 *
 * Source: PKCS#11 3.1, section 5.1 "Function return values", and its header pkcs11t.h for the numbers.
 */

import type { ReturnValueMeaning, VendorProfile } from '../../vendor-profile.ts';
import { HostFailure } from './failures.ts';

const returnValues: readonly (readonly [code: number, name: string, meaning: ReturnValueMeaning])[] = [
  [0x001, 'CKR_CANCEL', 'busy'],
  [0x002, 'CKR_HOST_MEMORY', 'restartHost'],
  [0x003, 'CKR_SLOT_ID_INVALID', 'tokenGone'],
  [0x005, 'CKR_GENERAL_ERROR', 'restartHost'],
  // "Device busy" on network HSMs, in bursts. Where it is worse than that, the deadline of the call tells.
  [0x006, 'CKR_FUNCTION_FAILED', 'busy'],
  [0x007, 'CKR_ARGUMENTS_BAD', 'internal'],
  [0x008, 'CKR_NO_EVENT', 'internal'],
  [0x009, 'CKR_NEED_TO_CREATE_THREADS', 'internal'],
  [0x00a, 'CKR_CANT_LOCK', 'internal'],
  [0x010, 'CKR_ATTRIBUTE_READ_ONLY', 'internal'],
  [0x011, 'CKR_ATTRIBUTE_SENSITIVE', 'internal'],
  [0x012, 'CKR_ATTRIBUTE_TYPE_INVALID', 'internal'],
  [0x013, 'CKR_ATTRIBUTE_VALUE_INVALID', 'internal'],
  [0x01b, 'CKR_ACTION_PROHIBITED', 'internal'],
  [0x020, 'CKR_DATA_INVALID', 'internal'],
  [0x021, 'CKR_DATA_LEN_RANGE', 'internal'],
  [0x030, 'CKR_DEVICE_ERROR', 'busy'],
  [0x031, 'CKR_DEVICE_MEMORY', 'tokenFull'],
  [0x032, 'CKR_DEVICE_REMOVED', 'tokenGone'],
  [0x040, 'CKR_ENCRYPTED_DATA_INVALID', 'callersFault'],
  [0x041, 'CKR_ENCRYPTED_DATA_LEN_RANGE', 'callersFault'],
  [0x042, 'CKR_AEAD_DECRYPT_FAILED', 'callersFault'],
  [0x050, 'CKR_FUNCTION_CANCELED', 'busy'],
  [0x051, 'CKR_FUNCTION_NOT_PARALLEL', 'internal'],
  [0x054, 'CKR_FUNCTION_NOT_SUPPORTED', 'unsupported'],
  [0x060, 'CKR_KEY_HANDLE_INVALID', 'resolveAgain'],
  [0x062, 'CKR_KEY_SIZE_RANGE', 'keyUnavailable'],
  [0x063, 'CKR_KEY_TYPE_INCONSISTENT', 'keyUnavailable'],
  [0x064, 'CKR_KEY_NOT_NEEDED', 'internal'],
  [0x065, 'CKR_KEY_CHANGED', 'internal'],
  [0x066, 'CKR_KEY_NEEDED', 'internal'],
  [0x067, 'CKR_KEY_INDIGESTIBLE', 'keyUnavailable'],
  [0x068, 'CKR_KEY_FUNCTION_NOT_PERMITTED', 'keyUnavailable'],
  [0x069, 'CKR_KEY_NOT_WRAPPABLE', 'keyUnavailable'],
  [0x06a, 'CKR_KEY_UNEXTRACTABLE', 'keyUnavailable'],
  [0x070, 'CKR_MECHANISM_INVALID', 'unsupported'],
  [0x071, 'CKR_MECHANISM_PARAM_INVALID', 'unsupported'],
  [0x082, 'CKR_OBJECT_HANDLE_INVALID', 'resolveAgain'],
  // Left behind by a call that failed half-way; a new session has none.
  [0x090, 'CKR_OPERATION_ACTIVE', 'reopenSession'],
  [0x091, 'CKR_OPERATION_NOT_INITIALIZED', 'reopenSession'],
  [0x0a0, 'CKR_PIN_INCORRECT', 'pinRefused'],
  [0x0a1, 'CKR_PIN_INVALID', 'pinRefused'],
  [0x0a2, 'CKR_PIN_LEN_RANGE', 'pinRefused'],
  [0x0a3, 'CKR_PIN_EXPIRED', 'pinRefused'],
  [0x0a4, 'CKR_PIN_LOCKED', 'pinRefused'],
  [0x0b0, 'CKR_SESSION_CLOSED', 'reopenSession'],
  [0x0b1, 'CKR_SESSION_COUNT', 'busy'],
  [0x0b3, 'CKR_SESSION_HANDLE_INVALID', 'reopenSession'],
  [0x0b4, 'CKR_SESSION_PARALLEL_NOT_SUPPORTED', 'internal'],
  [0x0b5, 'CKR_SESSION_READ_ONLY', 'internal'],
  [0x0b6, 'CKR_SESSION_EXISTS', 'internal'],
  [0x0b7, 'CKR_SESSION_READ_ONLY_EXISTS', 'internal'],
  [0x0b8, 'CKR_SESSION_READ_WRITE_SO_EXISTS', 'internal'],
  [0x0c0, 'CKR_SIGNATURE_INVALID', 'callersFault'],
  [0x0c1, 'CKR_SIGNATURE_LEN_RANGE', 'callersFault'],
  [0x0d0, 'CKR_TEMPLATE_INCOMPLETE', 'internal'],
  [0x0d1, 'CKR_TEMPLATE_INCONSISTENT', 'internal'],
  [0x0e0, 'CKR_TOKEN_NOT_PRESENT', 'tokenGone'],
  [0x0e1, 'CKR_TOKEN_NOT_RECOGNIZED', 'tokenGone'],
  [0x0e2, 'CKR_TOKEN_WRITE_PROTECTED', 'unsupported'],
  [0x0f0, 'CKR_UNWRAPPING_KEY_HANDLE_INVALID', 'resolveAgain'],
  [0x0f1, 'CKR_UNWRAPPING_KEY_SIZE_RANGE', 'keyUnavailable'],
  [0x0f2, 'CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT', 'keyUnavailable'],
  [0x100, 'CKR_USER_ALREADY_LOGGED_IN', 'internal'],
  // The host has wiped its PIN; the API process starts another host with it.
  [0x101, 'CKR_USER_NOT_LOGGED_IN', 'tokenGone'],
  [0x102, 'CKR_USER_PIN_NOT_INITIALIZED', 'pinRefused'],
  [0x103, 'CKR_USER_TYPE_INVALID', 'internal'],
  [0x104, 'CKR_USER_ANOTHER_ALREADY_LOGGED_IN', 'internal'],
  [0x105, 'CKR_USER_TOO_MANY_TYPES', 'internal'],
  [0x110, 'CKR_WRAPPED_KEY_INVALID', 'callersFault'],
  [0x112, 'CKR_WRAPPED_KEY_LEN_RANGE', 'callersFault'],
  [0x113, 'CKR_WRAPPING_KEY_HANDLE_INVALID', 'resolveAgain'],
  [0x114, 'CKR_WRAPPING_KEY_SIZE_RANGE', 'keyUnavailable'],
  [0x115, 'CKR_WRAPPING_KEY_TYPE_INCONSISTENT', 'keyUnavailable'],
  [0x120, 'CKR_RANDOM_SEED_NOT_SUPPORTED', 'unsupported'],
  [0x121, 'CKR_RANDOM_NO_RNG', 'unsupported'],
  [0x130, 'CKR_DOMAIN_PARAMS_INVALID', 'unsupported'],
  [0x140, 'CKR_CURVE_NOT_SUPPORTED', 'unsupported'],
  // Our buffers hold whatever a call may return, so this is ours; the operation stays active and needs a new session.
  [0x150, 'CKR_BUFFER_TOO_SMALL', 'reopenSession'],
  [0x160, 'CKR_SAVED_STATE_INVALID', 'internal'],
  [0x170, 'CKR_INFORMATION_SENSITIVE', 'internal'],
  [0x180, 'CKR_STATE_UNSAVEABLE', 'internal'],
  [0x190, 'CKR_CRYPTOKI_NOT_INITIALIZED', 'restartHost'],
  [0x191, 'CKR_CRYPTOKI_ALREADY_INITIALIZED', 'internal'],
  [0x1a0, 'CKR_MUTEX_BAD', 'restartHost'],
  [0x1a1, 'CKR_MUTEX_NOT_LOCKED', 'restartHost'],
  [0x1b0, 'CKR_NEW_PIN_MODE', 'pinRefused'],
  [0x1b1, 'CKR_NEXT_OTP', 'pinRefused'],
  [0x1b5, 'CKR_EXCEEDED_MAX_ITERATIONS', 'busy'],
  [0x1b6, 'CKR_FIPS_SELF_TEST_FAILED', 'tokenGone'],
  [0x1b7, 'CKR_LIBRARY_LOAD_FAILED', 'restartHost'],
  [0x1b8, 'CKR_PIN_TOO_WEAK', 'pinRefused'],
  [0x1b9, 'CKR_PUBLIC_KEY_INVALID', 'callersFault'],
  [0x200, 'CKR_FUNCTION_REJECTED', 'keyUnavailable'],
  [0x201, 'CKR_TOKEN_RESOURCE_EXCEEDED', 'busy'],
  [0x202, 'CKR_OPERATION_CANCEL_FAILED', 'reopenSession'],
  [0x203, 'CKR_KEY_EXHAUSTED', 'keyUnavailable'],
  // PKCS#11 3.2.
  [0x209, 'CKR_PARAMETER_SET_NOT_SUPPORTED', 'unsupported'],
];

/** A padding or an integrity check value that is wrong, by the names that libraries have for it. */
const badWrapping: Readonly<Record<string, ReturnValueMeaning>> = {
  CKR_DATA_INVALID: 'callersFault',
  CKR_DATA_LEN_RANGE: 'callersFault',
  CKR_TEMPLATE_INCOMPLETE: 'callersFault',
  CKR_TEMPLATE_INCONSISTENT: 'callersFault',
};

/** What mechanisms change, whatever the vendor: `MECHANISM FUNCTION` → name → meaning. */
const mechanismReturnValues: Readonly<Record<string, Readonly<Record<string, ReturnValueMeaning>>>> = {
  'CKM_AES_GCM C_Decrypt': { CKR_DATA_INVALID: 'callersFault', CKR_DATA_LEN_RANGE: 'callersFault' },
  'CKM_RSA_PKCS_OAEP C_Decrypt': { CKR_DATA_INVALID: 'callersFault', CKR_DATA_LEN_RANGE: 'callersFault' },
  'CKM_RSA_PKCS_OAEP C_UnwrapKey': badWrapping,
  'CKM_AES_KEY_WRAP_KWP C_UnwrapKey': badWrapping,
  'CKM_AES_KEY_WRAP_PAD C_UnwrapKey': badWrapping,
  'CKM_RSA_X_509 C_Decrypt': { CKR_DATA_INVALID: 'callersFault', CKR_DATA_LEN_RANGE: 'callersFault' },
};

const rowByCode = new Map(returnValues.map(([code, name, meaning]) => [code, { name, meaning }]));
const codeByName = new Map(returnValues.map(([code, name]) => [name, code]));

/** `CKR_GENERAL_ERROR` for 5; a number that the table lacks is shown as it is. */
export function returnValueName(code: number): string {
  return rowByCode.get(code)?.name ?? `return value 0x${code.toString(16)}`;
}

/** The table with a vendor's changes. */
export class ReturnValues {
  readonly #overrides = new Map<string, Map<number, ReturnValueMeaning>>();

  /** Throws `HostFailure` (`misconfigured`) for a name that PKCS#11 does not have. */
  constructor(profile: VendorProfile) {
    for (const [step, values] of Object.entries(mechanismReturnValues)) this.#override(step, values);
    for (const row of profile.returnValues) this.#override(`${row.mechanism} ${row.function}`, row.values);
  }

  /** @param step What was being done: `C_GenerateRandom`, or mechanism and function, `CKM_AES_GCM C_Decrypt`. */
  meaning(code: number, step: string): ReturnValueMeaning {
    return this.#overrides.get(step)?.get(code) ?? rowByCode.get(code)?.meaning ?? 'internal';
  }

  #override(step: string, values: Readonly<Record<string, ReturnValueMeaning>>): void {
    const meanings = this.#overrides.get(step) ?? new Map<number, ReturnValueMeaning>();
    for (const [name, meaning] of Object.entries(values)) {
      const code = codeByName.get(name);
      if (code === undefined)
        throw new HostFailure('misconfigured', `\`${name}\` in the vendor profile is not a PKCS#11 return value`);
      meanings.set(code, meaning);
    }
    this.#overrides.set(step, meanings);
  }
}
