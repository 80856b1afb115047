/**
 * The child of `upkeep-crash.test.ts`: a daemon over its parent's instance, whose clocks pass the date of a deletion, and that is
 * killed at one step of it as `kill -9` does.
 */

import { type SQLInputValue, StatementSync } from 'node:sqlite';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { SetClocks } from '../support/set-clocks.ts';

export const steps = [
  'before the turn that begins it',
  'before the HSM destroys',
  'after the HSM destroyed the first of two objects',
  'after the HSM destroyed',
  'after the HSM was asked whether it is gone',
  'in the transaction that removes the records, after the event',
  'after everything',
] as const;
export type KillStep = (typeof steps)[number];

const dayMs = 24 * 60 * 60 * 1000;

async function main(configurationFile: string, step: KillStep): Promise<void> {
  let isArmed = false;
  const at = (reached: KillStep): void => {
    if (isArmed && reached === step) process.kill(process.pid, 'SIGKILL');
  };
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const configuration = await loadConfiguration(configurationFile);
  const keyStore = await openConfiguredKeyStore(configuration.serviceKeyStore, configuration.keyStores, {}, log);
  let destroyed = 0;
  const watched: Partial<KeyStore> = {
    status() {
      at('before the turn that begins it');
      return keyStore.status();
    },
    async destroyKey(request) {
      at('before the HSM destroys');
      await keyStore.destroyKey(request);
      if (++destroyed === 1) at('after the HSM destroyed the first of two objects');
      else at('after the HSM destroyed');
    },
    async describeKey(request) {
      try {
        return await keyStore.describeKey(request);
      } finally {
        at('after the HSM was asked whether it is gone');
      }
    },
  };
  const given = new Proxy(keyStore, {
    get(target, name) {
      if (name in watched) return watched[name as keyof KeyStore];
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
  // Its types tell named parameters from others; here it hands on whatever it gets.
  const run = StatementSync.prototype.run as (this: StatementSync, ...values: SQLInputValue[]) => object;
  const runOrDie = function (this: StatementSync, ...values: SQLInputValue[]) {
    const outcome = run.apply(this, values);
    if (/^delete from .*policy/i.test(this.sourceSQL))
      at('in the transaction that removes the records, after the event');
    return outcome;
  };
  StatementSync.prototype.run = runOrDie as StatementSync['run'];
  const clocks = new SetClocks();
  await startDaemon({ configuration, environment: {}, log, openKeyStores: [given], clocks });
  isArmed = true;
  await clocks.pass(8 * dayMs);
  at('after everything');
  throw new Error(`nothing was killed: ${step}`);
}

const [, self, configurationFile, step] = process.argv;
if (self?.endsWith('killed-in-deletion.ts') && configurationFile !== undefined) {
  // Safe: the parent gives one of `steps`; of another one nothing is killed, which fails the test.
  await main(configurationFile, step as KillStep);
}
