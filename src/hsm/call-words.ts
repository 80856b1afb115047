/** What the calls of the pipe are for, in words for operators, who read why one failed and know none of its names. */

import type { CallName } from './calls.ts';

/** In the order of `calls`. */
const doing = {
  open: 'open the token',
  ping: 'tell that the lane is alive',
  random: 'generate random bytes',
  generateKey: 'make a key',
  destroyKey: 'destroy a key',
  forgetKey: 'forget a key',
  describeKey: 'look at a key',
  listKeys: 'list the keys',
  encrypt: 'encrypt',
  decrypt: 'decrypt',
  generateDataKey: 'make a data key',
  generateDataKeyWithoutPlaintext: 'make a data key',
  mac: 'make a MAC',
  sign: 'sign',
  decryptAsymmetric: 'decrypt with a private key',
  deriveSharedSecret: 'derive a shared secret',
  generateDataKeyPair: 'make a data key pair',
  generateWrappingKey: 'make a wrapping key',
  examineImport: 'look at key material',
  importKey: 'import key material',
  macs: 'make MACs',
  generateDomainKey: 'make a domain key',
  generateWrappedKey: 'make a wrapped key',
  importWrappedKey: 'import key material',
  wrapKey: 'wrap a key',
  keepWrappedKey: 'keep a wrapped key in the token',
  generateJoiningPair: 'make a key pair for joining',
  giveKey: 'give a key to another token',
  receiveKey: 'receive a key',
} as const satisfies Record<CallName, string>;

/** The message of a call that failed. */
export function failed(name: CallName, why: string): string {
  return `cannot ${doing[name]}: ${why}`;
}
