/**
 * Files of any size under a KMS key, in the message format of the AWS Encryption SDK, which others can read: its
 * libraries for C, Java, JavaScript, Python, .NET and Rust, and `aws-encryption-cli`.
 *
 * Chosen over age's format because it is made for KMS: the data key comes from GenerateDataKey and goes back through
 * Decrypt, the encryption context is bound to the message and to the data key, and the key's ARN stands in the header.
 * Only suites with key commitment are written, and read unless somebody asks for the others too (with it, a message cannot be
 * made that opens under two keys). The suite that is written has no signature: it would only tell apart who may encrypt from who may decrypt, and it would be known
 * at the end of a message only, after everything has gone down a pipe. So every frame is authenticated before any byte of
 * it goes out, and what a pipe gets of a message that breaks off is a true beginning of it. Signed messages of others
 * are read; the signature is checked at the end.
 *
 * The library is loaded when it is needed: it takes longer to load than most commands run.
 */

import { Duplex } from 'node:stream';
import type { KmsClient } from '../requests/kms-client.ts';
import { ApiError } from '../terminal/cli-error.ts';
import { MessagesStream } from './messages-stream.ts';
import type { EncryptionContext } from './required-context.ts';

/** Fewer and larger frames than the library's 4 KiB: a third of the time, and the memory for one frame is still small. */
const frameBytes = 64 * 1024;

/** What the message's frames may claim to be at most; the length stands in the header, which is not yet verified. */
const maxFrameBytes = 16 * 1024 * 1024;

/** A stream, and what its failure means. */
export interface MessageStream {
  readonly stream: Duplex;
  /** The daemon's refusal, where that is what the library wrapped up in an error of its own. */
  explain(error: unknown): unknown;
}

/** What is written to the stream comes out encrypted. */
export async function encryptingStream(
  client: KmsClient,
  keyId: string,
  context: EncryptionContext,
): Promise<MessageStream> {
  const { buildEncrypt } = await import('@aws-crypto/encrypt-node');
  const { AlgorithmSuiteIdentifier, CommitmentPolicy } = await import('@aws-crypto/material-management-node');
  const { encryptingKeyring } = await import('./kms-keyring.ts');
  const { encryptStream } = buildEncrypt(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT);
  const keyring = encryptingKeyring(client, keyId);
  const stream = encryptStream(keyring, {
    encryptionContext: { ...context },
    suiteId: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
    frameLength: frameBytes,
  });
  return { stream: spared(stream), explain: (error) => keyring.failure ?? error };
}

/**
 * The same stream, which may be destroyed halfway: the library's own, destroyed, throws where nobody can catch it. This one
 * is ended and read to its end instead, so that the library wipes the data key too.
 */
function spared(inner: Duplex): Duplex {
  const outer = new Duplex({
    write: (piece, encoding, done) => inner.write(piece, encoding, done),
    final: (done) => inner.end(done),
    read: () => inner.resume(),
    destroy(error, done) {
      inner.end();
      inner.resume();
      done(error);
    },
  });
  inner.pause();
  inner.on('data', (piece: Buffer) => {
    if (!outer.destroyed && !outer.push(piece)) inner.pause();
  });
  inner.once('end', () => outer.push(null));
  inner.on('error', (error) => outer.destroy(error));
  return outer;
}

export interface Decryption {
  /** The only key to decrypt with; any that the daemon lets this user use, if not given. */
  readonly keyArn: string | undefined;
  readonly context: EncryptionContext;
  /** Messages without key commitment are read too. */
  readonly allowsUncommitted: boolean;
}

/**
 * What is written to the stream comes out decrypted, one verified frame after the other, and one message after the other where
 * there are several. It fails when a message's encryption context differs from a pair of `context`; a message may have more pairs,
 * because other programs add their own, and its header may lack some, which are then part of what is authenticated. Whatever follows the last message and is none makes it fail, too.
 */
