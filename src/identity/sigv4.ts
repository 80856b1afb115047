/**
 * Who signed a request, by AWS Signature Version 4, in its `Authorization` header or in its query (presigned).
 *
 * A request is taken when its signature was made with the secret of the access key that it names, over its method, path,
 * query, body, `Host`, date and every other `x-amz-…` header (the operation is among those, the session token may be), for
 * this Region and the service that it asks, not more than five minutes ago or ahead. A presigned request may shorten that
 * with `X-Amz-Expires`, and cannot lengthen it. Anything else is refused in AWS's order and words, and before an operation
 * hears of it. `replay-memory.ts` says how often a request is taken.
 *
 * This is the parsing and the comparison; `request-verifier.ts` brings them together with the keys. That an access key
 * does not exist is told apart from a wrong signature, as AWS does it: its id is not a secret.
 *
 * Source: IAM user guide, "AWS Signature Version 4 for API requests"; the texts are the service's, as users of AWS have
 * published them.
 */

import { timingSafeEqual } from 'node:crypto';
import { KmsError, type KmsErrorName } from '../kms/errors.ts';
import {
  type AuthorizationParameters,
  incomplete,
  namesIn,
  parseAuthorization,
  short,
} from './authorization-header.ts';
import { basicTime, parseBasicTime } from './basic-time.ts';
import type { TlsFacts } from './caller.ts';
import { maxSkewMs } from './replay-memory.ts';
import type { ScopedKeys } from './scoped-keys.ts';
import {
  algorithm,
  type CredentialScope,
  canonicalRequest,
  computeSignature,
  type SignedContent,
  sha256,
  signatureParameter,
  terminator,
} from './sigv4-signature.ts';

export interface SignedRequestParts {
  readonly method: string;
  /** As it came, with its query. */
  readonly path: string;
  /** Names and values in turn, as Node.js gives them. */
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  readonly sourceIp: string;
  /** Absent: it came in the clear. */
  readonly tls?: TlsFacts | undefined;
}

/** The services whose requests are answered here, as a credential's scope names them. */
export type ServiceName = 'kms' | 'sts';

/** What a request says about its signature. Complete and current, and not yet believed. */
export interface SignatureClaim {
  readonly accessKeyId: string;
  readonly sessionToken: string | undefined;
  readonly signedAtMs: number;
  readonly scope: CredentialScope;
  /** The date as it was signed. */
  readonly timestamp: string;
  readonly signedHeaders: readonly string[];
  /** As it came: of any form. */
  readonly signature: string;
  readonly content: SignedContent;
}

const securityToken = 'x-amz-security-token';
const maxSkewMinutes = maxSkewMs / 60_000;
const maxExpiresSeconds = 604_800;

/**
 * @param regions Those of which one has to be the signature's.
 * @throws KmsError when what has to be there is not, or is not for this time, Region and service.
 */
export function readSignature(
  request: SignedRequestParts,
  service: ServiceName,
  now: Date,
  regions: readonly string[],
): SignatureClaim {
  const headers = groupHeaders(request.rawHeaders);
  const query = presignature(request.path);
  const isInHeader = headers.get('authorization')?.[0]?.startsWith('AWS4-') === true;
  // A signature in the query covers all of it but itself; one in the header covers all of it.
  if (isInHeader && query?.has(signatureParameter) === true) throw mismatch();
  const given = query === undefined || isInHeader ? fromHeader(headers) : fromQuery(query);
  const { timestamp, signedAtMs } = readTimestamp(given, now.getTime());
  const { signedHeaders } = given;
  assertSigned(headers, signedHeaders);
  if (given.algorithm !== algorithm) throw incomplete(`Unsupported AWS 'algorithm': '${short(given.algorithm)}'.`);
  const { accessKeyId, scope } = parseCredential(given.credential, timestamp, service, regions);
  const { method, path, body } = request;
  const content: SignedContent = { method, path, headers, body };
  const { sessionToken, signature } = given;
  return { accessKeyId, sessionToken, signedAtMs, scope, timestamp, signedHeaders, signature, content };
}

/**
 * @returns The signature's bytes.
 * @throws KmsError when it is not the one that these keys make.
 */
export function assertSignature(claim: SignatureClaim, keys: ScopedKeys): Buffer {
  const { content, scope, timestamp, signedHeaders, signature } = claim;
  const expected = computeSignature(keys.keyFor(scope), scope, timestamp, canonicalRequest(content, signedHeaders));
  const isSame = isSignature(expected, signature);
  if (!isSame || !bodyHashHolds(content.headers, content.body)) throw mismatch();
  return expected;
}

