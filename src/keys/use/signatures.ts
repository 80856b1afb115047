/**
 * Signatures of asymmetric KMS keys: made in the HSM, verified outside of it with the public key on record.
 *
 * A RAW message is verified by `crypto.verify` on a thread of libuv, which never costs this one more than 50 µs (measured;
 * synchronously it is 0.1 ms for P-256, 0.4 ms for ML-DSA-87 and 1 to 2 ms for P-521, during which nobody else is served). A
 * digest, or a mu, is verified by `digest-verification.ts` on this thread, at that price, and others are served between two of
 * them (`SlicedWork`).
 */

import { constants, type KeyObject, verify as verifyWithNode } from 'node:crypto';
import type { SigningAlgorithm } from '../../kms/algorithms.ts';
import { KmsError } from '../../kms/errors.ts';
import type { AuthorizedKey } from '../authorized-key.ts';
import { inKeyStore } from '../key-store-errors.ts';
import { assertTokenCanUse } from '../token-capabilities.ts';
import { BoundedWork } from './bounded-work.ts';
import { verifyDigest, verifyMu } from './digest-verification.ts';
import { publicKeyOf } from './public-keys.ts';
import { assertSignable, hashedMessage, type SignedMessage } from './signed-message.ts';
import { type SignatureScheme, signingAlgorithmRow } from './signing-algorithms.ts';
import { SlicedWork } from './sliced-work.ts';

/**
 * Signs with the private key in the HSM. ECDSA: `ECDSA-Sig-Value` in DER; all others: the signature's own bytes.
 * @throws KmsError `ValidationException` for a message that the algorithm does not take, `UnsupportedOperationException` for
 * a mu, and for what the token cannot do.
 */
export async function sign(authorized: AuthorizedKey, signed: SignedMessage): Promise<Buffer> {
  const { keyStore, reference } = authorized.material;
  const { content, bytes } = hashedMessage(signed);
  assertTokenCanUse(keyStore, authorized.key.record.keySpec, signed.algorithm);
  const { algorithm } = signed;
  return inKeyStore(() => keyStore.sign({ ...reference, algorithm, content, message: bytes }));
}

/** What can be known to fail without signing anything, for a dry run. */
export function assertCanSign({ key, material }: AuthorizedKey, signed: SignedMessage): void {
  hashedMessage(signed);
  assertTokenCanUse(material.keyStore, key.record.keySpec, signed.algorithm);
}

/**
 * Verifies with the public key on record.
 * @throws KmsError `KMSInvalidSignatureException` for whatever is wrong with the signature.
 */
export async function verify(authorized: AuthorizedKey, signed: SignedMessage, signature: Buffer): Promise<void> {
  if (await isSignature(publicKeyOf(authorized), signed, signature)) return;
  throw new KmsError(
    'KMSInvalidSignatureException',
    'The signature does not belong to the message, key and algorithm.',
  );
}

/**
 * Does the signature belong to the message? The key and the algorithm fit together, as the pipeline made sure of.
 * @throws KmsError `ValidationException` for a message that the algorithm does not take, `UnsupportedOperationException`
 * for an algorithm that nothing here can verify.
 */
export async function isSignature(publicKey: KeyObject, signed: SignedMessage, signature: Buffer): Promise<boolean> {
  assertSignable(signed);
  const { algorithm, message, messageType } = signed;
  const { scheme, hash } = signingAlgorithmRow(algorithm);
  if (scheme === null) throw cannotVerify(algorithm);
  if (messageType === 'RAW') {
    const hashName = hash?.name ?? null;
    return verifications.run(() =>
      verifyMessage({ publicKey, scheme, hashName, message: message.reveal(), signature }),
    );
  }
  if (messageType === 'EXTERNAL_MU') {
    return digestVerifications.run(() => verifyMu({ publicKey, mu: message.reveal(), signature }));
  }
  if (hash === null) throw cannotVerify(algorithm);
  return digestVerifications.run(() =>
    verifyDigest({ publicKey, scheme, hashName: hash.name, digest: message.reveal(), signature }),
  );
}

/**
 * Two of libuv's four threads: the audit log writes on the same ones, and everybody's answers wait for it. Somebody who has
 * thousands of P-521 signatures verified keeps himself waiting and nobody else.
 */
const verifications = new BoundedWork(2);
const digestVerifications = new SlicedWork();

const nodeOptions = {
  PKCS1: { padding: constants.RSA_PKCS1_PADDING },
  PSS: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
  ECDSA: { dsaEncoding: 'der' },
  Ed25519: {},
  'ML-DSA': {},
} as const satisfies Record<SignatureScheme, object>;

function verifyMessage(signed: {
  readonly publicKey: KeyObject;
  readonly scheme: SignatureScheme;
  readonly hashName: string | null;
  readonly message: Buffer;
  readonly signature: Buffer;
}): Promise<boolean> {
  const { publicKey, scheme, hashName, message, signature } = signed;
  return new Promise((resolve, reject) => {
    verifyWithNode(hashName, message, { key: publicKey, ...nodeOptions[scheme] }, signature, (error, isValid) => {
      if (error === null) resolve(isValid);
      else reject(error);
    });
  });
}

function cannotVerify(algorithm: SigningAlgorithm): KmsError {
  return new KmsError(
    'UnsupportedOperationException',
    `${algorithm} is not supported: Drawbridge cannot verify such signatures.`,
  );
}
