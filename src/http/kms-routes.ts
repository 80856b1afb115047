/**
 * The two spellings of a KMS operation.
 *
 * AWS's: `POST /`, `Content-Type: application/x-amz-json-1.1`, `X-Amz-Target: TrentService.Encrypt`. For shells:
 * `POST /v1/Encrypt` with plain JSON and whatever content type the client sends (curl's default calls it a form).
 * Whatever else comes is `UnknownOperationException`, as AWS answers it.
 *
 * Source: Smithy, "AWS JSON 1.1 protocol", "Protocol behavior".
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { KmsError } from '../kms/errors.ts';
import { awsJson, plainJson } from './answers.ts';
import { answer, type Exchange, finish, receive, refuse, targetOf, type Wire } from './exchange.ts';
import { kmsRequestOf } from './kms-request.ts';

const plainPrefix = '/v1/';
const targetPrefix = 'TrentService.';

/** Is this, to the letter, what an AWS SDK sends? What is not may still be an operation; `awsRequest` looks closely. */
export function isAwsJsonRequest({ method, url, headers }: IncomingMessage): boolean {
  return url === '/' && method === 'POST' && headers['content-type'] === awsJson;
}

/** `POST /`. */
export function awsRequest(wire: Wire, message: IncomingMessage, response: ServerResponse): void {
  receive(wire, message, response, awsJson, (exchange, caller, body) => {
    const { 'content-type': contentType, 'x-amz-target': target } = message.headers;
    const refuseWith = (text: string): void => {
      body.fill(0);
      refuse(wire, exchange, { caller, operationName: targetOf(message) }, unknownOperation(text));
    };
    if (!isAwsJson(contentType)) return refuseWith(`The Content-Type header must be ${awsJson}.`);
    if (typeof target !== 'string' || !target.startsWith(targetPrefix)) {
      return refuseWith(`The X-Amz-Target header must be ${targetPrefix} and the name of an operation.`);
    }
    const operationName = target.slice(targetPrefix.length);
    finish(wire, exchange, run(wire, exchange, { operationName, body, caller, unknownMembers: 'ignore' }));
  });
}

/** Whose `POST` this is, as the route `/v1/:operation` has it; `undefined` for another path. */
export function plainOperation(url: string): string | undefined {
  const [path = ''] = url.split('?');
  const name = path.slice(plainPrefix.length);
  if (!path.startsWith(plainPrefix) || name === '' || name.includes('/')) return undefined;
  try {
    return decodeURIComponent(name);
  } catch {
    return undefined; // It names nothing, and is answered as another path.
  }
}

/** `POST /v1/OPERATION`. */
export function plainRequest(
  wire: Wire,
  message: IncomingMessage,
  response: ServerResponse,
  operationName: string,
): void {
  receive(wire, message, response, plainJson, (exchange, caller, body) => {
    finish(wire, exchange, run(wire, exchange, { operationName, body, caller, unknownMembers: 'refuse' }));
  });
}

/** Any other method or path. */
export function unknownRequest(wire: Wire, message: IncomingMessage, response: ServerResponse): void {
  receive(wire, message, response, awsJson, (exchange, caller, body) => {
    body.fill(0);
    refuse(wire, exchange, { caller, operationName: targetOf(message) }, unknownMethodOrPath());
  });
}

export function unknownMethodOrPath(): KmsError {
  return unknownOperation('Operations are POST / with an X-Amz-Target header, or POST /v1/ and their name.');
}

async function run(wire: Wire, exchange: Exchange, operation: Parameters<typeof kmsRequestOf>[1]): Promise<void> {
  answer(wire, exchange, await wire.service.run(kmsRequestOf(exchange.origin, operation)));
}

function isAwsJson(contentType: string | undefined): boolean {
  if (contentType === awsJson) return true;
  return contentType !== undefined && contentType.split(';')[0]?.trim().toLowerCase() === awsJson;
}

function unknownOperation(message: string): KmsError {
  return new KmsError('UnknownOperationException', message);
}
