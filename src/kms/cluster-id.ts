/** What a configured HSM is called where AWS has the id of a CloudHSM cluster. */

import { hash } from 'node:crypto';

/** RFC 4648, section 6, in lower case: the characters that such an id has. */
const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';
/** As many as those of AWS; 55 bits. */
const characters = 11;

/**
 * The same at each start and on each machine, since it is in records and in other people's scripts.
 * @param name Of the HSM in the configuration.
 */
export function cloudHsmClusterIdOf(account: string, name: string): string {
  const digest = hash('sha256', `drawbridge/cluster-id/1:${account}:${name}`, 'buffer');
  // The lowest five bits of each byte: uniform, as the bytes are.
  const digits = [...digest.subarray(0, characters)].map((byte) => alphabet[byte % alphabet.length]);
  return `cluster-${digits.join('')}`;
}
