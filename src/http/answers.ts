/**
 * Writes answers. Every one carries `x-amzn-RequestId`, also those to what is not even HTTP.
 *
 * Header sets are flat arrays of names and values, which Node writes as they are: cheaper on each request than an
 * object that it has to walk through.
 */

import type { ServerResponse } from 'node:http';
import { STATUS_CODES } from './node-http.ts';

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
export function rawAnswer(answer: Answer, method?: string): string {
  const { statusCode, contentType, requestId, body } = answer;
  return [
    `HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode]}`,
    `x-amzn-RequestId: ${requestId}`,
    `Content-Type: ${contentType}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    `Date: ${dateNow()}`,
    '',
    // RFC 9110, section 9.3.2: a client takes what follows for the next answer.
    method === 'HEAD' ? '' : body,
  ].join('\r\n');
}

/**
 * What `writeAnswer` makes of an answer to an operation, to the byte, for a connection that Node's HTTP does not look after.
 * @param keepAliveTimeoutMs Of the listener.
 */
export function operationAnswer(
  statusCode: keyof typeof statusLines,
  { requestId, body, close }: Pick<Answer, 'requestId' | 'body' | 'close'>,
  keepAliveTimeoutMs: number,
): string {
  const before = close ? 'Connection: close\r\n' : '';
  const behind = close ? '' : keepAliveLines(keepAliveTimeoutMs);
  return (
    `${statusLines[statusCode]}x-amzn-RequestId: ${requestId}\r\n` +
    `Content-Type: ${awsJson}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
    `${before}Date: ${dateNow()}\r\n${behind}\r\n${body}`
  );
}

const statusLines = {
  200: 'HTTP/1.1 200 OK\r\n',
  400: 'HTTP/1.1 400 Bad Request\r\n',
  403: 'HTTP/1.1 403 Forbidden\r\n',
  500: 'HTTP/1.1 500 Internal Server Error\r\n',
} as const;

function keepAliveLines(timeoutMs: number): string {
  return `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(timeoutMs / 1000)}\r\n`;
}

let dateText = '';
let dateSecond = 0;

/** Made anew each second. */
function dateNow(): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(second * 1000).toUTCString();
  }
  return dateText;
}
