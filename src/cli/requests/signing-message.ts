/**
 * What Sign and Verify are sent for a file: its digest where the algorithm signs one, else the file itself.
 *
 * The API takes at most 4,096 bytes of message but the digest of any, so a large file is hashed here while it passes by.
 * Plain Ed25519 and ML-DSA sign the message and not a hash of it: with them a file cannot be larger than the limit.
 *
 * Source: AWS KMS API reference, Sign (Message, MessageType).
 */

import { digestHashes } from '../../kms/algorithms.ts';
import { UsageError } from '../terminal/cli-error.ts';
import { hashInput, readUpTo } from '../terminal/input.ts';
import type { KmsClient, Members } from './kms-client.ts';

/** The API's limit for `Message`, and for the message of a MAC. */
const maxMessageBytes = 4096;

export interface SigningMessage {
  readonly Message: string;
  readonly MessageType: 'RAW' | 'DIGEST';
}

/**
 * The hash, by Node's name; `null` where the message itself is signed.
 * @throws UsageError for an algorithm that no file can be signed with here.
 */
export function digestOf(algorithm: string): string | null {
  const known = Object.entries(digestHashes).filter(([, hash]) => hash !== undefined);
  const [, digest] = known.find(([name]) => name === algorithm) ?? [];
  if (digest !== undefined) return digest;
  const names = known.map(([name]) => name).join(', ');
  throw new UsageError(`\`${algorithm}\` is no signing algorithm for files; there are ${names}`);
}

export async function signingMessage(path: string | undefined, algorithm: string): Promise<SigningMessage> {
  const digest = digestOf(algorithm);
  if (digest !== null) return { Message: (await hashInput(path, digest)).toString('base64'), MessageType: 'DIGEST' };
  return {
    Message: (await shortMessage(path, `${algorithm} signs the message itself`)).toString('base64'),
    MessageType: 'RAW',
  };
}

/** An input that is sent as it is. @param why What keeps a larger one from being hashed first. */
export async function shortMessage(path: string | undefined, why: string): Promise<Buffer> {
  const message = await readUpTo(path, maxMessageBytes);
  if (message === undefined) {
    throw new Error(`${why}, which can be ${maxMessageBytes} bytes at most, and \`${path ?? '-'}\` is longer`);
  }
  if (message.length === 0) throw new Error(`${why}, and \`${path ?? '-'}\` is empty`);
  return message;
}

/** The algorithm that was asked for, or the first that the key has, in the order in which DescribeKey lists them. */
export async function algorithmFor(
  client: KmsClient,
  keyId: string,
  asked: string | undefined,
  member: 'SigningAlgorithms' | 'MacAlgorithms',
): Promise<string> {
  if (asked !== undefined) return asked;
  const { KeyMetadata } = await client.call('DescribeKey', { KeyId: keyId });
  const { KeySpec, KeyUsage, ...metadata } = KeyMetadata as Members;
  const [first] = (metadata[member] ?? []) as readonly string[];
  if (first !== undefined) return first;
  throw new Error(
    `the key \`${keyId}\` is for ${KeyUsage} (${KeySpec}): it has no ${member === 'MacAlgorithms' ? 'MAC' : 'signing'} algorithm`,
  );
}
