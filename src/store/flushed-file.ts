/**
 * Large files that are written while others wait for the disk.
 *
 * What is written comes to the disk later, and whoever asks for a sync then waits for all of it: the system's journal puts the data
 * of one file before the next entry of any other (ext4, `data=ordered`), and so the sync of a small write of the metadata or of the audit log
 * takes as long as that of hundreds of megabytes (measured: 860 ms in which nobody was answered). So it is synced as it is written, a
 * few megabytes at a time, beside the event loop.
 */

import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

const unsyncedBytes = 4 * 1024 * 1024;
const pauseMs = 10;

/** Writes a new file with mode 0600. It is on disk when the promise resolves. Where it rejects something may be left at `path`. */
export async function writeFlushed(path: string, pieces: AsyncIterable<Buffer>): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    let unsynced = 0;
    for await (const piece of pieces) {
      await writeAll(file, piece);
      unsynced += piece.length;
      if (unsynced < unsyncedBytes) continue;
      await file.datasync();
      unsynced = 0;
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** What is in a file, in pieces for `writeFlushed`. */
export function readInPieces(path: string): AsyncIterable<Buffer> {
  return createReadStream(path, { highWaterMark: unsyncedBytes / 8 });
}

/** Syncs a file again and again while somebody else writes it. */
export async function flushWhile<Result>(path: string, write: () => Promise<Result>): Promise<Result> {
  const file = await open(path, 'r+');
  let isWritten = false;
  const flushing = (async () => {
    while (!isWritten) {
      await file.datasync();
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  })();
  // Whoever writes it hears of a disk that refuses.
  const flushed = flushing.catch(() => undefined);
  try {
    return await write();
  } finally {
    isWritten = true;
    await flushed;
    await file.close();
  }
}

async function writeAll(file: FileHandle, piece: Buffer): Promise<void> {
  for (let at = 0; at < piece.length; ) at += (await file.write(piece, at)).bytesWritten;
}
