/** The id of a new key. */

import { digitsOfKeyId, type KeyId, keyIdsOfDigits, newKeyId } from '../kms/names.ts';
import type { KeyDirectory } from './key-directory.ts';

interface Directories {
  /** By the names of their Regions. */
  readonly regions: ReadonlyMap<string, Pick<KeyDirectory, 'knows'>>;
}

/** The first proposed id that no key has or had, in any Region, nor any other key's id the digits of. */
export function unusedKeyId({ regions }: Directories, propose: () => KeyId = newKeyId): KeyId {
  for (;;) {
    const keyId = propose();
    const forms = keyIdsOfDigits(digitsOfKeyId(keyId));
    if (![...regions.values()].some((directory) => forms.some((form) => directory.knows(form)))) return keyId;
  }
}
