/**
 * Messages that somebody made text of: `drawbridge encrypt … | base64`. A message begins with 02 04 78 or 02 05 78, of which base64
 * makes `AgR4` and `AgV4`; one without key commitment with 01 80 00 to 01 80 03, of which it makes `AYAA` to `AYAD`. No message
 * begins with an `A`, so the one cannot be taken for the other.
 */

const beginnings: readonly string[] = ['AgR4', 'AgV4', 'AYAA', 'AYAB', 'AYAC', 'AYAD'];
const beginningBytes = 4;

export class Base64Input {
  #kind: 'unknown' | 'bytes' | 'text' = 'unknown';
  #pending: Buffer = Buffer.alloc(0);
  #isPadded = false;

  /** The bytes of the message in what comes next: itself, where it is no text. @throws Error for text that is not base64. */
  take(chunk: Buffer): Buffer {
    if (this.#kind === 'bytes') return chunk;
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    if (this.#kind === 'unknown') {
      if (this.#pending.length < beginningBytes) return Buffer.alloc(0);
      const isText = beginnings.includes(this.#pending.toString('latin1', 0, beginningBytes));
      this.#kind = isText ? 'text' : 'bytes';
      if (!isText) return this.#takeAll();
    }
    return this.#decode(this.#takeAll().toString('latin1'));
  }

  /** What is left at the end. @throws Error for text that ends in the middle of a byte. */
  end(): Buffer {
    const rest = this.#takeAll();
    if (this.#kind === 'text' && rest.length > 0) throw new Error('the base64 text is cut off');
    return rest;
  }

  #takeAll(): Buffer {
    const all = this.#pending;
    this.#pending = Buffer.alloc(0);
    return all;
  }

  /** Four characters are three bytes; what is left of them waits for more. */
  #decode(text: string): Buffer {
    const characters = text.replace(/\s+/g, '');
    if (/[^A-Za-z0-9+/=]|=[^=]/.test(characters) || (this.#isPadded && characters !== '')) {
      throw new Error('the input begins as base64 text and goes on as something else');
    }
    const whole = characters.length - (characters.length % 4);
    this.#pending = Buffer.from(characters.slice(whole), 'latin1');
    this.#isPadded = this.#isPadded || characters.slice(0, whole).endsWith('=');
    return Buffer.from(characters.slice(0, whole), 'base64');
  }
}
