/** HTTP as an SDK would never send it: single requests with any header and body, and raw bytes over a connection. */

import { type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';

export interface WireAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface WireRequest {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** One request on a connection of its own. */
export function send(socketPath: string, wanted: WireRequest): Promise<WireAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        socketPath,
        agent: false,
        method: wanted.method ?? 'POST',
        path: wanted.path ?? '/',
        headers: { host: 'kms', ...wanted.headers },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          resolve({
            status: answer.statusCode ?? 0,
            headers: answer.headers,
            body: Buffer.concat(chunks).toString('utf8'),
          });
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(wanted.body);
  });
}

/** One operation on the AWS wire, with a body that is sent as it is. */
export function call(socketPath: string, operation: string, body: unknown): Promise<WireAnswer> {
  return send(socketPath, {
    headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': `TrentService.${operation}` },
    body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
  });
}

/** One operation on the wire for `curl`. */
export function callV1(socketPath: string, operation: string, body: unknown): Promise<WireAnswer> {
  return send(socketPath, {
    path: `/v1/${operation}`,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

export function json(answer: WireAnswer): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(answer.body);
  if (typeof value !== 'object' || value === null) throw new Error(`not a JSON object: ${answer.body}`);
  return value as Readonly<Record<string, unknown>>;
}

/** Name and message of an error as they stand in its body; an absent message is an empty one. */
export function errorIn(answer: WireAnswer): { readonly name: string; readonly message: string } {
  const body = json(answer);
  return { name: String(body['__type']), message: String(body['message'] ?? '') };
}

/** A bare connection. */
export function open(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.removeListener('error', reject);
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

/** Everything the peer sends until it closes the connection; a reset is a way of closing. */
export function readUntilClosed(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(Buffer.from(chunk)));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
}
