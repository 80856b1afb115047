/** Issues an OpenSSH certificate: reads whom it is for, asks the HSM for the authority's signature. */

import type { KmsClient } from '../requests/kms-client.ts';
import { readUpTo } from '../terminal/input.ts';
import { makeSshCertificate, type SshCertificateContent } from './ssh-certificate.ts';
import { SshFormatError } from './ssh-encoding.ts';
import { readSshKeyFile, type SshPublicKey, sshKeyLine, sshKeyOfSpki } from './ssh-public-key.ts';
import { sshSignature } from './ssh-signature.ts';

/** Far above the longest line with an RSA key. */
const maxKeyFileBytes = 64 * 1024;

export interface SshCertificateRequest {
  /** The authority's key. */
  readonly issuerKey: string;
  /** Whom it is for: a key in the HSM, or a `.pub` file. */
  readonly subject: { readonly key: string } | { readonly file: string };
  readonly content: Omit<SshCertificateContent, 'subject'>;
}

/** The line of a `-cert.pub` file. */
export async function issueSshCertificate(
  client: KmsClient,
  { issuerKey, subject, content }: SshCertificateRequest,
): Promise<string> {
  const certified = 'key' in subject ? (await keyInHsm(client, subject.key)).key : await keyOfFile(subject.file);
  const { keyArn, key: authority } = await keyInHsm(client, issuerKey);
  const [signing] = authority.type.signings;
  const blob = await makeSshCertificate({ ...content, subject: certified }, authority, (bytes) =>
    sshSignature(client, keyArn, authority, signing, bytes),
  );
  return sshKeyLine(blob, content.identity);
}

async function keyInHsm(client: KmsClient, keyId: string): Promise<{ keyArn: string; key: SshPublicKey }> {
  const { KeyId, PublicKey } = await client.call('GetPublicKey', { KeyId: keyId });
  try {
    return { keyArn: String(KeyId), key: sshKeyOfSpki(Buffer.from(String(PublicKey), 'base64')) };
  } catch (error) {
    throw new Error(`cannot use the key \`${keyId}\`: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}

async function keyOfFile(path: string): Promise<SshPublicKey> {
  const file = await readUpTo(path, maxKeyFileBytes);
  if (file === undefined)
    throw new Error(`\`${path}\` is longer than ${maxKeyFileBytes} bytes: no public key of OpenSSH`);
  try {
    return readSshKeyFile(file.toString());
  } catch (error) {
    if (error instanceof SshFormatError) throw new Error(`cannot use \`${path}\`: ${error.message}`, { cause: error });
    throw error;
  }
}
