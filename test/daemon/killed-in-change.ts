/**
 * The child of `intents.test.ts`: a daemon over its parent's instance that is asked for a change and killed, as `kill -9` does,
 * at one step of it.
 */

import { DatabaseSync } from 'node:sqlite';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { SetClocks } from '../support/set-clocks.ts';

export const killSteps = ['with its intent on record', 'when it is written'] as const;
export type KillStep = (typeof killSteps)[number];

async function main(configurationFile: string, step: KillStep, KeyId: string, AliasName: string): Promise<void> {
  let isArmed = false;
  const exec = DatabaseSync.prototype.exec;
  DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string) {
    if (isArmed && sql.startsWith('BEGIN') && step === 'with its intent on record')
      process.kill(process.pid, 'SIGKILL');
    exec.call(this, sql);
    if (isArmed && sql === 'COMMIT') process.kill(process.pid, 'SIGKILL');
  };
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const configuration = await loadConfiguration(configurationFile);
  const keyStore = await openConfiguredKeyStore(configuration.serviceKeyStore, configuration.keyStores, {}, log);
  const clocks = new SetClocks();
  const daemon = await startDaemon({ configuration, environment: {}, log, openKeyStores: [keyStore], clocks });
  isArmed = true;
  await kmsOver(daemon.regions[0].socketPath).createAlias({ AliasName, TargetKeyId: KeyId });
  throw new Error(`nothing was killed: ${step}`);
}

const [, self, configurationFile, step, keyId = '', aliasName = ''] = process.argv;
if (self?.endsWith('killed-in-change.ts') && configurationFile !== undefined) {
  // Safe: the parent gives one of `killSteps`; of another one nothing is killed, which fails the test.
  await main(configurationFile, step as KillStep, keyId, aliasName);
}
