/** Text that must not be seen, such as a password: a shape beside those of `schema.ts`. */

import { KmsError } from '../../kms/errors.ts';
import { Plaintext } from '../../secrets/secret-bytes.ts';
import { secretMemory } from '../../secrets/secret-memory.ts';
import { checkLength, type LengthLimits, type Shape, wrongType } from './schema.ts';

/** Its UTF-8, wiped after the request. Lengths are in UTF-16 code units. */
export function secretText(limits: LengthLimits = {}): Shape<Plaintext> {
  return {
    decode(value, path, context) {
      const isText = typeof value === 'string';
      if (!isText && !(value instanceof Plaintext)) throw wrongType(value, 'a String');
      if (isText && !value.isWellFormed())
        throw new KmsError('SerializationException', 'Invalid UTF-16 surrogate in a string value');
      const secret = isText ? new Plaintext(utf8Of(value)) : value;
      if (secret !== value) context.secrets.push(secret);
      checkLength(codeUnits(secret.reveal()), limits, null, path, context);
      return secret;
    },
    encode: (value) => JSON.stringify(value.reveal().toString('utf8')),
    wipe: (value) => value.wipe(),
    isSecret: 'text',
  };
}

/** In memory of its own, which is wiped. */
function utf8Of(text: string): Buffer {
  const bytes = secretMemory(Buffer.byteLength(text, 'utf8'));
  bytes.write(text, 'utf8');
  return bytes;
}

/** Of UTF-8: a character of four bytes is two of them. */
function codeUnits(bytes: Buffer): number {
  let units = 0;
  for (const byte of bytes) units += byte >= 0xf0 ? 2 : (byte & 0xc0) === 0x80 ? 0 : 1;
  return units;
}
