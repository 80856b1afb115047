/**
 * Secrets that were written as hexadecimal digits or base64, decoded from bytes to bytes: a string of them could not be wiped.
 *
 * White space means nothing. Source: RFC 4648.
 */

export type SecretEncoding = 'raw' | 'hex' | 'base64';

const whiteSpace = new Set(Buffer.from(' \t\r\n'));
const padding = 0x3d;

const hexDigits = valuesOf('0123456789abcdef', '0123456789ABCDEF');
const base64Digits = valuesOf('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');

function valuesOf(...alphabets: readonly string[]): ReadonlyMap<number, number> {
  return new Map(alphabets.flatMap((alphabet) => [...Buffer.from(alphabet)].map((digit, value) => [digit, value])));
}

/** What the digits stand for, in memory of its own; `undefined` when they are none of this encoding. */
export function decodeSecret(text: Buffer, encoding: 'hex' | 'base64'): Buffer | undefined {
  const [digits, bitsPerDigit] = encoding === 'hex' ? [hexDigits, 4] : [base64Digits, 6];
  const decoded = Buffer.alloc(text.length);
  let length = 0;
  let bits = 0;
  let bitCount = 0;
  let digitCount = 0;
  let paddingCount = 0;
  for (const byte of text) {
    if (whiteSpace.has(byte)) continue;
    digitCount++;
    if (byte === padding) {
      paddingCount++;
      continue;
    }
    const value = digits.get(byte);
    if (value === undefined || paddingCount > 0) return wiped(decoded);
    bits = ((bits << bitsPerDigit) | value) & 0xfff;
    bitCount += bitsPerDigit;
    if (bitCount >= 8) {
      bitCount -= 8;
      decoded[length++] = (bits >> bitCount) & 0xff;
    }
  }
  const isWhole = encoding === 'hex' ? paddingCount === 0 && bitCount === 0 : digitCount % 4 === 0 && paddingCount <= 2;
  const isCanonical = (bits & ((1 << bitCount) - 1)) === 0;
  return isWhole && isCanonical ? decoded.subarray(0, length) : wiped(decoded);
}

function wiped(bytes: Buffer): undefined {
  bytes.fill(0);
  return undefined;
}

/** Is this nothing but digits of an encoding, so that it may be meant so? */
export function encodingsOf(text: Buffer): readonly ('hex' | 'base64')[] {
  return (['hex', 'base64'] as const).filter((encoding) => {
    const decoded = decodeSecret(text, encoding);
    decoded?.fill(0);
    return decoded !== undefined && decoded.length > 0;
  });
}
