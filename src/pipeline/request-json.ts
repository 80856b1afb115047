/**
 * The body of a request as a value, without its secrets ever being strings.
 *
 * A string cannot be wiped, and stays in the engine's heap until that memory is used for something else. So the base64 (or, of a
 * password, the text) of a secret member is decoded from the body's bytes, which are then overwritten with a filler; `JSON.parse` sees one of it, and the
 * secret takes its place. The body is zero when this returns.
 *
 * It is looked for where every program writes it: a name that stands once in the body, without escapes, before a string whose only
 * escapes are those of slashes, which PHP makes. What people write by mistake stands there too (other text than base64, line breaks,
 * a body that was cut off), and is no string either: it is refused by its filler. Whatever is written otherwise is parsed as
 * it is: then its strings are the engine's, as those of answers are.
 */

import { isUtf8 } from 'node:buffer';
import { KmsError } from '../kms/errors.ts';
import { Plaintext } from '../secrets/secret-bytes.ts';
import { passingSecretMemory } from '../secrets/secret-memory.ts';

/** A secret that was taken out of a body. */
interface Taken {
  readonly name: string;
  /** Absent: what stood there is none, and its filler is refused as it would be. */
  readonly secret: Plaintext | undefined;
  /** As it stood in the body, where that cannot be told from the secret. */
  readonly original: Plaintext | undefined;
  readonly at: number;
  readonly characters: number;
}

/**
 * @param body JSON in UTF-8, wiped here. An empty one is an empty request, as `curl -X POST` sends it.
 * @param secretNames Of members of the request whose values may become a `Plaintext` instead of text in base64.
 * @param secretTexts Those of them whose text is the secret itself.
 * @throws KmsError `SerializationException`
 */
export function parseBody(
  body: Buffer,
  secretNames: readonly string[],
  secretTexts: ReadonlySet<string> = noTexts,
): unknown {
  if (body.length === 0) return {};
  const taken: Taken[] = [];
  try {
    if (!isUtf8(body)) throw new KmsError('SerializationException', 'The request body is not UTF-8');
    for (const name of secretNames) {
      const secret = take(body, name, secretTexts.has(name));
      if (secret !== undefined) taken.push(secret);
    }
    const value = parseWithout(body, taken);
    if (taken.every((secret) => putBack(value, secret))) {
      for (const { secret, original } of taken) if (original !== secret) original?.wipe();
      return value;
    }
    // It stands deeper in the request, where it is no secret.
    for (const { secret, original, at } of taken) {
      if (original !== undefined) original.reveal().copy(body, at);
      else if (secret !== undefined) body.write(secret.reveal().toString('base64'), at, 'latin1');
    }
    wipeAll(taken);
    return parse(body);
  } catch (error) {
    wipeAll(taken);
    throw error;
  } finally {
    body.fill(0);
  }
}

function wipeAll(taken: readonly Taken[]): void {
  for (const { secret, original } of taken) {
    secret?.wipe();
    original?.wipe();
  }
}

const noTexts: ReadonlySet<string> = new Set();
const filler = '*';
const star = 0x2a;
const quote = 0x22;
const colon = 0x3a;
const backslash = 0x5c;
const slash = 0x2f;

const quotedNames = new Map<string, Buffer>();

function quoted(name: string): Buffer {
  let bytes = quotedNames.get(name);
  if (bytes === undefined) {
    bytes = Buffer.from(`"${name}"`);
    quotedNames.set(name, bytes);
  }
  return bytes;
}

function take(body: Buffer, name: string, isText: boolean): Taken | undefined {
  const bytes = quoted(name);
  const nameAt = body.indexOf(bytes);
  if (nameAt < 1 || body[nameAt - 1] === backslash) return undefined;
  const behindName = nameAt + bytes.length;
  if (body.indexOf(bytes, behindName) >= 0) return undefined;
  const colonAt = behindSpaces(body, behindName);
  if (body[colonAt] !== colon) return undefined;
  const quoteAt = behindSpaces(body, colonAt + 1);
  if (body[quoteAt] !== quote) return undefined;
  const at = quoteAt + 1;
  const end = body.indexOf(quote, at);
  const text = body.subarray(at, end < 0 ? body.length : end);
  const characters = text.length;
  // Without its end it is no JSON, whatever it says.
  if (end < 0) return hide(text);
  if (characters === 0) return undefined;
  const bytesOfSecret = isText ? plainText(text) : (decodeBase64(text) ?? decodeWithSlashes(text));
  if (bytesOfSecret === undefined) {
    if (text.some(isControl)) return hide(text);
    if (isText || !isNoBase64(text)) return undefined;
  }
  const original = isText ? undefined : originalOf(text, bytesOfSecret);
  const secret = bytesOfSecret && new Plaintext(bytesOfSecret);
  text.fill(filler);
  return { name, secret, original: isText ? secret : original, at, characters };
}

/** What is no JSON is told of with a place in it: each byte that is a character is overwritten, and the others stay. */
function hide(text: Buffer): undefined {
  if (text.includes(backslash)) return;
  for (const [at, byte] of text.entries()) if (!isControl(byte) && byte < 0x80) text[at] = star;
}

function isControl(byte: number): boolean {
  return byte < 0x20;
}

