/**
 * Collects the body of one request in memory of its own, up to a limit.
 *
 * Bodies carry plaintexts: the pieces that Node hands over are zeroed once they are copied, and whoever takes the body
 * zeroes it after use (the service does). A body that is too large is given up at its first byte too many, or already at
 * its declared length; nothing of it is kept.
 */

import type { IncomingMessage } from 'node:http';

export type BodyOutcome =
  | { readonly kind: 'complete'; readonly body: Buffer }
  | { readonly kind: 'tooLarge' }
  /** The client went away in the middle: there is nobody to answer. */
  | { readonly kind: 'gone' };

/** Calls `done` exactly once. By callback and not by promise, because every request comes through here. */
export function collectBody(message: IncomingMessage, maxBytes: number, done: (outcome: BodyOutcome) => void): void {
  const declaredBytes = Number(message.headers['content-length'] ?? 0);
  if (declaredBytes > maxBytes) {
    done({ kind: 'tooLarge' });
    return;
  }
  const pieces: Buffer[] = [];
  let bytes = 0;
  let ended = false;
  const finish = (outcome: BodyOutcome): void => {
    if (ended) return;
    ended = true;
    if (outcome.kind !== 'complete') for (const piece of pieces) piece.fill(0);
    done(outcome);
  };
  message.on('data', (piece: Buffer) => {
    if (ended) {
      piece.fill(0);
      return;
    }
    bytes += piece.length;
    pieces.push(piece);
    if (bytes > maxBytes) finish({ kind: 'tooLarge' });
  });
  message.on('end', () => finish({ kind: 'complete', body: join(pieces, bytes) }));
  message.on('error', () => finish({ kind: 'gone' }));
  message.on('close', () => finish({ kind: 'gone' }));
}

function join(pieces: readonly Buffer[], bytes: number): Buffer {
  const [first] = pieces;
  // Node copies each piece out of the socket's buffer, so a single one is already nobody else's memory.
  if (first !== undefined && pieces.length === 1) return first;
  const body = Buffer.alloc(bytes);
  let at = 0;
  for (const piece of pieces) {
    body.set(piece, at);
    at += piece.length;
    piece.fill(0);
  }
  return body;
}
