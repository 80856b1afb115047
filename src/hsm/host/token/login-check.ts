/**
 * Whether the token is still the one that this process logged in to, and opens its keys for that login.
 *
 * NSS softoken encrypts each key object in its database under what it derives from the PIN, and changing the PIN encrypts them anew. A process
 * that logged in before goes on with the former one (measured, 3.87): it says of every object but those that it has copied that
 * a value is missing, and what it makes works in it and opens in no process that logs in later: the key is lost with the process.
 * SoftHSM2 (2.6.1) does the same when its token is initialised anew: its objects are gone, what was copied works, and what
 * is made is encrypted under a key that went with the former token.
 * So whoever makes an object has one opened that was there before, ahead of it and after it. Where one is opened, all is well,
 * and another one that is not is damaged, or was removed, by itself.
 */

import { constant, type Handle, returnValueOf } from './cryptoki.ts';
import { HostFailure } from './failures.ts';
import { readAttribute } from './key-attributes.ts';
import type { TokenSession } from './token-session.ts';

/** Of so many at most one is looked for that is opened. */
export const maxAsked = 16;

/** How libraries say that an object cannot be copied. */
export const copyRefusals: readonly string[] = [
  'CKR_ATTRIBUTE_READ_ONLY',
  'CKR_ACTION_PROHIBITED',
  'CKR_TEMPLATE_INCONSISTENT',
  'CKR_FUNCTION_NOT_SUPPORTED',
];

export const isSessionObject = { type: constant('CKA_TOKEN'), value: false };

/** What asking for an object says of the login. `silent`: nothing, because it cannot be copied. */
type Answer = 'opened' | 'refused' | 'gone' | 'silent';

/** Copies of token objects are used, and say whether one is opened; else only whether it is there. */
export interface CheckedObjects {
  /** `maxAsked` of them, the oldest first. */
  readonly objects: readonly Handle[];
  readonly areCopied: boolean;
}

/** The first that is opened; none where that cannot be told. Throws `HostFailure` (`tokenGone`) where none is, and where none is there. */
export function firstOpened(session: TokenSession, { objects, areCopied }: CheckedObjects): Handle | undefined {
  const answers = new Set<Answer>();
  for (const object of objects) {
    const answer = areCopied ? copying(session, object) : looking(session, object);
    if (answer === 'opened') return object;
    answers.add(answer);
  }
  if (answers.has('refused')) throw staleLogin();
  if (answers.has('gone') && answers.size === 1) throw otherToken();
  return undefined;
}

/** Throws `HostFailure` (`tokenGone`) for an object that was opened before and is not any more. */
export function assertOpened(session: TokenSession, object: Handle, areCopied: boolean): void {
  const answer = areCopied ? copying(session, object) : looking(session, object);
  if (answer === 'refused') throw staleLogin();
  if (answer === 'gone') throw otherToken();
}

/** Is the object not there any more, whatever was copied of it? */
export function isGone(session: TokenSession, object: Handle): boolean {
  return looking(session, object) === 'gone';
}

function copying(session: TokenSession, object: Handle): Answer {
  const { cryptoki, handle } = session;
  session.step = 'C_CopyObject';
  try {
    cryptoki.C_DestroyObject(handle, cryptoki.C_CopyObject(handle, object, [isSessionObject]));
    return 'opened';
  } catch (error) {
    const code = returnValueOf(error);
    if (copyRefusals.some((name) => constant(name) === code)) return 'silent';
    const meaning = session.meaningOf(error);
    return meaning === 'resolveAgain' ? 'gone' : meaning === 'internal' ? 'refused' : 'silent';
  }
}

function looking(session: TokenSession, object: Handle): Answer {
  session.step = 'C_GetAttributeValue';
  try {
    readAttribute(session.cryptoki, session.handle, object, 'CKA_ID');
    return 'opened';
  } catch (error) {
    return session.meaningOf(error) === 'resolveAgain' ? 'gone' : 'silent';
  }
}

function staleLogin(): HostFailure {
  return new HostFailure('tokenGone', 'the token opens no key for this login any more: its PIN may have been changed');
}

function otherToken(): HostFailure {
  return new HostFailure('tokenGone', 'none of the keys of this login is there any more: the token may be another one');
}
