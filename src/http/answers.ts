/**
 * Writes answers. Every one carries `x-amzn-RequestId`, also those to what is not even HTTP.
 *
 * Header sets are flat arrays of names and values, which Node writes as they are: cheaper on each request than an
 * object that it has to walk through.
 */

import { type ServerResponse, STATUS_CODES } from 'node:http';

export const awsJson = 'application/x-amz-json-1.1';
export const plainJson = 'application/json';
/** Of AWS's older query protocol, which STS speaks. */
export const xml = 'text/xml';
export type ContentType = typeof awsJson | typeof plainJson | typeof xml;

export interface Answer {
  readonly statusCode: 200 | 400 | 403 | 500 | 503;
  readonly contentType: ContentType;
  readonly requestId: string;
  /** JSON text, or XML. */
  readonly body: string;
  /** Tells the client that this connection ends here. */
  readonly close: boolean;
}

/** @returns How long it is, in bytes, its headers apart. */
export function writeAnswer(response: ServerResponse, answer: Answer): number {
  const { statusCode, contentType, requestId, body, close } = answer;
  const length = Buffer.byteLength(body);
  const headers = ['x-amzn-RequestId', requestId, 'Content-Type', contentType, 'Content-Length', String(length)];
  if (close) headers.push('Connection', 'close');
  response.writeHead(statusCode, headers);
  response.end(body);
  return length;
}

/** The same as one text, for a socket that no HTTP parser looks after any more. */
export function rawAnswer(answer: Answer): string {
  const { statusCode, contentType, requestId, body } = answer;
  return [
    `HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode]}`,
    `x-amzn-RequestId: ${requestId}`,
    `Content-Type: ${contentType}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `Date: ${new Date().toUTCString()}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
