/** What another process has in its memory, as a core of it would show. */

import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

export function hasInMemory(pid: number, what: Buffer): boolean {
  return foundInMemory(pid, [what]).length > 0;
}

/** Those that it has. Everything that the process may write to is looked at, once: heaps, stacks, buffers. */
export function foundInMemory(pid: number, sought: readonly Buffer[]): readonly Buffer[] {
  const found = new Set<Buffer>();
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
      if (from === undefined || to === undefined) continue;
      const missing = sought.filter((what) => !found.has(what));
      for (const what of inRegion(memory, Number.parseInt(from, 16), Number.parseInt(to, 16), missing)) found.add(what);
      if (found.size === sought.length) break;
    }
    return [...found];
  } finally {
    closeSync(memory);
  }
}

const pieceBytes = 8 * 1024 * 1024;

function* inRegion(memory: number, from: number, to: number, sought: readonly Buffer[]): Generator<Buffer> {
  const piece = Buffer.alloc(Math.min(pieceBytes, to - from));
  const overlapBytes = Math.max(...sought.map(({ length }) => length));
  for (let at = from; at < to; at += pieceBytes - overlapBytes) {
    try {
      const length = readSync(memory, piece, 0, Math.min(pieceBytes, to - at), at);
      const read = piece.subarray(0, length);
      yield* sought.filter((what) => read.includes(what));
    } catch {
      return; // It is gone by now, or is none that can be read.
    }
    if (at + pieceBytes >= to) return;
  }
}
