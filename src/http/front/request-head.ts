/**
 * The head of the one request that the front serves, byte by byte. What is not exactly this is somebody else's:
 *
 *     head     = "POST / HTTP/1.1" CRLF *( field CRLF ) CRLF            ; at most `maxHeadBytes` and `maxFields`
 *     field    = name ": " value
 *     name     = 1*( ALPHA / DIGIT / "-" )                              ; in upper or lower case
 *     value    = %x21-7E [ *( %x20-7E ) %x21-7E ]                       ; no tabs, no space at either end
 *
 * with these fields, each once:
 *
 *     Content-Length: "0", or 1 to 7 digits of which the first is not 0
 *     Content-Type: application/x-amz-json-1.1
 *     X-Amz-Target: TrentService. and 1 to 64 letters
 *
 * and, at most once, `User-Agent` and `Connection: keep-alive` (in upper or lower case). No field may be called
 * `Transfer-Encoding`, `Expect`, `Upgrade`, `Trailer`, `TE`, `Keep-Alive` or `Proxy-Connection`: those say how a message is framed or
 * what becomes of the connection. Others mean nothing to HTTP, may stand there as often as they like, and are handed on as they are.
 *
 * All of this is a part of what Node's parser accepts, and it makes the same request of it (RFC 9112, sections 3, 5 and 6.2).
 * Bytes that are not all there yet are `partial` only where the parser, too, would wait for more of them.
 */

export type HeadOutcome = 'whole' | 'partial' | 'other';

/** A signed request of an AWS SDK has some 1.5 KB. Node's own limit is above (`maxHeaderBytes`). */
export const maxHeadBytes = 8 * 1024;
const maxFields = 64;

const cr = 0x0d;
const lf = 0x0a;
const space = 0x20;
const colon = 0x3a;
const tilde = 0x7e;
const digitZero = 0x30;
const digitNine = 0x39;
const maxLengthDigits = 7;
const maxOperationLetters = 64;

const startLine = Buffer.from('POST / HTTP/1.1\r\n');
const contentType = Buffer.from('application/x-amz-json-1.1');
const targetPrefix = Buffer.from('TrentService.');
const keepAlive = Buffer.from('keep-alive');

const isNameByte = new Uint8Array(256);
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-') {
  isNameByte[character.charCodeAt(0)] = 1;
}

type FieldKind = 'length' | 'type' | 'target' | 'agent' | 'connection' | 'foreign';

/** In lower case. What is not here means nothing to HTTP. */
const kinds: readonly { readonly name: Buffer; readonly kind: FieldKind }[] = (
  [
    ['content-length', 'length'],
    ['content-type', 'type'],
    ['x-amz-target', 'target'],
    ['user-agent', 'agent'],
    ['connection', 'connection'],
    ['transfer-encoding', 'foreign'],
    ['expect', 'foreign'],
    ['upgrade', 'foreign'],
    ['trailer', 'foreign'],
    ['te', 'foreign'],
    ['keep-alive', 'foreign'],
    ['proxy-connection', 'foreign'],
  ] as const
).map(([name, kind]) => ({ name: Buffer.from(name), kind }));

const kindsByLength: (typeof kinds)[] = [];
for (const row of kinds) {
  const { length } = row.name;
  kindsByLength[length] = [...(kindsByLength[length] ?? []), row];
}

/** Reads heads one after the other, each over the last: it makes nothing but the strings of one that is whole. */
export class HeadReader {
  /** Where the body begins, and how long it is. */
  bodyAt = 0;
  bodyBytes = 0;
  operationName = '';
  userAgent: string | null = null;
  /** Names and values as they were sent, as Node.js gives them; where they are not wanted, empty. */
  rawHeaders: string[] = [];
  readonly #wantsHeaders: boolean;
  readonly #maxBytes: number;
  #hasType = false;
  #hasConnection = false;

  /** @param maxHeaderBytes Of the listener. */
  constructor({ wantsHeaders, maxHeaderBytes }: { readonly wantsHeaders: boolean; readonly maxHeaderBytes: number }) {
    this.#wantsHeaders = wantsHeaders;
    this.#maxBytes = Math.min(maxHeadBytes, maxHeaderBytes);
  }

