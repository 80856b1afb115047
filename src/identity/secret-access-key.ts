/** Secret access keys, as AWS makes them: 40 characters, the base64 of 30 bytes that nobody can guess. */

import { Secret } from '../secrets/secret-bytes.ts';
import { secretMemory } from '../secrets/secret-memory.ts';

export const secretAccessKeyBytes = 30;

/**
 * The text that is signed with, from the bytes of which it is made.
 * @param bytes 30 bytes, which are wiped.
 */
export function secretAccessKeyOf(bytes: Buffer): Secret {
  const text = secretMemory((secretAccessKeyBytes / 3) * 4);
  text.write(bytes.toString('base64'), 'latin1');
  bytes.fill(0);
  return new Secret(text);
}
