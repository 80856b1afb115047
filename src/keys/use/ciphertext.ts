/**
 * The ciphertext blob of symmetric KMS keys, byte by byte, and the additional authenticated data that binds it.
 *
 *     offset  bytes  what
 *     0       1      version: 1
 *     1       16     key id: the bytes of its UUID, or those after `mrk-`
 *     17      16     backing key id: the `CKA_ID` of the key that encrypted
 *     33      1      algorithm: 1 = AES-256-GCM, 96-bit IV, 128-bit tag (KMS: SYMMETRIC_DEFAULT)
 *     34      12     IV, from the HSM's random generator
 *     46      n      ciphertext, as long as the plaintext
 *     46+n    16     tag
 *
 * Overhead: 62 bytes. The header (offset 0 to 33) is authenticated by the AAD:
 *
 *     "drawbridge/kms-ciphertext/1" (27 bytes of ASCII)
 *     the blob's header (34 bytes)
 *     number of pairs of the encryption context (4 bytes, big-endian)
 *     then, for each pair, sorted by the UTF-8 bytes of its key:
 *       length of the key (4 bytes), the key's UTF-8, length of the value (4 bytes), the value's UTF-8
 *
 * Every part has a fixed length or is preceded by it, so no two contexts share an encoding. Strings are known to be
 * well-formed Unicode (the schema refuses lone surrogates), so no two strings share their UTF-8. The blob is no secret;
 * only its holder and a key policy together give a plaintext.
 *
 * Worked example, for the empty context: the AAD is the 27 bytes of the tag, the blob's first 34 bytes, and `00000000`.
 *
 * Sources: NIST SP 800-38D; AWS KMS developer guide, "Encryption context".
 */

import { type BackingKeyId, parseBackingKeyId } from '../../kms/names.ts';

export type EncryptionContext = Readonly<Record<string, string>>;

export interface CiphertextHeader {
  /** 32 hexadecimal digits (`digitsOfKeyId`): the key's id, without saying which of its two forms it has. */
  readonly keyIdDigits: string;
  readonly backingKeyId: BackingKeyId;
}

export interface CiphertextBlob extends CiphertextHeader {
  readonly iv: Buffer;
  /** Ciphertext and tag. */
  readonly ciphertext: Buffer;
}

const version = 1;
const aes256Gcm = 1;
const headerBytes = 34;
const ivBytes = 12;
const tagBytes = 16;
/** What a blob is longer than its plaintext. */
export const overheadBytes = headerBytes + ivBytes + tagBytes;

const tag = Buffer.from('drawbridge/kms-ciphertext/1', 'ascii');
/** What additional authenticated data have before the encryption context. */
const beginningBytes = tag.length + headerBytes;

/**
 * Puts a blob together.
 * @param aad What it was encrypted with: its header stands in there.
 */
export function encodeCiphertext(aad: Buffer, { iv, ciphertext }: Pick<CiphertextBlob, 'iv' | 'ciphertext'>): Buffer {
  // Every byte is written below.
  const encoded = Buffer.allocUnsafe(headerBytes + iv.length + ciphertext.length);
  aad.copy(encoded, 0, tag.length, beginningBytes);
  encoded.set(iv, headerBytes);
  encoded.set(ciphertext, headerBytes + iv.length);
  return encoded;
}

/**
 * Takes a blob apart.
 * @returns `undefined` for anything that is not of this format; whether it is authentic, only the HSM can tell.
 */
export function parseCiphertext(blob: Buffer): CiphertextBlob | undefined {
  if (blob.length < overheadBytes || blob[0] !== version || blob[33] !== aes256Gcm) return undefined;
  const backingKeyId = parseBackingKeyId(blob.toString('hex', 17, 33));
  if (backingKeyId === undefined) return undefined;
  return {
    keyIdDigits: blob.toString('hex', 1, 17),
    backingKeyId,
    iv: blob.subarray(headerBytes, headerBytes + ivBytes),
    ciphertext: blob.subarray(headerBytes + ivBytes),
  };
}

/** The additional authenticated data for a blob with this header under this encryption context. */
export function additionalAuthenticatedData(
  { keyIdDigits, backingKeyId }: CiphertextHeader,
  context: EncryptionContext | undefined,
): Buffer {
  const aad = encodeContextBehind(beginningBytes, context);
  aad.set(tag);
  aad[tag.length] = version;
  aad.write(keyIdDigits, tag.length + 1, 16, 'hex');
  aad.write(backingKeyId, tag.length + 17, 16, 'hex');
  aad[tag.length + 33] = aes256Gcm;
  return aad;
}

/** The canonical form of an encryption context, as in the header of this file. */
export function encodeEncryptionContext(context: EncryptionContext | undefined): Buffer {
  return encodeContextBehind(0, context);
}

/** In one piece of memory, as it is sent to the HSM. So many bytes before it are to be written by the caller. */
function encodeContextBehind(beginningBytes: number, context: EncryptionContext | undefined): Buffer {
  const names = context === undefined ? [] : Object.keys(context);
  if (names.length > 1) sortByBytes(names);
  let length = beginningBytes + 4;
  for (const name of names) length += 8 + Buffer.byteLength(name) + Buffer.byteLength(context?.[name] ?? '');
  // Every byte is written below.
  const encoded = Buffer.allocUnsafe(length);
  let at = encoded.writeUInt32BE(names.length, beginningBytes);
  for (const name of names) {
    at = writeText(encoded, name, at);
    at = writeText(encoded, context?.[name] ?? '', at);
  }
  return encoded;
}

function writeText(into: Buffer, text: string, at: number): number {
  const bytes = into.write(text, at + 4);
  into.writeUInt32BE(bytes, at);
  return at + 4 + bytes;
}

/** From here on the order of UTF-16 units, which is JavaScript's, can differ from that of the bytes of UTF-8. */
const fromSurrogates = /[\ud800-\uffff]/;

function sortByBytes(names: string[]): void {
  if (!names.some((name) => fromSurrogates.test(name))) names.sort();
  else names.sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)));
}
