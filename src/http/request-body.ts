/**
 * Collects the body of one request in memory of its own, up to a limit.
 *
 * Bodies carry plaintexts: the pieces that Node hands over are zeroed once they are copied, and whoever takes the body
 * zeroes it after use (the service does). A body that is too large is given up at its first byte too many, or already at
 * its declared length; nothing of it is kept.
 */

import type { IncomingMessage } from 'node:http';
import { secretMemory } from '../secrets/secret-memory.ts';
import type { RequestGate } from './connections/request-gate.ts';

export type BodyOutcome =
  | { readonly kind: 'complete'; readonly body: Buffer }
  | { readonly kind: 'tooLarge' }
  /** The client went away in the middle: there is nobody to answer. */
  | { readonly kind: 'gone' };

/**
 * Calls `done` exactly once. By callback and not by promise, because every request comes through here.
 * @param gate Of the connection; what it is having parsed may hold the whole request.
 */
export function collectBody(
  message: IncomingMessage,
  maxBytes: number,
  gate: RequestGate,
  done: (outcome: BodyOutcome) => void,
): void {
  const declaredBytes = Number(message.headers['content-length'] ?? 0);
  if (declaredBytes > maxBytes) {
    done({ kind: 'tooLarge' });
    return;
  }
  gate.afterPiece(() => {
    // Cheaper than to listen for it: almost every request is all there. Requests are run in their order.
    const isWhole = message.complete && message.headers['transfer-encoding'] === undefined;
    if (isWhole && gate.isNext(message)) done(wholeBody(message));
    else collectPieces(message, declaredBytes, maxBytes, done);
  });
}

/** Of a request that has been parsed, with a declared length or none: it has memory of its own already. */
function wholeBody(message: IncomingMessage): BodyOutcome {
  // A message without an encoding gives buffers.
  const body = (message.read() as Buffer | null) ?? Buffer.alloc(0);
  return { kind: 'complete', body };
}

function collectPieces(
  message: IncomingMessage,
  declaredBytes: number,
  maxBytes: number,
  done: (outcome: BodyOutcome) => void,
): void {
  let body = Buffer.alloc(0);
  let bytes = 0;
  let ended = false;
  const finish = (kind: BodyOutcome['kind']): void => {
    if (ended) return;
    ended = true;
    if (kind === 'complete') {
      done({ kind, body: body.subarray(0, bytes) });
      return;
    }
    body.fill(0);
    done({ kind });
  };
  message.on('data', (piece: Buffer) => {
    if (!ended && bytes + piece.length > maxBytes) finish('tooLarge');
    if (!ended) {
      body = withRoom(body, bytes, piece.length, declaredBytes);
      body.set(piece, bytes);
      bytes += piece.length;
    }
    piece.fill(0);
  });
  message.on('end', () => finish('complete'));
  message.on('error', () => finish('gone'));
  message.on('close', () => finish('gone'));
}

/**
 * The memory for a body with room for `more` bytes. Pieces are copied as they come: a client that sends a byte at a time
 * would otherwise make every byte cost a `Buffer` of its own.
 */
function withRoom(
  body: Buffer<ArrayBuffer>,
  usedBytes: number,
  more: number,
  declaredBytes: number,
): Buffer<ArrayBuffer> {
  if (usedBytes + more <= body.length) return body;
  const larger = secretMemory(Math.max(usedBytes + more, body.length * 2, usedBytes === 0 ? declaredBytes : 0));
  larger.set(body.subarray(0, usedBytes));
  body.fill(0);
  return larger;
}
