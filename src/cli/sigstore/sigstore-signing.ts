/**
 * Which of a key's algorithms sigstore means, and the digest that is signed.
 *
 * sigstore names a hash, SHA-256 unless it was told otherwise, and has either hashed the message already or gives it. An elliptic
 * curve of KMS goes with one hash: a message is hashed with that, whatever was named, and a digest of another cannot be signed. RSA
 * takes each; sigstore verifies PKCS #1 v1.5.
 */

import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { digestHashes, type HashName, hashBytes, type SigningAlgorithm } from '../../kms/algorithms.ts';

/** Go's numbers of hashes (crypto.Hash). */
const goHashes = new Map<number | undefined, HashName>([
  [undefined, 'sha256'],
  [0, 'sha256'],
  [5, 'sha256'],
  [6, 'sha384'],
  [7, 'sha512'],
]);

/**
 * @param algorithms The key's, in KMS's words.
 * @param hashFunc Go's number of a hash.
 * @param digest Where sigstore has hashed the message.
 * @throws Error where the key cannot sign it.
 */
export function signingAlgorithmFor(
  algorithms: readonly string[],
  hashFunc: number | undefined,
  digest: Buffer | undefined,
): { readonly algorithm: SigningAlgorithm; readonly hash: HashName } {
  const usable = Object.entries(digestHashes).flatMap(([name, hash]) =>
    // Safe: these are the names of the object.
    hash && algorithms.includes(name) && /^(?:RSASSA_PKCS1|ECDSA)/.test(name)
      ? [{ algorithm: name as SigningAlgorithm, hash }]
      : [],
  );
  if (usable.length === 0) {
    throw new Error(
      `sigstore has digests signed, with ECDSA or RSA; the key is for ${algorithms.join(', ') || 'nothing of the kind'}`,
    );
  }
  const named = goHashes.get(hashFunc);
  const fitting =
    digest === undefined
      ? (usable.find(({ hash }) => hash === named) ?? usable[0])
      : usable.find(({ hash }) => hashBytes[hash] === digest.length);
  if (fitting !== undefined) return fitting;
  throw new Error(
    `the digest has ${digest?.length} bytes, and the key signs those of ${usable.map(({ hash }) => hash).join(', ')}: use an RSA or P-256 key`,
  );
}

/** Of a message of any length. */
export async function digestOfMessage(message: Readable, hash: HashName): Promise<Buffer> {
  const digest = createHash(hash);
  for await (const piece of message) digest.update(piece as Buffer);
  return digest.digest();
}
