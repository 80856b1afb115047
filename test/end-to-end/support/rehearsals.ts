/** What an operator does to know that the metadata could be given back: a backup of a running daemon, and the try. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { loadConfiguration } from '../../../src/config/load.ts';
import { type TriedBackup, tryBackup } from '../../../src/daemon/restore.ts';
import { openBackup } from '../../../src/store/backup-file.ts';
import { program } from '../../support/program.ts';

const log = { debug() {}, info() {}, warn() {}, error() {} };

/** @returns The path. */
export async function backUp(socket: string, path: string): Promise<string> {
  await promisify(execFile)(process.execPath, [program, 'backup', '--socket', socket, '--out', path]);
  return path;
}

/** `drawbridge restore --check`, in this process. */
export async function rehearse(configurationFile: string, path: string): Promise<TriedBackup> {
  const backup = await openBackup(path);
  const configuration = await loadConfiguration(configurationFile);
  const parts = { configuration, environment: {}, uid: 0, log, progress: () => undefined };
  return tryBackup({ backup, ...parts }).finally(() => backup.close());
}
