/** Certificates for listeners of tests: from `drawbridge tls create`'s own maker. */

import { makeAuthority, makeServerCertificate } from '../../src/cli/x509/tls-certificates.ts';
import type { TlsIdentity } from '../../src/http/tls-server.ts';
import { Secret } from '../../src/secrets/secret-bytes.ts';

export interface ExampleIdentity {
  /** PEM: what clients are told to trust. */
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
  /** A new one each time: whoever loads it wipes it. */
  identity(): TlsIdentity;
}

const names = ['localhost', '127.0.0.1', 'kms.us-east-1.amazonaws.com'];

/** @param days How long the server's certificate is good; less than 0: until so long ago. */
export async function exampleIdentity(days = 1): Promise<ExampleIdentity> {
  const dayMs = 86_400_000;
  const notBefore = new Date(Date.now() - 30 * dayMs);
  const until = (count: number) => ({ notBefore, notAfter: new Date(Date.now() + count * dayMs) });
  const authority = await makeAuthority(names, until(30));
  const server = await makeServerCertificate(authority, names, until(days));
  const [certificate, key] = [pemOf(server.certificate, 'CERTIFICATE'), pemOf(server.key, 'PRIVATE KEY')];
  return {
    authority: pemOf(authority.certificate, 'CERTIFICATE'),
    certificate,
    key,
    identity() {
      const bytes = Buffer.alloc(key.length);
      bytes.write(key);
      return { certificates: certificate, privateKey: new Secret(bytes) };
    },
  };
}

function pemOf(der: Buffer, label: string): string {
  const lines = der.toString('base64').replaceAll(/.{64}/g, '$&\n').trimEnd();
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
