/**
 * The two conversations of an age plugin: file keys are encrypted for recipients, and decrypted with identities.
 *
 * A file key is encrypted by the key in the HSM itself, with an encryption context that keeps it apart from whatever else that
 * key has encrypted: nobody can have another ciphertext opened as a file key. Stanzas of others are passed over in silence.
 *
 * Source: C2SP, age-plugin.md, "recipient-v1" and "identity-v1".
 */

import type { KmsClient } from '../requests/kms-client.ts';
import { ApiError, describeError } from '../terminal/cli-error.ts';
import { keyOfIdentity, keyOfRecipient } from './age-names.ts';
import { AgeStanzaError, type AgeStanzas } from './age-stanzas.ts';

const stanzaType = 'drawbridge';
const EncryptionContext = { age: 'file-key' };

/** What the daemon says when a stanza is of another key than an identity stands for, or is none of its ciphertexts. */
const notTheirs: ReadonlySet<string> = new Set(['IncorrectKeyException', 'InvalidCiphertextException']);

/** Where in a client's list something went wrong, as `error` has it. */
type Place = readonly [kind: 'recipient' | 'identity' | 'internal' | 'stanza', ...indices: string[]];

/** `recipient-v1`: reads recipients and file keys, answers with a stanza for each of both, or with errors and none. */
export async function wrapFileKeys(stanzas: AgeStanzas, client: KmsClient): Promise<void> {
  const recipients: { readonly place: Place; readonly key: string | undefined }[] = [];
  const fileKeys: Buffer[] = [];
  const counts = { recipient: 0, identity: 0 };
  for await (const { type, args, body } of untilDone(stanzas)) {
    const [name = ''] = args;
    if (type === 'add-recipient')
      recipients.push({ place: ['recipient', `${counts.recipient++}`], key: keyOfRecipient(name) });
    // `-j drawbridge` names no key to encrypt under.
    if (type === 'add-identity')
      recipients.push({ place: ['identity', `${counts.identity++}`], key: keyOfIdentity(name) || undefined });
    if (type === 'wrap-file-key') fileKeys.push(body);
  }
  const wrapped: { readonly file: number; readonly blob: Buffer }[] = [];
  const problems: { readonly place: Place; readonly text: string }[] = [];
  try {
    for (const { place, key } of recipients) {
      try {
        if (key === undefined) throw new AgeStanzaError(`this ${place[0]} names no key of Drawbridge`);
        for (const [file, fileKey] of fileKeys.entries())
          wrapped.push({ file, blob: await wrap(client, key, fileKey) });
      } catch (error) {
        problems.push({ place, text: describeError(error) });
      }
    }
  } finally {
    for (const fileKey of fileKeys) fileKey.fill(0);
  }
  for (const { place, text } of problems) await stanzas.ask('error', place, Buffer.from(text));
  if (problems.length === 0) {
    for (const { file, blob } of wrapped) await stanzas.ask('recipient-stanza', [`${file}`, stanzaType], blob);
  }
  stanzas.write('done');
}

async function wrap(client: KmsClient, KeyId: string, fileKey: Buffer): Promise<Buffer> {
  const { CiphertextBlob } = await client.call('Encrypt', {
    KeyId,
    Plaintext: fileKey.toString('base64'),
    EncryptionContext,
  });
  return Buffer.from(String(CiphertextBlob), 'base64');
}

/** `identity-v1`: answers with the file key of each file that one of the identities opens. */
export async function unwrapFileKeys(stanzas: AgeStanzas, client: KmsClient): Promise<void> {
  const identities: (string | undefined)[] = [];
  /** By the file: its stanzas that are ours, with their number among all of the file. */
  const files = new Map<string, { readonly number: number; readonly blob: Buffer }[]>();
  const counts = new Map<string, number>();
  for await (const { type, args, body } of untilDone(stanzas)) {
    if (type === 'add-identity') identities.push(keyOfIdentity(args[0] ?? ''));
    if (type !== 'recipient-stanza') continue;
    const [file = '', itsType] = args;
    const number = counts.get(file) ?? 0;
    counts.set(file, number + 1);
    if (itsType === stanzaType) files.set(file, [...(files.get(file) ?? []), { number, blob: body }]);
  }
  for (const [index, identity] of identities.entries()) {
    if (identity === undefined)
      await stanzas.ask('error', ['identity', `${index}`], Buffer.from('this identity is none of Drawbridge'));
  }
  const keys = identities.filter((identity) => identity !== undefined);
  for (const [file, candidates] of files) await unwrapFile(stanzas, client, keys, file, candidates);
  stanzas.write('done');
}

async function unwrapFile(
  stanzas: AgeStanzas,
  client: KmsClient,
  keys: readonly string[],
  file: string,
  candidates: readonly { readonly number: number; readonly blob: Buffer }[],
): Promise<void> {
  const problems: { readonly place: Place; readonly text: string }[] = [];
  for (const { number, blob } of candidates) {
    for (const key of keys) {
      try {
        const fileKey = await unwrap(client, key, blob);
        try {
          await stanzas.ask('file-key', [file], fileKey);
        } finally {
          fileKey.fill(0);
        }
        return;
      } catch (error) {
        if (error instanceof ApiError && notTheirs.has(error.type)) continue;
        problems.push({ place: ['stanza', file, `${number}`], text: describeError(error) });
      }
    }
  }
  for (const { place, text } of problems) await stanzas.ask('error', place, Buffer.from(text));
}

/** @param key `''`: whichever the ciphertext names. */
async function unwrap(client: KmsClient, key: string, blob: Buffer): Promise<Buffer> {
  const { Plaintext } = await client.call('Decrypt', {
    ...(key === '' ? {} : { KeyId: key }),
    CiphertextBlob: blob.toString('base64'),
    EncryptionContext,
  });
  return Buffer.from(String(Plaintext), 'base64');
}

/** The client's first phase. What a later version of age may say there is passed over. */
async function* untilDone(stanzas: AgeStanzas) {
  for (;;) {
    const stanza = await stanzas.read();
    if (stanza === undefined) throw new AgeStanzaError('age has gone before it was done');
    if (stanza.type === 'done') return;
    yield stanza;
  }
}
