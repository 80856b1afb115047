/**
 * Reads the certificate and the private key of `listen.tls`, and refuses what no client would take or others could read.
 *
 * INVARIANT: nothing of the key is in a message, and its text does not outlive the `Secret` that is handed out.
 */

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { fileProblem } from '../secrets/file-problem.ts';
import { assertSafePath, UnsafePathError } from '../secrets/safe-path.ts';
import { Secret } from '../secrets/secret-bytes.ts';
import type { PemSource, TlsConfiguration } from './configuration-schema.ts';
import { ConfigurationError } from './load.ts';
import { assertPrivate, assertPrivateCredential, credentialPath } from './secrets.ts';

/** Far above a chain of certificates; keeps a wrong path from filling the memory. */
const maxPemBytes = 256 * 1024;

export interface TlsFiles {
  /** PEM: the server's certificate, and what follows it. */
  readonly certificates: string;
  /** The first of them. */
  readonly certificate: X509Certificate;
  /** PEM. Whoever uses it wipes it. */
  readonly privateKey: Secret;
}

/** @throws ConfigurationError, UnsafePathError: for operators, with what to do. */
export async function readTlsFiles(
  { certificate: certificateSource, key: keySource }: Pick<TlsConfiguration, 'certificate' | 'key'>,
  environment: NodeJS.ProcessEnv,
): Promise<TlsFiles> {
  const certificatePath = pathOf(certificateSource, environment, 'the certificate of `listen.tls`');
  const keyPath = pathOf(keySource, environment, 'the key of `listen.tls`');
  const certificates = (await read(certificatePath, certificateSource)).toString('latin1');
  const certificate = firstCertificate(certificates, certificatePath);
  const privateKey = new Secret(
    await read(keyPath, keySource, 'file' in keySource ? assertPrivate : assertPrivateCredential),
  );
  try {
    if (!certificate.checkPrivateKey(parseKey(privateKey, keyPath))) {
      throw new ConfigurationError(
        `the private key \`${keyPath}\` does not belong to the first certificate in \`${certificatePath}\`; name those that were made together`,
      );
    }
    return { certificates, certificate, privateKey };
  } catch (error) {
    privateKey.wipe();
    throw error;
  }
}

function pathOf(source: PemSource, environment: NodeJS.ProcessEnv, what: string): string {
  return 'file' in source ? source.file : credentialPath(source.credential, environment, what);
}

function firstCertificate(text: string, path: string): X509Certificate {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (blocks === null)
    throw new ConfigurationError(`\`${path}\` has no certificate in PEM (-----BEGIN CERTIFICATE-----)`);
  const [first] = blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw new ConfigurationError(`certificate ${index + 1} in \`${path}\` cannot be read`, { cause: error });
    }
  });
  if (first === undefined) throw new TypeError('a list that is not empty has a first member');
  return first;
}

function parseKey(pem: Secret, path: string): KeyObject {
  try {
    return createPrivateKey(pem.reveal());
  } catch (error) {
    // What OpenSSL says is about its decoders, and never what to do.
    const isEncrypted = pem.reveal().includes('ENCRYPTED');
    const advice = isEncrypted
      ? 'is encrypted, and nobody is there to give its passphrase; run: openssl pkey -in KEY -out KEY.plain, or use a systemd credential'
      : 'is no private key in PEM';
    throw new ConfigurationError(`\`${path}\` ${advice}`, { cause: error });
  }
}

async function read(path: string, source: PemSource, assertKept?: typeof assertPrivate): Promise<Buffer> {
  try {
    if ('file' in source) await assertSafePath(path);
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    assertKept?.(path, await file.stat());
    // One byte more than it may have.
    using bytes = new Secret(Buffer.alloc(maxPemBytes + 1));
    let length = 0;
    while (length < bytes.lengthBytes) {
      const { bytesRead } = await file.read(bytes.reveal(), length, bytes.lengthBytes - length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    if (length > maxPemBytes) throw new ConfigurationError(`\`${path}\` is larger than ${maxPemBytes} bytes`);
    const own = Buffer.alloc(length);
    bytes.reveal().copy(own);
    return own;
  } catch (error) {
    if (error instanceof ConfigurationError || error instanceof UnsafePathError) throw error;
    const why = fileProblem(error, 'read', 'this user');
    throw new ConfigurationError(`cannot read \`${path}\`, which \`listen.tls\` names: ${why}`, { cause: error });
  }
}
