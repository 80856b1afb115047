/**
 * Whether the token still opens its keys for the login of this process.
 *
 * NSS softoken encrypts each key object in its database under what it derives from the PIN, and changing the PIN encrypts them anew. A process
 * that logged in before goes on with the former one (measured, 3.87): it says of every object but those that it has copied that
 * a value is missing, and what it makes works in it and opens in no process that logs in later: the key is lost with the process.
 * So whoever makes an object has one opened that was there before, ahead of it and after it. Where one is opened, the login is good,
 * and another one that is not is damaged by itself.
 */

import { constant, type Handle, returnValueOf } from './cryptoki.ts';
import { HostFailure } from './failures.ts';
import type { TokenSession } from './token-session.ts';

/** Of so many at most one is looked for that is opened. */
const maxAsked = 16;

/** How libraries say that an object cannot be copied. */
export const copyRefusals: readonly string[] = [
  'CKR_ATTRIBUTE_READ_ONLY',
  'CKR_ACTION_PROHIBITED',
  'CKR_TEMPLATE_INCONSISTENT',
  'CKR_FUNCTION_NOT_SUPPORTED',
];

export const isSessionObject = { type: constant('CKA_TOKEN'), value: false };

/** The first that is opened; none where none of them says anything. Throws `HostFailure` (`tokenGone`) where all that do are not. */
export function firstOpened(session: TokenSession, objects: Iterable<Handle>): Handle | undefined {
  let isRefused = false;
  let asked = 0;
  for (const object of objects) {
    if (++asked > maxAsked) break;
    const isOpened = isOpenedBy(session, object);
    if (isOpened === true) return object;
    isRefused ||= isOpened === false;
  }
  if (isRefused) throw staleLogin();
  return undefined;
}

/** Throws `HostFailure` (`tokenGone`) for an object that was opened before and is not any more. */
export function assertOpened(session: TokenSession, object: Handle): void {
  if (isOpenedBy(session, object) === false) throw staleLogin();
}

/** `undefined` where that says nothing of the login: it is not there any more, or cannot be copied. */
function isOpenedBy(session: TokenSession, object: Handle): boolean | undefined {
  const { cryptoki, handle } = session;
  session.step = 'C_CopyObject';
  try {
    cryptoki.C_DestroyObject(handle, cryptoki.C_CopyObject(handle, object, [isSessionObject]));
    return true;
  } catch (error) {
    const code = returnValueOf(error);
    const cannotBeCopied = copyRefusals.some((name) => constant(name) === code);
    return session.meaningOf(error) === 'internal' && !cannotBeCopied ? false : undefined;
  }
}

function staleLogin(): HostFailure {
  return new HostFailure('tokenGone', 'the token opens no key for this login any more: its PIN may have been changed');
}
