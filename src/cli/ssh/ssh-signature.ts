/**
 * Signatures as SSH has them, made by a key in the HSM through the API's Sign.
 *
 * Source: RFC 4253 section 6.6, RFC 5656 section 3.1.2, RFC 8332 section 3, RFC 8709 section 6.
 */

import { createHash, verify } from 'node:crypto';
import { derToJose } from 'ecdsa-sig-formatter';
import { digestHashes } from '../../kms/algorithms.ts';
import type { KmsClient } from '../requests/kms-client.ts';
import { mpint, SshFormatError, SshReader, sshString } from './ssh-encoding.ts';
import type { SshPublicKey, SshSigning } from './ssh-public-key.ts';

/** The API's limit for `Message`; Ed25519 signs the message itself. */
const maxMessageBytes = 4096;

/** JOSE's name by the bytes of a coordinate: how `ecdsa-sig-formatter` calls a curve. */
const joseNames = new Map([
  [32, 'ES256'],
  [48, 'ES384'],
  [66, 'ES512'],
]);

/**
 * The signature, with its algorithm before it.
 * @param keyId Of the key whose public half is `key`: what the daemon signs is verified under it.
 * @throws ApiError when the daemon refuses.
 */
export async function sshSignature(
  client: KmsClient,
  keyId: string,
  key: SshPublicKey,
  signing: SshSigning,
  data: Buffer,
): Promise<Buffer> {
  const hash = digestHashes[signing.kms] ?? null;
  if (hash === null && data.length > maxMessageBytes) {
    throw new Error(
      `${signing.name} signs the message itself, which is longer than the ${maxMessageBytes} bytes that it can be`,
    );
  }
  const message = hash === null ? data : createHash(hash).update(data).digest();
  const { Signature } = await client.call('Sign', {
    KeyId: keyId,
    SigningAlgorithm: signing.kms,
    MessageType: hash === null ? 'RAW' : 'DIGEST',
    Message: message.toString('base64'),
  });
  const bytes = Buffer.from(String(Signature), 'base64');
  const signature = Buffer.concat([sshString(signing.name), sshString(signatureFields(key, bytes))]);
  if (!isSshSignature(key, data, signature))
    throw new Error(`the daemon's signature with ${signing.kms} does not verify`);
  return signature;
}

/** @param signature As KMS gives it: of an elliptic curve DER, of the others as in SSH. */
function signatureFields({ type: { coordinateBytes } }: SshPublicKey, signature: Buffer): Buffer {
  if (coordinateBytes === undefined) return signature;
  const both = Buffer.from(derToJose(signature, joseNames.get(coordinateBytes) ?? ''), 'base64url');
  return Buffer.concat([mpint(both.subarray(0, coordinateBytes)), mpint(both.subarray(coordinateBytes))]);
}

/**
 * Whether the signature, its algorithm before it, is one of the data by the key.
 * @throws SshFormatError for what is none at all.
 */
export function isSshSignature({ type, key }: SshPublicKey, data: Buffer, signature: Buffer): boolean {
  const reader = new SshReader(signature);
  const name = reader.text();
  const fields = reader.string();
  reader.end();
  const signing = type.signings.find((each) => each.name === name);
  if (signing === undefined) throw new SshFormatError(`\`${name}\` is no signature of a ${type.name} key`);
  const hash = digestHashes[signing.kms] ?? null;
  if (type.coordinateBytes === undefined) return verify(hash, data, key, fields);
  return verify(hash, data, { key, dsaEncoding: 'ieee-p1363' }, coordinates(fields, type.coordinateBytes));
}

function coordinates(fields: Buffer, coordinateBytes: number): Buffer {
  const reader = new SshReader(fields);
  const numbers = [reader.mpint(), reader.mpint()].map((number) => {
    if (number.length > coordinateBytes) throw new SshFormatError('a number of the signature is too large');
    return Buffer.concat([Buffer.alloc(coordinateBytes - number.length), number]);
  });
  reader.end();
  return Buffer.concat(numbers);
}
