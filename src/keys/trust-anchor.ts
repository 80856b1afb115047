/** The certificate by which an HSM is told from another: compared by what it is, and not by how its PEM is laid out. */

import { hash, X509Certificate } from 'node:crypto';

/** @returns The SHA-256 of the DER of the first certificate in the text; `undefined` where there is none. */
export function trustAnchorOf(pem: string): string | undefined {
  try {
    return hash('sha256', new X509Certificate(pem).raw, 'hex');
  } catch {
    // Whatever OpenSSL says of it, it is none.
    return undefined;
  }
}
