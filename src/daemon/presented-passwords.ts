/**
 * Which passwords of custom key stores were presented to an HSM and not taken, as far as is known: an empty file in the data folder for each,
 * named after the sealed password, which a daemon and a rehearsal of a restore both look for.
 *
 * It is there, on the disk, before a host gets the password, and goes when the token has taken it, or was not asked. So whoever was ended
 * in between, or by a refusal before that was on record, has left it: whatever begins next knows that somebody has to say that the
 * password is right before it is presented again. A few wrong ones lock a token.
 */

import { hash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { PresentedPasswords } from '../keys/custom-key-store.ts';
import type { CustomKeyStoreRecord } from '../store/records/records.ts';

type Presented = Pick<CustomKeyStoreRecord, 'sealedPassword'>;

export class PresentedPasswordFiles implements PresentedPasswords {
  readonly #dataDir: string;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  pathOf({ sealedPassword }: Presented): string {
    return join(this.#dataDir, `password-presented-${hash('sha256', sealedPassword).slice(0, 16)}`);
  }

  async has(record: Presented): Promise<boolean> {
    const file = await openOrNone(this.pathOf(record), constants.O_RDONLY | constants.O_NOFOLLOW);
    await file?.close();
    return file !== undefined;
  }

  async add(record: Presented): Promise<void> {
    await write(this.pathOf(record), constants.O_CREAT);
  }

  /** @returns Was it not there yet? */
  async addNew(record: Presented): Promise<boolean> {
    try {
      await write(this.pathOf(record), constants.O_CREAT | constants.O_EXCL);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      return false;
    }
  }

  async remove(record: Presented): Promise<void> {
    await rm(this.pathOf(record), { force: true });
  }
}

/** The file and its name are on the disk then. */
async function write(path: string, flags: number): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_NOFOLLOW | flags, 0o600);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  const folder = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function openOrNone(path: string, flags: number) {
  try {
    return await open(path, flags);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
