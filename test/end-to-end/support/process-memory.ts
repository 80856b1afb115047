/** What another process has in its memory, as a core of it would show. */

import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** Everything that the process may write to is looked at: heaps, stacks, buffers. */
export function hasInMemory(pid: number, what: Buffer): boolean {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
      if (from === undefined || to === undefined) continue;
      if (regionHas(memory, Number.parseInt(from, 16), Number.parseInt(to, 16), what)) return true;
    }
    return false;
  } finally {
    closeSync(memory);
  }
}

const pieceBytes = 8 * 1024 * 1024;

function regionHas(memory: number, from: number, to: number, what: Buffer): boolean {
  const piece = Buffer.alloc(pieceBytes);
  for (let at = from; at < to; at += pieceBytes - what.length) {
    try {
      const length = readSync(memory, piece, 0, Math.min(pieceBytes, to - at), at);
      if (piece.subarray(0, length).includes(what)) return true;
    } catch {
      return false; // It is gone by now, or is none that can be read.
    }
    if (at + pieceBytes >= to) return false;
  }
  return false;
}
