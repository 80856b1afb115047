/**
 * Where a page of a database may have copies of rows that are elsewhere by now.
 *
 * `secure_delete` overwrites what a page gives up: a row that is removed, a page that is free. What it leaves is behind a rebuilt page. When
 * rows are spread over neighbouring pages anew, each page is written from its end, and the bytes between its list of rows and the first of
 * them stay as they were: copies of rows that are in another page now, or will be removed from it. Nothing reads these bytes, and whatever
 * is written to them is overwritten by the next row that needs the room.
 *
 * Rows are in the leaves of tables alone: those of an index have ids and names, and no table of ours is one (`WITHOUT ROWID`).
 *
 * Source: SQLite, "Database File Format", 1.6 (B-tree Pages); `rebuildPage` and `defragmentPage` of its `btree.c`, version 3.53.
 */

const leafOfTable = 13;
const headerBytes = 8;
/** Where the first page begins: the file's own header is before. It has the schema. */
const fileHeaderBytes = 100;
const noBytes = Buffer.alloc(65_536);

/** Bytes of a page, from one and up to another. */
export interface Remains {
  readonly from: number;
  readonly to: number;
}

/**
 * @param page One whole page; not the first one of the file.
 * @returns Bytes that nothing is in and that are not all zero; `undefined`: there are none.
 */
export function remainsIn(page: Buffer): Remains | undefined {
  if (page[0] !== leafOfTable) return undefined;
  const from = headerBytes + 2 * page.readUInt16BE(3);
  // 0 stands for 65,536.
  const to = page.readUInt16BE(5) || 65_536;
  // What a page says that is none, or that somebody edited, is nothing to go by.
  if (from >= to || to > page.length) return undefined;
  return page.compare(noBytes, 0, to - from, from, to) === 0 ? undefined : { from, to };
}

/** @param file The first bytes of a database, 100 at least. @returns How large its pages are; `undefined` for what is no database. */
export function pageBytesIn(file: Buffer): number | undefined {
  if (file.length < fileHeaderBytes || file.toString('latin1', 0, 15) !== 'SQLite format 3') return undefined;
  const bytes = file.readUInt16BE(16);
  return bytes === 1 ? 65_536 : bytes;
}
