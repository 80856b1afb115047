/** Certificates and requests as files hold them: PEM (RFC 7468) or DER. */

import { readUpTo } from '../terminal/input.ts';

/** Generous: a certificate with hundreds of names. */
const maxDocumentBytes = 1024 * 1024;

/**
 * What programs write over a document, the usual label first. RFC 7468 has the others as ones that parsers meet; a trusted
 * certificate is OpenSSL's, and has what that trusts it for behind it.
 */
const labels = {
  request: ['CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'],
  certificate: ['CERTIFICATE', 'X509 CERTIFICATE', 'TRUSTED CERTIFICATE'],
} as const;

/**
 * The DER of the first document of its kind in the file.
 * @throws Error that names the file.
 */
export async function readDocument(path: string, kind: keyof typeof labels): Promise<Buffer> {
  const file = await readUpTo(path, maxDocumentBytes);
  if (file === undefined) throw new Error(`\`${path}\` is longer than ${maxDocumentBytes} bytes`);
  const text = file.toString('latin1');
  if (!text.includes('-----BEGIN')) return firstElement(file);
  const label = labels[kind].join('|');
  const [, , base64] = new RegExp(`-----BEGIN (${label})-----([^-]*)-----END \\1-----`).exec(text) ?? [];
  if (base64 === undefined) throw new Error(`there is no ${labels[kind][0]} in \`${path}\``);
  return firstElement(Buffer.from(base64, 'base64'));
}

/** Without what stands behind the first element (X.690 8.1.3); all of it where its length cannot be read. */
function firstElement(der: Buffer): Buffer {
  const first = der[1] ?? 0;
  if (first < 0x80) return der.subarray(0, 2 + first);
  const lengthBytes = first - 0x80;
  if (lengthBytes < 1 || lengthBytes > 4 || der.length < 2 + lengthBytes) return der;
  return der.subarray(0, 2 + lengthBytes + der.readUIntBE(2, lengthBytes));
}
