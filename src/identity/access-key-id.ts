/**
 * Access key ids as AWS makes them: 20 characters, of which the first four say what kind it is and the others are random.
 *
 * `AKIA…` is a key that is good until it is revoked, `ASIA…` one that comes with a session token and an end. The random
 * part is base32 (RFC 4648, 6): 16 characters for 10 bytes. Clients check the length, and tools look for the prefixes.
 *
 * Source: IAM user guide, "IAM identifiers", "Understanding unique ID prefixes".
 */

import { createHash } from 'node:crypto';

/** What the random part is made of. */
export const accessKeyIdBytes = 10;

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** @param random 10 bytes. */
export function lastingAccessKeyId(random: Buffer): string {
  return `AKIA${base32(random)}`;
}

/** @param random 10 bytes. */
export function temporaryAccessKeyId(random: Buffer): string {
  return `ASIA${base32(random)}`;
}

/** Of a role, which has none in any record: `AROA` and 16 characters that follow from its ARN. */
export function roleIdOf(roleArn: string): string {
  return `AROA${base32(createHash('sha256').update(`drawbridge/role-id/1\0${roleArn}`).digest().subarray(0, accessKeyIdBytes))}`;
}

function base32(bytes: Buffer): string {
  let text = '';
  let bits = 0;
  let bitCount = 0;
  for (const byte of bytes) {
    bits = (bits << 8) | byte;
    bitCount += 8;
    for (; bitCount >= 5; bitCount -= 5) text += alphabet[(bits >> (bitCount - 5)) & 31];
    bits &= (1 << bitCount) - 1;
  }
  return text;
}