/** @returns A copy; `undefined` where the base64 of the secret is the same. */
function originalOf(text: Buffer, secret: Buffer | undefined): Plaintext | undefined {
  if (secret !== undefined && !text.includes(backslash)) return undefined;
  const bytes = passingSecretMemory(text.length);
  text.copy(bytes);
  return new Plaintext(bytes);
}

function behindSpaces(body: Buffer, from: number): number {
  let at = from;
  while (body[at] === 0x20 || body[at] === 0x0a || body[at] === 0x0d || body[at] === 0x09) at++;
  return at;
}

/** Is it the member of this name? */
function putBack(value: unknown, { name, secret }: Taken): boolean {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return false;
  const request = value as Record<string, unknown>;
  const found = request[name];
  // The filler is no base64. Who writes it himself, and the name with escapes, is taken for somebody who asks for just that.
  if (found !== filler) return false;
  if (secret !== undefined) request[name] = secret;
  return true;
}

/** @returns Memory of its own; `undefined` for what has escapes, or is no string of JSON. */
function plainText(text: Buffer): Buffer | undefined {
  for (const byte of text) if (byte === backslash || byte < 0x20) return undefined;
  const bytes = passingSecretMemory(text.length);
  text.copy(bytes);
  return bytes;
}

const base64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** Above the 24 bits of four characters. */
const notBase64 = 1 << 24;
/** What a character says at each of four places, in its place among the 24 bits: two thirds of the time of shifting each (4 KB). */
const [firstBits, secondBits, thirdBits, fourthBits] = [18, 12, 6, 0].map((shift) => {
  const bits = new Uint32Array(256).fill(notBase64);
  for (const [value, character] of [...base64].entries()) bits[character.charCodeAt(0)] = value << shift;
  return bits;
}) as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
const pad = 0x3d;

/**
 * Node.js decodes base64 from strings only.
 * @returns Memory of its own; `undefined` for what is no base64 of RFC 4648, section 4, with its padding.
 */
function decodeBase64(text: Buffer): Buffer | undefined {
  const { length } = text;
  if (length % 4 !== 0) return undefined;
  const padding = text[length - 1] !== pad ? 0 : text[length - 2] !== pad ? 1 : 2;
  const bytes = passingSecretMemory((length / 4) * 3 - padding);
  const paddedAt = padding === 0 ? length : length - 4;
  let wrong = 0;
  let to = 0;
  for (let at = 0; at < paddedAt; at += 4, to += 3) {
    const bits =
      bitsOf(firstBits, text[at]) |
      bitsOf(secondBits, text[at + 1]) |
      bitsOf(thirdBits, text[at + 2]) |
      bitsOf(fourthBits, text[at + 3]);
    wrong |= bits;
    bytes[to] = bits >> 16;
    bytes[to + 1] = bits >> 8;
    bytes[to + 2] = bits;
  }
  if (padding > 0) {
    const third = padding === 2 ? 0 : bitsOf(thirdBits, text[paddedAt + 2]);
    const bits = bitsOf(firstBits, text[paddedAt]) | bitsOf(secondBits, text[paddedAt + 1]) | third;
    wrong |= bits;
    bytes[to] = bits >> 16;
    if (padding === 1) bytes[to + 1] = bits >> 8;
  }
  if ((wrong & notBase64) === 0) return bytes;
  bytes.fill(0);
  return undefined;
}

/** The same, where slashes have the escapes that PHP gives them, and nothing else has one. */
function decodeWithSlashes(text: Buffer): Buffer | undefined {
  if (!text.includes(backslash)) return undefined;
  const plain = passingSecretMemory(text.length);
  let length = 0;
  let isPlain = true;
  for (const [at, byte] of text.entries()) {
    if (byte !== backslash) plain[length++] = byte;
    else if (text[at + 1] !== slash) isPlain = false;
  }
  const bytes = isPlain ? decodeBase64(plain.subarray(0, length)) : undefined;
  plain.fill(0);
  return bytes;
}

/** Will `decode` of `schema.ts` refuse it for certain? Without escapes and in ASCII. */
function isNoBase64(text: Buffer): boolean {
  if (text.includes(backslash) || text.some((byte) => byte >= 0x80)) return false;
  return text.length % 4 !== 0 || text.some((byte) => byte !== pad && bitsOf(fourthBits, byte) === notBase64);
}

function bitsOf(place: Uint32Array, character: number | undefined): number {
  return place[character ?? 0] ?? notBase64;
}

/** Of a secret, only one character of filler is parsed: it may have thousands. */
function parseWithout(body: Buffer, taken: readonly Taken[]): unknown {
  const [only, ...others] = taken;
  if (only === undefined || others.length > 0) return parse(body);
  const { at, characters } = only;
  try {
    return JSON.parse(body.toString('utf8', 0, at + 1) + body.toString('utf8', at + characters));
  } catch {
    // Where it is no JSON is told of the whole.
    return parse(body);
  }
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw new KmsError('SerializationException', `The request body is not JSON${whyNotJson(error)}`);
  }
}

/** The parser's own message quotes the body, which may hold a plaintext: where it is, and what people often do, is all that is told. */
function whyNotJson(error: unknown): string {
  const { message } = error as Error;
  const [, position] = / at position (\d+)/.exec(message) ?? [];
  if (position === undefined) return '';
  const isWrapped = message.startsWith('Bad control character in string literal');
  const why = isWrapped ? '; a string has a line break or another control character (`base64 -w0` makes none)' : '';
  return `: see position ${position}${why}`;
}
