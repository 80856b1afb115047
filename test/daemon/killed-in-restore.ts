/** The child of `backup.test.ts`: gives a backup back, and is killed, as `kill -9` does, at one step of it. */

import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { DatabaseSync } from 'node:sqlite';
import { loadConfiguration } from '../../src/config/load.ts';
import { restoreBackup } from '../../src/daemon/restore.ts';
import { openBackup } from '../../src/store/backup-file.ts';

type KillStep = 'when the audit log says so' | 'before it is in force' | 'when it is in force';

async function main(config: string, path: string, step: KillStep): Promise<void> {
  let isTried = false;
  const at = (reached: KillStep): void => {
    if (reached === step) process.kill(process.pid, 'SIGKILL');
  };
  const exec = DatabaseSync.prototype.exec;
  DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string) {
    if (isTried && sql.startsWith('BEGIN')) at('when the audit log says so');
    exec.call(this, sql);
  };
  const { rename } = files;
  files.rename = async (from, to) => {
    if (String(to).endsWith('metadata.db')) at('before it is in force');
    await rename(from, to);
    if (String(to).endsWith('metadata.db')) at('when it is in force');
  };
  syncBuiltinESMExports();
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const configuration = await loadConfiguration(config);
  const backup = await openBackup(path);
  const progress = (keys: number, total: number): void => {
    isTried = keys === total;
  };
  await restoreBackup({ backup, configuration, environment: {}, uid: 0, log, progress });
  throw new Error(`nothing was killed: ${step}`);
}

const [, self, config, path = '', step] = process.argv;
if (self?.endsWith('killed-in-restore.ts') && config !== undefined) {
  // Safe: the parent gives one of the steps; of another one nothing is killed, which fails the test.
  await main(config, path, step as KillStep);
}
