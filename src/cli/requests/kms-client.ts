/**
 * The command line's own client: `POST /v1/OPERATION` over the daemon's Unix socket.
 *
 * Not the AWS SDK, which takes longer to load than most commands take, and not a special door: what a command can do, any
 * program of the same Unix user can. Blobs stay base64 here; the commands decode what they need.
 */

import type { Socket } from 'node:net';
import { ApiError } from '../terminal/cli-error.ts';
import { connectToDaemon } from './daemon-connection.ts';

/** What an answer may be at most: a page of the longest list is far below. */
const maxAnswerBytes = 16 * 1024 * 1024;
/** Longer than a new key may wait for its turn (50 s) and then be generated (120 s): who gives up earlier has a key all the same. */
const timeoutMs = 180_000;

export type Members = Readonly<Record<string, unknown>>;

export class KmsClient {
  readonly socketPath: string;
  readonly #daemonUid: number | undefined;

  /** @param daemonUid Who may listen there beside those who are believed anyway. */
  constructor(socketPath: string, daemonUid?: number) {
    this.socketPath = socketPath;
    this.#daemonUid = daemonUid;
  }

  /** Runs one KMS operation. @throws ApiError with the daemon's refusal. */
  call(operation: string, members: Members = {}): Promise<Members> {
    return this.#exchange('POST', `/v1/${operation}`, JSON.stringify(members));
  }

  /** @throws ApiError, too, for an answer that is an error. */
  get(path: string): Promise<Members> {
    return this.#exchange('GET', path, undefined);
  }

  /** For what is no KMS operation. */
  post(path: string, members: Members): Promise<Members> {
    return this.#exchange('POST', path, JSON.stringify(members));
  }

  delete(path: string): Promise<Members> {
    return this.#exchange('DELETE', path, undefined);
  }

  /** All items of an operation that answers in pages. */
  async list(operation: string, member: string, members: Members = {}): Promise<Members[]> {
    const items: Members[] = [];
    let marker: unknown;
    do {
      const page = await this.call(operation, marker === undefined ? members : { ...members, Marker: marker });
      items.push(...(page[member] as Members[]));
      marker = page['NextMarker'];
    } while (marker !== undefined);
    return items;
  }

  async #exchange(method: string, path: string, body: string | undefined): Promise<Members> {
    let socket: Socket;
    try {
      socket = await connectToDaemon(this.socketPath, this.#daemonUid);
    } catch (error) {
      throw this.#connectionError(error as NodeJS.ErrnoException);
    }
    return this.#send(socket, method, path, body);
  }

  #send(socket: Socket, method: string, path: string, body: string | undefined): Promise<Members> {
    // An `import` of it loads all that it exports, `fetch` and `WebSocket` too: a quarter of the time that a command takes.
    const { request } = process.getBuiltinModule('node:http');
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'user-agent': 'drawbridge-cli' };
      const options = { createConnection: () => socket, method, path, headers, timeout: timeoutMs };
      const outgoing = request(options, (answer) => {
        const pieces: Buffer[] = [];
        let bytes = 0;
        answer.on('data', (piece: Buffer) => {
          bytes += piece.length;
          if (bytes > maxAnswerBytes) outgoing.destroy(new Error('the daemon sent an answer that is too large'));
          pieces.push(piece);
        });
        answer.on('error', reject);
        answer.on('end', () => {
          const requestId = answer.headers['x-amzn-requestid'];
          try {
            resolve(parseAnswer(Buffer.concat(pieces).toString(), answer.statusCode ?? 0, String(requestId ?? '')));
          } catch (error) {
            reject(error);
          }
        });
      });
      outgoing.on('timeout', () =>
        outgoing.destroy(new Error(`the daemon at \`${this.socketPath}\` did not answer in time`)),
      );
      outgoing.on('error', (error: NodeJS.ErrnoException) => reject(this.#connectionError(error)));
      outgoing.end(body);
    });
  }

  #connectionError(error: NodeJS.ErrnoException): Error {
    const reason = connectionProblems.get(error.code ?? '');
    if (reason === undefined) return error;
    return new Error(`cannot reach a daemon at \`${this.socketPath}\`: ${reason}`, { cause: error });
  }
}

/** The answer, or `undefined` to whoever may not have it: for commands that then show less. */
export async function ifAllowed<Answer>(answer: Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ApiError && error.type === 'AccessDeniedException') return undefined;
    throw error;
  }
}

const connectionProblems = new Map([
  ['ENOENT', 'there is no such socket; start one with `drawbridge serve`, or name another with --socket'],
  ['ECONNREFUSED', 'nobody listens on this socket; start one with `drawbridge serve`'],
  ['EACCES', 'the permissions of the socket or its folder keep you out'],
  ['ENOTSOCK', 'this is not a socket'],
  ['ECONNRESET', 'it closed the connection; look into its log'],
  ['EPIPE', 'it closed the connection; look into its log'],
]);

function parseAnswer(text: string, statusCode: number, requestId: string): Members {
  let members: unknown;
  try {
    members = text === '' ? {} : JSON.parse(text);
  } catch (error) {
    throw new Error(`the daemon sent what is not JSON, with status ${statusCode}`, { cause: error });
  }
  if (typeof members !== 'object' || members === null) throw new Error('the daemon sent what is no JSON object');
  if (statusCode === 200) return members as Members;
  const { __type: type, ...words } = members as { __type?: unknown; message?: unknown; explanation?: unknown };
  const message = words.message ?? words.explanation;
  if (typeof type !== 'string') throw new Error(`the daemon answered with status ${statusCode}`);
  throw new ApiError(type, typeof message === 'string' ? message : '', requestId === '' ? null : requestId);
}