/** For an access key that is not known, or does not go with the session token. */
export function unrecognized(): KmsError {
  return refused('UnrecognizedClientException', 'The security token included in the request is invalid.');
}

/** For a request that may have been taken before. */
export function replayed({ timestamp }: SignatureClaim): KmsError {
  return invalid(`Signature expired: ${timestamp} was signed before this endpoint started, or has been used before.`);
}

type Headers = SignedContent['headers'];

function groupHeaders(rawHeaders: readonly string[]): Headers {
  const headers = new Map<string, string[]>();
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    const value = rawHeaders[index + 1] ?? '';
    const values = headers.get(name);
    if (values === undefined) headers.set(name, [value]);
    else values.push(value);
  }
  return headers;
}

/** What the header or the query gives, as it came. */
interface GivenSignature extends AuthorizationParameters {
  readonly date: string;
  readonly sessionToken: string | undefined;
  /** How long it wants to be good. */
  readonly validMs: number;
}

function fromHeader(headers: Headers): GivenSignature {
  const [text = '', ...others] = headers.get('authorization') ?? [];
  if (!text.startsWith('AWS4-') || others.length > 0) throw missingToken();
  const basicDates = headers.get('x-amz-date');
  const dates = basicDates ?? headers.get('date');
  const { algorithm, credential, signedHeaders, signature } = parseAuthorization(text, dates !== undefined);
  const date = dates?.[0] ?? '';
  if (dates !== undefined && dates.length > 1) throw badDate(date);
  return {
    algorithm,
    credential,
    signedHeaders,
    signature,
    date: basicDates === undefined ? fromHttpDate(date) : date,
    sessionToken: headers.get(securityToken)?.[0],
    validMs: maxSkewMs,
  };
}

/**
 * A `Date` header may have the form that HTTP gives it; what is signed is the same moment in the other form. Whatever is
 * no such date stays as it is.
 */
function fromHttpDate(text: string): string {
  if (!/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/.test(text)) return text;
  const date = new Date(text);
  return date.toUTCString() === text ? basicTime(date.getTime()) : text;
}

/** The query's parameters when one of them is about a signature, else `undefined`. */
function presignature(path: string): URLSearchParams | undefined {
  const start = path.indexOf('?');
  if (start === -1) return undefined;
  const query = new URLSearchParams(path.slice(start + 1));
  return ['X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Signature'].some((name) => query.has(name)) ? query : undefined;
}

function fromQuery(query: URLSearchParams): GivenSignature {
  const required = ['X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Signature', 'X-Amz-SignedHeaders', 'X-Amz-Date'];
  const missing = required
    .filter((name) => !query.get(name))
    .map((name) => `AWS query-string parameters must include '${name}'.`);
  if (missing.length > 0) throw incomplete(`${missing.join(' ')} Re-examine the query-string parameters.`);
  for (const name of [...required, 'X-Amz-Expires', 'X-Amz-Security-Token']) {
    if (query.getAll(name).length > 1) throw incomplete(`The query string has the '${name}' parameter twice.`);
  }
  const value = (name: string): string => query.get(name) ?? '';
  return {
    algorithm: value('X-Amz-Algorithm'),
    credential: value('X-Amz-Credential'),
    signedHeaders: namesIn(value('X-Amz-SignedHeaders')),
    signature: value('X-Amz-Signature'),
    date: value('X-Amz-Date'),
    sessionToken: query.get('X-Amz-Security-Token') ?? undefined,
    validMs: Math.min(readExpires(query.get('X-Amz-Expires')), maxSkewMs),
  };
}

/** Milliseconds. A presigned request that does not say is good for as long as any. */
function readExpires(text: string | null): number {
  if (text === null) return maxSkewMs;
  if (!/^-?\d{1,15}$/.test(text)) throw incomplete('X-Amz-Expires should be a number');
  const seconds = Number(text);
  if (seconds < 0) throw incomplete('X-Amz-Expires must be non-negative');
  if (seconds > maxExpiresSeconds) {
    throw incomplete(`X-Amz-Expires must be less than a week (in seconds) that is (${maxExpiresSeconds})`);
  }
  return seconds * 1000;
}

