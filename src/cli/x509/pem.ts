/** Certificates and requests as files hold them: PEM (RFC 7468) or DER. */

import { readUpTo } from '../terminal/input.ts';

/** Generous: a certificate with hundreds of names. */
const maxDocumentBytes = 1024 * 1024;

/**
 * The DER of the first document of its kind in the file.
 * @param label As in PEM: `CERTIFICATE`.
 * @throws Error that names the file.
 */
export async function readDocument(path: string, label: string): Promise<Buffer> {
  const file = await readUpTo(path, maxDocumentBytes);
  if (file === undefined) throw new Error(`\`${path}\` is longer than ${maxDocumentBytes} bytes`);
  const text = file.toString('latin1');
  if (!text.includes('-----BEGIN')) return file;
  const [, base64] = new RegExp(`-----BEGIN ${label}-----([^-]*)-----END ${label}-----`).exec(text) ?? [];
  if (base64 === undefined) throw new Error(`there is no ${label} in \`${path}\``);
  return Buffer.from(base64, 'base64');
}
