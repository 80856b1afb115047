/** Signs certificates and requests with a key in the HSM: through the API's Sign, as any program could. */

import { createHash } from 'node:crypto';
import type { AlgorithmIdentifier } from '@peculiar/asn1-x509';
import type { KmsClient } from '../requests/kms-client.ts';
import { digestOf } from '../requests/signing-message.ts';
import { isSignature, signatureAlgorithm } from './signature-algorithms.ts';

export interface Signer {
  /** What the document says about its signature. */
  readonly algorithm: AlgorithmIdentifier;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
  sign(bytes: Buffer): Promise<Buffer>;
}

/** @param asked KMS's name of the signing algorithm; without it, the key's first. */
export async function signerFor(client: KmsClient, keyId: string, asked: string | undefined): Promise<Signer> {
  const answer = await client.call('GetPublicKey', { KeyId: keyId });
  const publicKey = Buffer.from(String(answer['PublicKey']), 'base64');
  const [first] = (answer['SigningAlgorithms'] ?? []) as readonly string[];
  const SigningAlgorithm = asked ?? first;
  if (SigningAlgorithm === undefined) {
    throw new Error(`the key \`${keyId}\` is for ${answer['KeyUsage']}: it signs nothing, no certificate either`);
  }
  const algorithm = signatureAlgorithm(SigningAlgorithm);
  const digest = digestOf(SigningAlgorithm);
  return {
    algorithm,
    publicKey,
    async sign(bytes) {
      const message = digest === null ? bytes : createHash(digest).update(bytes).digest();
      const { Signature } = await client.call('Sign', {
        KeyId: keyId,
        SigningAlgorithm,
        MessageType: digest === null ? 'RAW' : 'DIGEST',
        Message: message.toString('base64'),
      });
      const signature = Buffer.from(String(Signature), 'base64');
      // A mistake in an algorithm's parameters is to be found here, and not by whoever gets the document.
      if (!isSignature(algorithm, publicKey, bytes, signature)) {
        throw new Error(`the daemon's signature with ${SigningAlgorithm} does not verify`);
      }
      return signature;
    },
  };
}
