/**
 * The `Authorization` header of a signed request: `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
 *
 * All that a program sends within a day has the same header but for the signature at its end. So what is before that is parsed when it
 * comes first, and remembered; it is what the caller wrote, and means nothing before the signature was found right.
 */

import { KmsError } from '../kms/errors.ts';
import { RecentEntries } from '../kms/recent-entries.ts';

export interface AuthorizationParameters {
  readonly algorithm: string;
  readonly credential: string;
  /** In small letters, as they stand there. */
  readonly signedHeaders: readonly string[];
  /** As it came: of any form. */
  readonly signature: string;
}

type Beginning = Omit<AuthorizationParameters, 'signature'>;

/** A longer header is parsed each time: anybody may send one. */
const maxRememberedCharacters = 1024;
/** Some hundred KB at most, whoever sends what. */
const beginnings = new RecentEntries<Beginning>(512);
const signatureCharacters = 64;
const signatureStart = 'Signature=';
const hexadecimal = /^[0-9a-f]{64}$/;

/**
 * @param text Begins with `AWS4-`.
 * @param isDated Whether the request has a date, without which its signature is incomplete as well.
 * @throws KmsError `IncompleteSignatureException`
 */
export function parseAuthorization(text: string, isDated: boolean): AuthorizationParameters {
  const at = text.length - signatureCharacters;
  const signature = at > 0 && text.length <= maxRememberedCharacters ? text.slice(at) : '';
  const isOrdinary = isDated && hexadecimal.test(signature) && text.endsWith(signatureStart, at);
  if (!isOrdinary) return parse(text, isDated);
  const beginning = text.slice(0, at);
  let known = beginnings.get(beginning);
  if (known === undefined) {
    const { algorithm, credential, signedHeaders } = parse(text, isDated);
    known = { algorithm, credential, signedHeaders };
    beginnings.set(beginning, known);
  }
  const { algorithm, credential, signedHeaders } = known;
  return { algorithm, credential, signedHeaders, signature };
}

function parse(text: string, isDated: boolean): AuthorizationParameters {
  const [algorithm = '', ...rest] = text.split(' ');
  const parameters = new Map<string, string>();
  for (const part of rest
    .join(' ')
    .split(',')
    .map((piece) => piece.trim())
    .filter((piece) => piece !== '')) {
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
  if (!isDated) missing.push("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.");
  if (missing.length > 0) throw incomplete(missing.join(' '));
  return {
    algorithm,
    credential: parameters.get('Credential') ?? '',
    signedHeaders: namesIn(parameters.get('SignedHeaders') ?? ''),
    signature: parameters.get('Signature') ?? '',
  };
}

/** @param text `host;x-amz-date`. */
export function namesIn(text: string): readonly string[] {
  return text.toLowerCase().split(';');
}

export function incomplete(message: string): KmsError {
  return new KmsError('IncompleteSignatureException', message);
}

/** What a caller wrote, in a message to him. */
export function short(text: string): string {
  return text.length > 64 ? `${text.slice(0, 64)}…` : text;
}
