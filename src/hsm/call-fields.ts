/** The fields of calls, as the table in `calls.ts` lists them: what the API process has, as bytes of the pipe. */

import type { BackingKeyId } from '../kms/names.ts';
import { RecentEntries } from '../kms/recent-entries.ts';
import { failed } from './call-words.ts';
import { type CallName, type MaterialOutline, maxMacsAtOnce, maxMacsBytes } from './calls.ts';
import { KeyStoreError, type WrappedMaterial } from './key-store.ts';
import { type BackingKeyReference, wrappedKeyField } from './wrapped-key.ts';

/** The longest key material, an RSA-4096 private key under a 4,096-bit wrapping key, has some 2,900 bytes; a frame must have room for it. */
const maxWrappedBytes = 64 * 1024;

/** A `key`: the id of a token object, or a wrapped key. Throws KeyStoreError (`keyUnavailable`) for one that has ended. */
export function keyField({ backingKeyId, wrapped }: BackingKeyReference): Buffer {
  if (wrapped === undefined) return keyId(backingKeyId);
  const { outline } = wrapped;
  if (outline !== undefined) return wrappedKeyField(backingKeyId, outline);
  throw new KeyStoreError('keyUnavailable', `the backing key \`${backingKeyId}\` is being destroyed`);
}

/** Those that were used before: there are far fewer of them than calls. Nobody writes to them. */
const keyIds = new RecentEntries<Buffer>(4096);

export function keyId(backingKeyId: BackingKeyId): Buffer {
  let bytes = keyIds.get(backingKeyId);
  if (bytes === undefined) {
    bytes = Buffer.from(backingKeyId, 'hex');
    keyIds.set(backingKeyId, bytes);
  }
  return bytes;
}

export function materialFields(name: CallName, request: WrappedMaterial): readonly Buffer[] {
  const { wrappingKeyId, wrapped, wrappingAlgorithm, keyIdDigits, keySpec, keyUsage } = request;
  if (wrapped.length > maxWrappedBytes)
    throw new KeyStoreError('ciphertextInvalid', failed(name, 'the wrapped key material cannot be unwrapped'));
  const outline: MaterialOutline = { wrappingAlgorithm, keyIdDigits, keySpec, keyUsage };
  return [keyId(wrappingKeyId), Buffer.from(JSON.stringify(outline)), wrapped];
}

/** As many messages for each call as it may have. */
export function inCalls(messages: readonly Buffer[]): readonly (readonly Buffer[])[] {
  const calls: Buffer[][] = [];
  let last: Buffer[] = [];
  let lastBytes = 0;
  for (const message of messages) {
    if (last.length === 0 || last.length === maxMacsAtOnce || lastBytes + message.length > maxMacsBytes) {
      last = [];
      lastBytes = 0;
      calls.push(last);
    }
    last.push(message);
    lastBytes += message.length;
  }
  return calls;
}

export function packed(messages: readonly Buffer[]): Buffer {
  const field = Buffer.allocUnsafe(messages.reduce((bytes, { length }) => bytes + 4 + length, 0));
  let at = 0;
  for (const message of messages) {
    at = field.writeUInt32BE(message.length, at);
    field.set(message, at);
    at += message.length;
  }
  return field;
}

export function u32(value: number): Buffer {
  const field = Buffer.allocUnsafe(4);
  field.writeUInt32BE(value);
  return field;
}
