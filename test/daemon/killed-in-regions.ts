/**
 * The child of `regions-crash.test.ts`: a daemon over its parent's instance that is asked to replicate a key, or to move its primary key, or that
 * deletes a replica whose date has come, and killed, as `kill -9` does, at one step of it.
 */

import { DatabaseSync, type SQLInputValue, StatementSync } from 'node:sqlite';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import { kmsOver } from '../end-to-end/support/connect.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { configurationIn, there } from './two-regions.ts';

export type KillStep =
  | 'with its intent on record'
  | 'between two of its records'
  | 'when it is written'
  | 'when the records are gone';
export type RegionAct = 'replicate' | 'move' | 'delete';

const dayMs = 24 * 60 * 60 * 1000;

async function main(path: string, act: RegionAct, step: KillStep, KeyId: string): Promise<void> {
  let isArmed = false;
  let written = 0;
  let hasRemoved = false;
  const at = (reached: KillStep): void => {
    if (isArmed && reached === step) process.kill(process.pid, 'SIGKILL');
  };
  const exec = DatabaseSync.prototype.exec;
  DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string) {
    if (sql.startsWith('BEGIN')) at('with its intent on record');
    exec.call(this, sql);
    if (sql !== 'COMMIT') return;
    at('when it is written');
    if (hasRemoved) at('when the records are gone');
  };
  // Its types tell named parameters from others; here it hands on whatever it gets.
  const run = StatementSync.prototype.run as (this: StatementSync, ...values: SQLInputValue[]) => object;
  const runOrDie = function (this: StatementSync, ...values: SQLInputValue[]) {
    const outcome = run.apply(this, values);
    hasRemoved ||= /^delete from .?kms_key\b/i.test(this.sourceSQL);
    if (isArmed && ++written === 2) at('between two of its records');
    return outcome;
  };
  StatementSync.prototype.run = runOrDie as StatementSync['run'];
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const configuration = await configurationIn(path);
  const keyStore = await openConfiguredKeyStore(configuration.serviceKeyStore, configuration.keyStores, {}, log);
  const clocks = new SetClocks();
  const daemon = await startDaemon({ configuration, environment: {}, log, openKeyStores: [keyStore], clocks });
  const kms = kmsOver(daemon.regions[0].socketPath);
  isArmed = true;
  if (act === 'delete') await clocks.pass(8 * dayMs);
  else if (act === 'replicate') await kms.replicateKey({ KeyId, ReplicaRegion: there });
  else await kms.updatePrimaryRegion({ KeyId, PrimaryRegion: there });
  throw new Error(`nothing was killed: ${step}`);
}

const [, self, path, act, step, keyId = ''] = process.argv;
if (self?.endsWith('killed-in-regions.ts') && path !== undefined) {
  // Safe: the parent gives one of each; of another one nothing is killed, which fails the test.
  await main(path, act as RegionAct, step as KillStep, keyId);
}
