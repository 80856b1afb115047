/** A database's file, of which what remains in its pages (`page-remains.ts`) is overwritten from its beginning to its end. */

import { fdatasync, read as readAt, readSync, writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { pageBytesIn, remainsIn } from './page-remains.ts';

const [read, sync] = [promisify(readAt), promisify(fdatasync)];
/** A whole number of pages. To look at so many takes half a millisecond. */
const chunkBytes = 1024 * 1024;
const zeros = Buffer.alloc(65_536);

/**
 * Reads beside the event loop, and looks at what was read in it, a part at a time. It waits for the disk at the end.
 * @param file A descriptor for reading and writing.
 * @param clear Has a page overwritten in which something remains, by `clearPage`; pages are numbered from 1.
 * @param looked Told of so many pages, before they are looked at; what it throws ends it.
 */
export async function sweepFile(
  file: number,
  clear: (page: number, pageBytes: number) => void,
  looked: (pages: number) => void = () => undefined,
): Promise<void> {
  const chunk = Buffer.alloc(chunkBytes);
  let pageBytes: number | undefined;
  for (let at = 0; ; at += chunkBytes) {
    const { bytesRead } = await read(file, chunk, 0, chunkBytes, at);
    pageBytes ??= pageBytesIn(chunk.subarray(0, bytesRead));
    if (pageBytes === undefined) return;
    looked(Math.floor(bytesRead / pageBytes));
    for (let offset = 0; offset + pageBytes <= bytesRead; offset += pageBytes) {
      const page = (at + offset) / pageBytes + 1;
      if (page > 1 && remainsIn(chunk.subarray(offset, offset + pageBytes)) !== undefined) clear(page, pageBytes);
    }
    if (bytesRead < chunkBytes) break;
  }
  await sync(file);
}

/**
 * Overwrites what remains in a page as it is now: what was read before may be half of what somebody wrote there meanwhile.
 * @returns Was there anything?
 */
export function clearPage(file: number, page: number, pageBytes: number): boolean {
  const bytes = Buffer.alloc(pageBytes);
  if (readSync(file, bytes, 0, pageBytes, (page - 1) * pageBytes) < pageBytes) return false;
  return overwriteRemains(file, page, bytes);
}

/** The same, of a page that is known. */
export function overwriteRemains(file: number, page: number, bytes: Buffer): boolean {
  const remains = remainsIn(bytes);
  if (remains === undefined) return false;
  writeSync(file, zeros, 0, remains.to - remains.from, (page - 1) * bytes.length + remains.from);
  return true;
}
