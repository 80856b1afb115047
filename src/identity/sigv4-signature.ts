/**
 * AWS Signature Version 4, the computation: from a request and a key to the signature that it must carry.
 *
 * It is written for the server's side, from the bytes that arrived, and with `node:crypto`: the SDK's own
 * `@smithy/signature-v4` signs what a client is about to send (it picks, drops and adds headers by itself, and cannot be
 * asked synchronously). The two are held together by tests that run the unmodified SDK against this.
 *
 * Source: IAM user guide, "Create a signed AWS API request"; its elements are named as there.
 */

import { createHmac, hash, type KeyObject } from 'node:crypto';

export interface SignedContent {
  readonly method: string;
  /** As it came, with its query. */
  readonly path: string;
  /** By lower-case name, all values in their order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly body: Buffer;
}

export interface CredentialScope {
  /** `YYYYMMDD` */
  readonly date: string;
  readonly region: string;
  readonly service: string;
}

export const algorithm = 'AWS4-HMAC-SHA256';
export const terminator = 'aws4_request';

/** The parameter of a presigned request's query that its own signature cannot cover. */
export const signatureParameter = 'X-Amz-Signature';

/**
 * The one form of a request that both sides compute. A signature in the query is left out.
 *
 * @param signedHeaders Lower-case names; each must be in the request.
 */
export function canonicalRequest(content: SignedContent, signedHeaders: readonly string[]): string {
  const { method, path, headers, body } = content;
  const queryStart = path.indexOf('?');
  const { names, joined } = canonicalNames(signedHeaders);
  const canonical = canonicalPath(queryStart === -1 ? path : path.slice(0, queryStart));
  let text = `${method}\n${canonical}\n${queryStart === -1 ? '' : canonicalQuery(path.slice(queryStart + 1))}\n`;
  for (const name of names) text += `${name}:${canonicalValues(headers.get(name))}\n`;
  return `${text}\n${joined}\n${sha256(body)}`;
}

interface CanonicalNames {
  /** Sorted, each once. */
  readonly names: readonly string[];
  readonly joined: string;
}

/** Of a list that `authorization-header.ts` remembers: it is the same value for all requests of a program. */
const knownNames = new WeakMap<readonly string[], CanonicalNames>();

function canonicalNames(signedHeaders: readonly string[]): CanonicalNames {
  let known = knownNames.get(signedHeaders);
  if (known === undefined) {
    const names = [...new Set(signedHeaders)].sort();
    known = { names, joined: names.join(';') };
    knownNames.set(signedHeaders, known);
  }
  return known;
}

/**
 * @param key Derived for the scope (`scoped-keys.ts`).
 * @returns 32 bytes.
 */
export function computeSignature(
  key: KeyObject,
  { date, region, service }: CredentialScope,
  timestamp: string,
  canonical: string,
): Buffer {
  // Node.js gives header values as one character per byte; everything else is ASCII.
  const canonicalHash = sha256(Buffer.from(canonical, 'latin1'));
  const stringToSign = `${algorithm}\n${timestamp}\n${date}/${region}/${service}/${terminator}\n${canonicalHash}`;
  return createHmac('sha256', key).update(stringToSign).digest();
}

/** As hexadecimal digits. */
export function sha256(data: Buffer): string {
  return hash('sha256', data);
}

/** Each segment is encoded once more than it came (S3 is the exception), after `.`, `..` and empty ones are gone. */
function canonicalPath(path: string): string {
  if (path === '/') return path;
  const segments: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(encode(segment));
  }
  const end = segments.length > 0 && path.endsWith('/') ? '/' : '';
  return `/${segments.join('/')}${end}`;
}

/** Decoded and encoded anew, so that two spellings of a character are one; sorted by name, then by value. */
function canonicalQuery(query: string): string {
  return query
    .split('&')
    .filter((parameter) => parameter !== '')
    .map((parameter) => {
      const separator = parameter.indexOf('=');
      const name = separator === -1 ? parameter : parameter.slice(0, separator);
      const value = separator === -1 ? '' : parameter.slice(separator + 1);
      return [encode(decode(name)), encode(decode(value))] as const;
    })
    .filter(([name]) => name !== signatureParameter)
    .sort(([nameA, valueA], [nameB, valueB]) => compare(nameA, nameB) || compare(valueA, valueB))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // No UTF-8 in it: a signer who wrote that signed it as it is, or his signature does not match.
  }
}

/** RFC 3986: everything but letters, digits and `-._~`. */
function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function canonicalValues(values: readonly string[] = []): string {
  const [only = ''] = values;
  return values.length === 1 ? canonicalValue(only) : values.map(canonicalValue).join(',');
}

/** Space around a value is gone, and within it there is never more than one. */
function canonicalValue(value: string): string {
  return hasSpaceToChange.test(value) ? value.trim().replaceAll(/\s+/g, ' ') : value;
}

/** Few have any. */
const hasSpaceToChange = /^\s|\s$|\s\s|[^\S ]/;
