/**
 * What uses a key while it gets another place (`keys/moves/key-moves.ts`) may come late: it found the old place on record, and the HSM has
 * nothing there any more. It is done again then, with what is on record by now and every permission asked for again. Nobody notices.
 *
 * Everything that `uses` keys may be done twice: it leaves nothing behind but numbers of a counter. What succeeds at once never comes here.
 */

import { KeyStoreError } from '../hsm/key-store.ts';
import type { KeyView } from '../keys/key-view.ts';
import type { BackingKey, KmsKey } from '../keys/kms-key.ts';
import { KmsError } from '../kms/errors.ts';
import type { AuthorizedKeys } from './authorization.ts';

/** Material of one key moves piece by piece, and ReEncrypt uses two keys. */
const maxTries = 4;

/**
 * @param failure Of the use.
 * @param used With which keys, each time.
 * @param again Asks for every permission again, sets the keys, and uses them.
 * @throws the failure, where it is not for a key's having moved; and what the last try ends with.
 */
export async function useWhereMoved<Result>(
  failure: unknown,
  used: { readonly keys: AuthorizedKeys | undefined },
  directory: Pick<KeyView, 'findSoundKey'>,
  again: () => Promise<Result>,
): Promise<Result> {
  let last = failure;
  for (let tries = 1; tries < maxTries && isMissing(last) && hasMoved(used.keys ?? {}, directory); tries++) {
    try {
      return await again();
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

/** Did the HSM say that it has no such key? */
function isMissing(error: unknown): boolean {
  const cause = error instanceof KmsError ? error.cause : error;
  return cause instanceof KeyStoreError && cause.failure === 'keyUnavailable';
}

function hasMoved(keys: AuthorizedKeys, directory: Pick<KeyView, 'findSoundKey'>): boolean {
  return Object.values(keys).some(({ key }) => {
    const now = directory.findSoundKey(key.record.keyId);
    return now !== undefined && [...key.backingKeys].some(([id, was]) => isElsewhere(was, now, id));
  });
}

function isElsewhere({ record: was }: BackingKey, now: KmsKey, id: BackingKey['record']['backingKeyId']): boolean {
  const is = now.backingKeys.get(id)?.record;
  if (is === undefined) return false;
  return is.residency !== was.residency || is.keyStore !== was.keyStore || is.wrappedKey !== was.wrappedKey;
}