/** `YYYYMMDDTHHMMSSZ`, within the skew that is allowed. */
function readTimestamp(
  { date: text, validMs }: GivenSignature,
  nowMs: number,
): { readonly timestamp: string; readonly signedAtMs: number } {
  const signedAtMs = parseBasicTime(text);
  if (signedAtMs === undefined) throw badDate(text);
  const earliestMs = nowMs - validMs;
  const latestMs = nowMs + maxSkewMs;
  if (signedAtMs < earliestMs) {
    const valid = validMs === maxSkewMs ? `${maxSkewMinutes} min.` : `${validMs / 1000} sec.`;
    throw invalid(
      `Signature expired: ${text} is now earlier than ${basicTime(earliestMs)} (${basicTime(nowMs)} - ${valid})`,
    );
  }
  if (signedAtMs > latestMs) {
    throw invalid(
      `Signature not yet current: ${text} is still later than ${basicTime(latestMs)} (${basicTime(nowMs)} + ${maxSkewMinutes} min.)`,
    );
  }
  return { timestamp: text, signedAtMs };
}

/**
 * What decides about the meaning of a request has to be under the signature, and a header that is under it has to be
 * there once: of two `Host` headers a proxy and the daemon might look at different ones.
 *
 * A session token need not be: some programs (Jsign) put it beside the finished signature. Nobody can put another one in its place:
 * it is authenticated by itself, holds the access key id that the signature names, and the secret that the signature is checked with is
 * computed from it (`session-credentials.ts`).
 */
function assertSigned(headers: Headers, signedHeaders: readonly string[]): void {
  if (!signedHeaders.includes('host')) {
    throw invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
  }
  for (const [name, values] of headers) {
    const isOurs = name === 'host' || name.startsWith('x-amz-');
    if (isOurs && name !== securityToken && !signedHeaders.includes(name)) {
      throw invalid(`'${short(name)}' must be a 'SignedHeader' in the AWS Authorization.`);
    }
    if (isOurs && values.length > 1) throw mismatch();
  }
  if (!signedHeaders.every((name) => headers.has(name))) throw mismatch();
}

/** `ACCESS_KEY_ID/DATE/REGION/SERVICE/aws4_request`. */
function parseCredential(
  credential: string,
  timestamp: string,
  service: ServiceName,
  regions: readonly string[],
): { readonly accessKeyId: string; readonly scope: CredentialScope } {
  const parts = credential.split('/');
  const [accessKeyId = '', date = '', forRegion = '', forService = '', end = ''] = parts;
  if (parts.length !== 5) {
    throw incomplete(
      `Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '${short(credential)}'`,
    );
  }
  const today = timestamp.slice(0, 8);
  const problems = [
    regions.includes(forRegion) ? '' : `Credential should be scoped to a valid region, not '${short(forRegion)}'.`,
    forService === service ? '' : `Credential should be scoped to correct service: '${service}'.`,
    end === terminator
      ? ''
      : `Credential should be scoped with a valid terminator: '${terminator}', not '${short(end)}'.`,
    date === today
      ? ''
      : `Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '${short(date)}' != '${today}', from '${timestamp}'.`,
  ].filter((problem) => problem !== '');
  if (problems.length > 0) throw invalid(problems.join(' '));
  return { accessKeyId, scope: { date, region: forRegion, service } };
}

/** In the same time wherever the two differ. */
function isSignature(expected: Buffer, text: string): boolean {
  const isWellFormed = /^[0-9a-f]{64}$/.test(text);
  const given = isWellFormed ? Buffer.from(text, 'hex') : Buffer.alloc(expected.length);
  return timingSafeEqual(expected, given) && isWellFormed;
}

/** A client may name the body's hash in a header; `UNSIGNED-PAYLOAD` and the like are refused. */
function bodyHashHolds(headers: Headers, body: Buffer): boolean {
  const named = headers.get('x-amz-content-sha256')?.[0];
  return named === undefined || named === sha256(body);
}

function refused(name: KmsErrorName, message: string): KmsError {
  return new KmsError(name, message);
}

function missingToken(): KmsError {
  return refused('MissingAuthenticationTokenException', 'Missing Authentication Token');
}

function badDate(text: string): KmsError {
  return incomplete(
    `Date must be in ISO-8601 'basic format'. Got '${short(text)}'. See http://en.wikipedia.org/wiki/ISO_8601`,
  );
}

function invalid(message: string): KmsError {
  return refused('InvalidSignatureException', message);
}

/** One error for every way in which a signature can be wrong. */
function mismatch(): KmsError {
  return invalid(
    'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
  );
}
