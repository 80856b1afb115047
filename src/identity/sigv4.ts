/**
 * Who signed a request, by AWS Signature Version 4 in its `Authorization` header.
 *
 * A request is taken when its signature was made with the secret of the access key that it names, over its method, path,
 * query, body, `Host`, `X-Amz-Date` and every other `x-amz-…` header (the operation is one of those), for this Region and
 * this service, not more than five minutes ago or ahead. Anything else is refused in AWS's order and words, and before
 * an operation hears of it.
 *
 * Within those five minutes a request can be repeated by whoever records it, as with AWS; on the loopback address that
 * is somebody who could read the program's memory as well. Presigned URLs and temporary credentials are not accepted.
 *
 * That an access key does not exist is told apart from a wrong signature, as AWS does it: its id is not a secret.
 *
 * Source: IAM user guide, "AWS Signature Version 4 for API requests"; the texts are the service's, as users of AWS have
 * published them.
 */

import { timingSafeEqual } from 'node:crypto';
import { KmsError, type KmsErrorName } from '../kms/errors.ts';
import type { Realm } from '../kms/names.ts';
import type { Secret } from '../secrets/secret-bytes.ts';
import type { Caller } from './caller.ts';
import {
  algorithm,
  type CredentialScope,
  canonicalRequest,
  computeSignature,
  type SignedContent,
  sha256,
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
}

/** An access key: its secret, and whom it belongs to. */
export interface SigningKey {
  readonly secret: Secret;
  readonly caller: Omit<Caller, 'proof'>;
}

const service = 'kms';
const maxSkewMinutes = 5;

/** @throws KmsError when the request does not prove who sends it. */
export function verifySignedRequest(
  request: SignedRequestParts,
  keys: (accessKeyId: string) => SigningKey | undefined,
  now: Date,
  realm: Realm,
): Caller {
  const headers = groupHeaders(request.rawHeaders);
  const authorization = parseAuthorization(headers);
  const timestamp = readTimestamp(headers, now);
  const signedHeaders = authorization.signedHeaders.toLowerCase().split(';');
  assertSigned(headers, signedHeaders);
  if (authorization.algorithm !== algorithm) {
    throw incomplete(`Unsupported AWS 'algorithm': '${short(authorization.algorithm)}'.`);
  }
  const { accessKeyId, scope } = parseCredential(authorization.credential, timestamp, realm);
  const key = keys(accessKeyId);
  if (key === undefined || headers.has('x-amz-security-token')) {
    throw refused('UnrecognizedClientException', 'The security token included in the request is invalid.');
  }
  const content: SignedContent = { method: request.method, path: request.path, headers, body: request.body };
  const expected = computeSignature(key.secret, scope, timestamp, canonicalRequest(content, signedHeaders));
  const isSame = isSignature(expected, authorization.signature);
  if (!isSame || !bodyHashHolds(headers, request.body)) throw mismatch();
  return { ...key.caller, proof: { kind: 'sigv4', accessKeyId, sourceIp: request.sourceIp } };
}

type Headers = ReadonlyMap<string, readonly string[]>;

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

interface Authorization {
  readonly algorithm: string;
  readonly credential: string;
  readonly signedHeaders: string;
  readonly signature: string;
}

/** `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`. */
function parseAuthorization(headers: Headers): Authorization {
  const [text = '', ...others] = headers.get('authorization') ?? [];
  if (!text.startsWith('AWS4-') || others.length > 0) {
    throw refused('MissingAuthenticationTokenException', 'Missing Authentication Token');
  }
  const [algorithm = '', ...rest] = text.split(' ');
  const parameters = new Map<string, string>();
  for (const part of rest
    .join(' ')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')) {
    const separator = part.indexOf('=');
    if (separator === -1) {
      throw incomplete(`'${short(part)}' not a valid key=value pair (missing equal-sign) in Authorization header.`);
    }
    const name = part.slice(0, separator);
    if (parameters.has(name)) throw incomplete(`Authorization header has the '${short(name)}' parameter twice.`);
    parameters.set(name, part.slice(separator + 1));
  }
  const missing = ['Credential', 'Signature', 'SignedHeaders']
    .filter((name) => !parameters.get(name))
    .map((name) => `Authorization header requires '${name}' parameter.`);
  if (!headers.has('x-amz-date')) {
    missing.push("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.");
  }
  if (missing.length > 0) throw incomplete(missing.join(' '));
  return {
    algorithm,
    credential: parameters.get('Credential') ?? '',
    signedHeaders: parameters.get('SignedHeaders') ?? '',
    signature: parameters.get('Signature') ?? '',
  };
}

/** `YYYYMMDDTHHMMSSZ`, within the skew that is allowed. */
function readTimestamp(headers: Headers, now: Date): string {
  const [text = '', ...others] = headers.get('x-amz-date') ?? [];
  const date = new Date(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (others.length > 0 || Number.isNaN(date.getTime()) || basicFormat(date) !== text) {
    throw incomplete(
      `Date must be in ISO-8601 'basic format'. Got '${short(text)}'. See http://en.wikipedia.org/wiki/ISO_8601`,
    );
  }
  const skewMs = maxSkewMinutes * 60_000;
  const earliest = new Date(now.getTime() - skewMs);
  const latest = new Date(now.getTime() + skewMs);
  if (date < earliest) {
    throw invalid(
      `Signature expired: ${text} is now earlier than ${basicFormat(earliest)} (${basicFormat(now)} - ${maxSkewMinutes} min.)`,
    );
  }
  if (date > latest) {
    throw invalid(
      `Signature not yet current: ${text} is still later than ${basicFormat(latest)} (${basicFormat(now)} + ${maxSkewMinutes} min.)`,
    );
  }
  return text;
}

function basicFormat(date: Date): string {
  return date.toISOString().replaceAll(/[-:]|\.\d{3}/g, '');
}

/**
 * What decides about the meaning of a request has to be under the signature, and a header that is under it has to be
 * there once: of two `Host` headers a proxy and the daemon might look at different ones.
 */
function assertSigned(headers: Headers, signedHeaders: readonly string[]): void {
  if (!signedHeaders.includes('host')) {
    throw invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
  }
  for (const [name, values] of headers) {
    const isOurs = name === 'host' || name.startsWith('x-amz-');
    if (isOurs && !signedHeaders.includes(name)) {
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
  { region }: Realm,
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
    forRegion === region ? '' : `Credential should be scoped to a valid region, not '${short(forRegion)}'.`,
    forService === service ? '' : `Credential should be scoped to correct service: '${service}'.`,
    end === terminator
      ? ''
      : `Credential should be scoped with a valid terminator: '${terminator}', not '${short(end)}'.`,
    date === today
      ? ''
      : `Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '${short(date)}' != '${today}', from '${timestamp}'.`,
  ].filter((problem) => problem !== '');
  if (problems.length > 0) throw invalid(problems.join(' '));
  return { accessKeyId, scope: { date, region, service } };
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

function incomplete(message: string): KmsError {
  return refused('IncompleteSignatureException', message);
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

/** What a caller wrote, in a message to him. */
function short(text: string): string {
  return text.length > 64 ? `${text.slice(0, 64)}…` : text;
}
