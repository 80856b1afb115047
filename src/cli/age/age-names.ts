/** Recipients and identities of age that stand for a key in the HSM: both hold its ARN and no secret. */

import { decodeBech32, encodeBech32 } from './bech32.ts';

const recipientPrefix = 'age1drawbridge';
const identityPrefix = 'age-plugin-drawbridge-';

export function recipientOf(keyArn: string): string {
  return encodeBech32(recipientPrefix, Buffer.from(keyArn));
}

export function identityOf(keyArn: string): string {
  return encodeBech32(identityPrefix, Buffer.from(keyArn)).toUpperCase();
}

/** @returns The key; `undefined` for what is no recipient of this plugin. */
export function keyOfRecipient(text: string): string | undefined {
  const decoded = decodeBech32(text);
  return decoded?.prefix === recipientPrefix && decoded.data.length > 0 ? decoded.data.toString() : undefined;
}

/** @returns The key, `''` for any (`age -j drawbridge`); `undefined` for what is no identity of this plugin. */
export function keyOfIdentity(text: string): string | undefined {
  const decoded = decodeBech32(text);
  return decoded?.prefix === identityPrefix ? decoded.data.toString() : undefined;
}
