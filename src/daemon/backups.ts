/**
 * Backups of the metadata, made while the daemon serves and handed out in pieces.
 *
 * A backup is a file in the data folder until it was read, for as long as somebody reads it: whoever asked and went away leaves
 * nothing, and neither does a daemon that was killed.
 */

import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Configuration } from '../config/configuration-schema.ts';
import type { BackupControl, OfferedBackup } from '../http/backup-routes.ts';
import { KmsError } from '../kms/errors.ts';
import { type BackupHeader, writeBackup } from '../store/backup-file.ts';
import type { SqliteStore } from '../store/sqlite-store.ts';
import { version } from './version.ts';

export interface BackupParts {
  readonly configuration: Pick<Configuration, 'account' | 'regions' | 'dataDir'>;
  readonly store: Pick<SqliteStore, 'copyTo' | 'deriveKey' | 'serviceKey'>;
}

/** So long it is kept for whoever reads it piece by piece. */
const idleMs = 60_000;
const isLeftover = /^backup-[0-9a-f]{16}\.(?:copy|file)(?:-journal|-wal|-shm)?$/;

export class Backups implements BackupControl {
  readonly #parts: BackupParts;
  #offered:
    | { readonly id: string; readonly path: string; readonly file: FileHandle; timer: NodeJS.Timeout }
    | undefined;
  #isMaking = false;

  constructor(parts: BackupParts) {
    this.#parts = parts;
  }

  /** What a daemon that was killed has left. */
  static async removeLeftovers(dataDir: string): Promise<void> {
    for (const name of await readdir(dataDir))
      if (isLeftover.test(name)) await rm(join(dataDir, name), { force: true });
  }

  async make(): Promise<OfferedBackup> {
    if (this.#isMaking || this.#offered !== undefined) {
      throw new KmsError('ConflictException', 'Another backup is being made and read; try again in a minute.');
    }
    this.#isMaking = true;
    const { dataDir } = this.#parts.configuration;
    const id = randomBytes(8).toString('hex');
    const copy = join(dataDir, `backup-${id}.copy`);
    const path = join(dataDir, `backup-${id}.file`);
    try {
      const header = await this.#write(copy, path);
      const sha256 = await hashOf(path);
      const file = await open(path);
      const { size: bytes } = await file.stat();
      this.#offered = { id, path, file, timer: setTimeout(() => this.end(id).catch(() => undefined), idleMs).unref() };
      return { id, bytes, sha256, header };
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    } finally {
      this.#isMaking = false;
      await rm(copy, { force: true });
    }
  }

  async read(id: string, offset: number, bytes: number): Promise<Buffer> {
    const offered = this.#of(id);
    offered.timer.refresh();
    const { buffer, bytesRead } = await offered.file.read(Buffer.alloc(bytes), 0, bytes, offset);
    return buffer.subarray(0, bytesRead);
  }

  async end(id: string): Promise<void> {
    const { timer, file, path } = this.#of(id);
    this.#offered = undefined;
    clearTimeout(timer);
    await file.close();
    await rm(path, { force: true });
  }

  async close(): Promise<void> {
    if (this.#offered !== undefined) await this.end(this.#offered.id);
  }

  #of(id: string) {
    if (this.#offered?.id !== id) throw new KmsError('NotFoundException', 'There is no such backup, or no more.');
    return this.#offered;
  }

  async #write(copy: string, path: string): Promise<BackupHeader> {
    const { store, configuration } = this.#parts;
    const { account, regions } = configuration;
    const serviceKey = store.serviceKey('metadata-integrity');
    if (serviceKey === undefined) throw new TypeError('a store that was opened names its service key');
    const key = await store.deriveKey('backup');
    const copied = await store.copyTo(copy);
    const { size: databaseBytes } = await stat(copy);
    const header: BackupHeader = {
      version,
      madeAtMs: Date.now(),
      account,
      regions: regions.map(({ region }) => region),
      serviceKey,
      ...copied,
      databaseBytes,
    };
    await writeBackup(path, header, copy, key);
    return header;
  }
}

async function hashOf(path: string): Promise<string> {
  const digest = createHash('sha256');
  await pipeline(createReadStream(path), digest);
  return digest.digest('hex');
}