  /** Of the bytes from `from` to `to`; the members are what was found, if it is whole. */
  read(bytes: Buffer, from: number, to: number): HeadOutcome {
    const limit = Math.min(to, from + this.#maxBytes);
    this.#forget();
    const outcome = this.#read(bytes, from, limit);
    if (outcome === 'whole') return this.bodyBytes >= 0 && this.#hasType && this.operationName ? 'whole' : 'other';
    return outcome === 'partial' && limit < to ? 'other' : outcome;
  }

  #forget(): void {
    this.bodyBytes = -1;
    this.operationName = '';
    this.userAgent = null;
    this.#hasType = false;
    this.#hasConnection = false;
    if (this.#wantsHeaders) this.rawHeaders = [];
  }

  #read(bytes: Buffer, from: number, to: number): HeadOutcome {
    let at = from;
    for (let index = 0; index < startLine.length; index++, at++) {
      if (at === to) return 'partial';
      if (bytes[at] !== startLine[index]) return 'other';
    }
    for (let fields = 0; fields <= maxFields; fields++) {
      if (at === to) return 'partial';
      if (bytes[at] === cr) {
        if (at + 1 === to) return 'partial';
        this.bodyAt = at + 2;
        return bytes[at + 1] === lf ? 'whole' : 'other';
      }
      const nameAt = at;
      while (at < to && isNameByte[bytes[at] ?? 0] === 1) at++;
      const nameEnd = at;
      if (at === to) return 'partial';
      if (bytes[at] !== colon || nameEnd === nameAt) return 'other';
      const kind = kindOf(bytes, nameAt, nameEnd);
      if (kind === 'foreign') return 'other';
      // Of these the parser looks at each byte of the value.
      const unfinished = kind === 'length' || kind === 'connection' ? 'other' : 'partial';
      if (++at === to) return unfinished;
      if (bytes[at] !== space) return 'other';
      const valueAt = ++at;
      while (at < to && isValueByte(bytes[at] ?? 0)) at++;
      const valueEnd = at;
      if (at === to) return unfinished;
      if (bytes[at] !== cr) return 'other';
      if (at + 1 === to) return unfinished;
      if (bytes[at + 1] !== lf) return 'other';
      if (valueEnd === valueAt || bytes[valueAt] === space || bytes[valueEnd - 1] === space) return 'other';
      if (kind !== undefined && !this.#take(kind, bytes, valueAt, valueEnd)) return 'other';
      if (this.#wantsHeaders) {
        this.rawHeaders.push(bytes.toString('latin1', nameAt, nameEnd), bytes.toString('latin1', valueAt, valueEnd));
      }
      at += 2;
    }
    return 'other';
  }

  /** @returns Whether it is what may stand there, for the first time. */
  #take(kind: Exclude<FieldKind, 'foreign'>, bytes: Buffer, from: number, to: number): boolean {
    switch (kind) {
      case 'length':
        if (this.bodyBytes >= 0) return false;
        this.bodyBytes = lengthOf(bytes, from, to);
        return this.bodyBytes >= 0;
      case 'type':
        if (this.#hasType) return false;
        this.#hasType = true;
        return to - from === contentType.length && beginsWith(bytes, from, contentType);
      case 'target':
        if (this.operationName !== '') return false;
        this.operationName = operationOf(bytes, from, to);
        return this.operationName !== '';
      case 'agent':
        if (this.userAgent !== null) return false;
        this.userAgent = bytes.toString('latin1', from, to);
        return true;
      case 'connection':
        if (this.#hasConnection) return false;
        this.#hasConnection = true;
        return isInLowerCase(bytes, from, to, keepAlive);
      default:
        return kind satisfies never;
    }
  }
}

function kindOf(bytes: Buffer, from: number, to: number): FieldKind | undefined {
  const rows = kindsByLength[to - from];
  if (rows === undefined) return undefined;
  for (const { name, kind } of rows) if (isInLowerCase(bytes, from, to, name)) return kind;
  return undefined;
}

/** @param lowerCase Letters, digits and hyphens, of which setting the bit makes no other. */
function isInLowerCase(bytes: Buffer, from: number, to: number, lowerCase: Buffer): boolean {
  if (to - from !== lowerCase.length) return false;
  for (let index = 0; index < lowerCase.length; index++) {
    const byte = bytes[from + index] ?? 0;
    if (isNameByte[byte] !== 1 || (byte | 0x20) !== lowerCase[index]) return false;
  }
  return true;
}

function beginsWith(bytes: Buffer, from: number, what: Buffer): boolean {
  for (let index = 0; index < what.length; index++) if (bytes[from + index] !== what[index]) return false;
  return true;
}

function isValueByte(byte: number): boolean {
  return byte >= space && byte <= tilde;
}

/** -1 for what is none. */
function lengthOf(bytes: Buffer, from: number, to: number): number {
  if (to - from > maxLengthDigits || (bytes[from] === digitZero && to - from > 1)) return -1;
  let length = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at] ?? 0;
    if (byte < digitZero || byte > digitNine) return -1;
    length = length * 10 + byte - digitZero;
  }
  return length;
}

/** Empty for what is none. */
function operationOf(bytes: Buffer, from: number, to: number): string {
  const nameAt = from + targetPrefix.length;
  if (nameAt >= to || to - nameAt > maxOperationLetters || !beginsWith(bytes, from, targetPrefix)) return '';
  for (let at = nameAt; at < to; at++) {
    const byte = (bytes[at] ?? 0) | 0x20;
    if (byte < 0x61 || byte > 0x7a) return '';
  }
  return bytes.toString('latin1', nameAt, to);
}
