/** Why a token could not be opened, for whoever tells of it by codes: from the texts that operators are told, in the one place that knows them. */

import { HostOpenError } from './hsm-host.ts';

export type OpenFailure = 'pinLocked' | 'pinNotInitialized' | 'pinRefused' | 'tokenAbsent' | 'noAnswer' | 'other';

const pinTexts = /PIN refused|CKR_PIN_|CKR_USER_PIN_/;

/** In order: the first whose text it is. They are those of `host/process/open-token.ts` and `hsm-host.ts`. */
const texts: readonly (readonly [RegExp, OpenFailure])[] = [
  [/CKR_PIN_LOCKED|CKF_USER_PIN_FINAL_TRY/, 'pinLocked'],
  [/CKR_USER_PIN_NOT_INITIALIZED/, 'pinNotInitialized'],
  [pinTexts, 'pinRefused'],
  [
    /no token has the|is not initialised; no PIN|CKR_TOKEN_NOT_(?:PRESENT|RECOGNIZED)|CKR_DEVICE_REMOVED|CKR_SLOT_ID_INVALID/,
    'tokenAbsent',
  ],
  [/did not open the token within/, 'noAnswer'],
];

/** @param error What a `BegunKeyStore` was not connected for, or the events of one told. */
export function openFailureOf(error: unknown): OpenFailure {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { message } = cause;
    const found = texts.find(([text]) => text.test(message));
    if (found !== undefined) return found[1];
    if (cause instanceof HostOpenError && cause.kind === 'pinRefused') return 'pinRefused';
  }
  return 'other';
}
