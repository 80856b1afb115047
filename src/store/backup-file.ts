/**
 * A backup of the metadata: one file, which names itself, says its version and is authenticated as a whole.
 *
 *     line    `drawbridge backup 1`
 *     line    the header, JSON in one line: `BackupHeader`
 *     bytes   the database, `databaseBytes` of them, as SQLite keeps it in a file
 *     bytes   32: HMAC-SHA-256 over everything before, under the key that the service key derives for backups
 *
 * Whoever has another service key cannot make one, and whoever edits one is found out before anything of it is used. It holds what the
 * metadata holds: policies, grants, aliases and who may do what; secrets as the HSM sealed them; no key material in the clear.
 */

import { createHmac, createSecretKey, type Hmac, timingSafeEqual } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { type BackingKeyId, parseBackingKeyId } from '../kms/names.ts';
import { fileProblem } from '../secrets/file-problem.ts';
import { readInPieces, writeFlushed } from './flushed-file.ts';
import type { CopiedStore } from './metadata-store.ts';
import { StoreError } from './store-error.ts';

const firstLine = 'drawbridge backup 1';
const macBytes = 32;
/** More than any header has: the rest is about Regions and a dozen numbers. */
const maxHeaderBytes = 64 * 1024;

export interface BackupHeader extends CopiedStore {
  /** Of Drawbridge. */
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly madeAtMs: number;
  /** 12 digits. */
  readonly account: string;
  readonly regions: readonly string[];
  /** The service key for metadata, with which the records and this file are authenticated. */
  readonly serviceKey: BackingKeyId;
  readonly databaseBytes: number;
}

/** A backup that was opened: its header is not verified before `extract` has returned. */
export interface OpenBackup {
  readonly header: BackupHeader;
  /**
   * Writes the database to `path`, where nothing may be, and verifies the whole.
   * @param key 32 bytes.
   * @throws StoreError `damaged` for a file that was not made under this key, or not as it is; `path` is not to be used then.
   */
  extract(path: string, key: Buffer): Promise<void>;
  close(): Promise<void>;
}

/**
 * Makes the file, with mode 0600, of a database that is copied already.
 * @param key 32 bytes.
 */
export async function writeBackup(path: string, header: BackupHeader, database: string, key: Buffer): Promise<void> {
  const mac = macOf(key);
  const head = Buffer.from(`${firstLine}\n${JSON.stringify(header)}\n`);
  mac.update(head);
  const pieces = async function* () {
    yield head;
    let bytes = 0;
    for await (const piece of readInPieces(database)) {
      bytes += piece.length;
      mac.update(piece);
      yield piece;
    }
    if (bytes !== header.databaseBytes) throw new Error(`${bytes} bytes where ${header.databaseBytes} were announced`);
    yield mac.digest();
  };
  await writeFlushed(path, pieces());
}

/** @throws StoreError `damaged` for what is no backup, or one of a version that is not known; `io`. */
export async function openBackup(path: string): Promise<OpenBackup> {
  let file: FileHandle;
  try {
    file = await open(path);
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    const { header, bytes } = await readHead(file, path);
    return {
      header,
      extract: (target, key) => extract(file, path, { head: bytes, databaseBytes: header.databaseBytes, target, key }),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    if (error instanceof StoreError) throw error;
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): StoreError {
  return new StoreError('io', `cannot read the backup \`${path}\`: ${fileProblem(error, 'read', 'you')}`, {
    cause: error,
  });
}

async function readHead(file: FileHandle, path: string) {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(maxHeaderBytes), 0, maxHeaderBytes, 0);
  const text = buffer.toString('latin1', 0, bytesRead);
  const end = text.indexOf('\n', firstLine.length + 1);
  if (!text.startsWith(`${firstLine}\n`) || end < 0) {
    const isLater = /^drawbridge backup \d+\n/.test(text);
    throw damaged(path, isLater ? 'is of a later version of Drawbridge' : 'is no backup of Drawbridge');
  }
  const bytes = buffer.subarray(0, end + 1);
  const header = headerIn(bytes.toString('utf8', firstLine.length + 1, end));
  if (header === undefined) throw damaged(path, 'has a header that is none');
  const { size } = await file.stat();
  const expected = bytes.length + header.databaseBytes + macBytes;
  if (size !== expected)
    throw damaged(path, `has ${size} bytes and not the ${expected} that it announces: it was cut off`);
  return { header, bytes };
}

/** What is used before the MAC is verified: its types, and which key to ask. The rest is for people, and was made by whoever made the MAC. */
function headerIn(text: string): BackupHeader | undefined {
  try {
    const header = JSON.parse(text) as Record<keyof BackupHeader, unknown>;
    const { serviceKey, databaseBytes, account, regions } = header;
    const isSize = Number.isSafeInteger(databaseBytes) && Number(databaseBytes) > 0;
    const isNamed = typeof serviceKey === 'string' && parseBackingKeyId(serviceKey) !== undefined;
    const isPlaced = typeof account === 'string' && Array.isArray(regions);
    return isSize && isNamed && isPlaced ? (header as unknown as BackupHeader) : undefined;
  } catch {
    return undefined;
  }
}

interface Extraction {
  readonly head: Buffer;
  readonly databaseBytes: number;
  readonly target: string;
  readonly key: Buffer;
}

async function extract(file: FileHandle, path: string, parts: Extraction): Promise<void> {
  const { head, databaseBytes, target, key } = parts;
  const mac = macOf(key).update(head);
  const first = head.length;
  const input = file.createReadStream({ start: first, end: first + databaseBytes - 1, autoClose: false });
  const output = createWriteStream(target, { flags: 'wx', mode: 0o600, flush: true });
  await pipeline(
    input,
    async function* (pieces: AsyncIterable<Buffer>) {
      for await (const piece of pieces) {
        mac.update(piece);
        yield piece;
      }
    },
    output,
  );
  const found = Buffer.alloc(macBytes);
  await file.read(found, 0, macBytes, first + databaseBytes);
  if (timingSafeEqual(mac.digest(), found)) return;
  throw damaged(path, 'was changed since it was made, or was not made with the service key that it names');
}

function macOf(key: Buffer): Hmac {
  return createHmac('sha256', createSecretKey(key));
}

function damaged(path: string, what: string): StoreError {
  return new StoreError('damaged', `\`${path}\` ${what}; nothing of it was used`);
}