export async function decryptingStream(
  client: KmsClient,
  { keyArn, context, allowsUncommitted }: Decryption,
): Promise<MessageStream> {
  const { buildDecrypt } = await import('@aws-crypto/decrypt-node');
  const { CommitmentPolicy, CommitmentPolicySuites } = await import('@aws-crypto/material-management-node');
  const { decryptingKeyring } = await import('./kms-keyring.ts');
  const { REQUIRE_ENCRYPT_ALLOW_DECRYPT, REQUIRE_ENCRYPT_REQUIRE_DECRYPT } = CommitmentPolicy;
  const policy = allowsUncommitted ? REQUIRE_ENCRYPT_ALLOW_DECRYPT : REQUIRE_ENCRYPT_REQUIRE_DECRYPT;
  const { decryptStream } = buildDecrypt(policy);
  const keyring = decryptingKeyring(client, keyArn);
  const { RequiredContextMessage } = await import('./required-context.ts');
  let otherContext: Error | undefined;
  let lacking: readonly string[] = [];
  const compare = (stored: EncryptionContext): void => {
    const names = Object.keys(context);
    lacking = names.filter((name) => !Object.hasOwn(stored, name));
    const differing = names.find((name) => !lacking.includes(name) && stored[name] !== context[name]);
    if (differing === undefined) return;
    otherContext = otherContextThan(differing);
    throw otherContext;
  };
  const stream = new MessagesStream(
    () =>
      new RequiredContextMessage({
        keyring,
        context,
        compare,
        allowsSuite: (suite, id) => CommitmentPolicySuites.isDecryptEnabled(policy, suite, id),
        open: (materials) => decryptStream(materials, { maxBodySize: maxFrameBytes }),
      }),
  );
  return {
    stream,
    explain: (error) =>
      otherContext ??
      (allowsUncommitted || stream.hasCommitment ? undefined : uncommitted()) ??
      aboutContext(keyring.failure, lacking) ??
      keyring.failure ??
      otherKey(keyArn, stream.keys) ??
      damaged(error, stream.messages),
  };
}

function otherContextThan(name: string): Error {
  return new Error(`the message was encrypted with another encryption context: \`${name}\` differs`);
}

/**
 * A data key that does not open is bound to another encryption context, or was changed; nobody is told which.
 * @param lacking Names of pairs that were brought, and that the message does not have.
 */
function aboutContext(failure: unknown, [first]: readonly string[]): Error | undefined {
  if (!(failure instanceof ApiError) || failure.type !== 'InvalidCiphertextException') return undefined;
  if (first !== undefined) return otherContextThan(first);
  return new Error(
    'the data key of the message does not open: the message was changed, or it was written with a required encryption context, of ' +
      'which it does not store all; give the pairs that it lacks with --context',
    { cause: failure },
  );
}

/** @returns What is wrong with a message of a suite that the library was told not to read. */
function uncommitted(): Error {
  return new Error(
    'the message has no key commitment (it was written by an old version of the AWS Encryption SDK, or by one that was told ' +
      'so): whoever may use two keys can make one that opens as two different texts; if you trust who wrote it, ' +
      '--allow-uncommitted reads it',
  );
}

/** The library tries no key but the one that it was given, and then misses the data key. */
function otherKey(keyArn: string | undefined, keys: readonly string[]): Error | undefined {
  if (keyArn === undefined || keys.length === 0 || keys.includes(keyArn)) return undefined;
  const theirs = keys.map((key) => `\`${key}\``).join(', ');
  return new Error(`the message is not encrypted under \`${keyArn}\` but under ${theirs}; give that key, or no --key`);
}

function damaged(error: unknown, messages: number): unknown {
  // The file's or the pipe's own errors have a code; the library's have none.
  if (!(error instanceof Error) || 'code' in error) return error;
  const reason = error.message.split('\n')[0];
  const what =
    messages === 0 ? 'the message' : `what follows the first ${messages === 1 ? 'message' : `${messages} messages`}`;
  return new Error(`${what} is cut off, damaged, or none of this format: ${reason}`, { cause: error });
}
