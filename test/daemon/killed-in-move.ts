/** The child of `moves-crash.test.ts`: a daemon over its parent's instance that is asked for something, and killed at one step of it as `kill -9` does. */

import { type SQLInputValue, StatementSync } from 'node:sqlite';
import { loadConfiguration } from '../../src/config/load.ts';
import { openConfiguredKeyStore } from '../../src/daemon/configured-key-stores.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import type { KeyStore } from '../../src/hsm/key-store.ts';
import { send } from '../end-to-end/support/wire.ts';
import { SetClocks } from '../support/set-clocks.ts';

export const intoToken = [
  'before the object is made',
  'after the object is made',
  'in the transaction that names the other place',
  'before the former place is forgotten',
] as const;
export const outOfToken = [
  'after it is wrapped',
  'in the transaction that names the other place',
  'before the HSM destroys',
  'after the HSM destroyed',
] as const;
export const rotations = ['before the domain key is made', 'after the domain key is made'] as const;
export const retirements = ['before the HSM destroys', 'after the HSM destroyed'] as const;
export type KillStep =
  | (typeof intoToken)[number]
  | (typeof outOfToken)[number]
  | (typeof rotations)[number]
  | (typeof retirements)[number];

async function main(configurationFile: string, step: KillStep, path: string, body: string): Promise<void> {
  let isArmed = false;
  const at = (reached: KillStep): void => {
    if (isArmed && reached === step) process.kill(process.pid, 'SIGKILL');
  };
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const configuration = await loadConfiguration(configurationFile);
  const keyStore = await openConfiguredKeyStore(configuration.serviceKeyStore, configuration.keyStores, {}, log);
  const around = async <Result>(before: KillStep, work: () => Promise<Result>, after: KillStep): Promise<Result> => {
    at(before);
    const result = await work();
    at(after);
    return result;
  };
  const watched: Partial<KeyStore> = {
    keepWrappedKey: (request) =>
      around('before the object is made', () => keyStore.keepWrappedKey(request), 'after the object is made'),
    wrapKey: (request) => around('after it is wrapped', () => keyStore.wrapKey(request), 'after it is wrapped'),
    async forgetWrappedKey(request) {
      at('before the former place is forgotten');
      await keyStore.forgetWrappedKey(request);
    },
    destroyKey: (request) =>
      around('before the HSM destroys', () => keyStore.destroyKey(request), 'after the HSM destroyed'),
    generateDomainKey: (request) =>
      around(
        'before the domain key is made',
        () => keyStore.generateDomainKey(request),
        'after the domain key is made',
      ),
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
    if (/^(insert|update|replace) .*backing_key/i.test(this.sourceSQL))
      at('in the transaction that names the other place');
    return outcome;
  };
  StatementSync.prototype.run = runOrDie as StatementSync['run'];
  const daemon = await startDaemon({
    ...{ configuration, environment: {}, log, openKeyStores: [given], clocks: new SetClocks() },
  });
  isArmed = true;
  const answer = await send(daemon.regions[0].socketPath, { method: 'POST', path, body });
  throw new Error(`nothing was killed: ${step}: ${answer.body}`);
}

const [, self, configurationFile, step, path, body] = process.argv;
if (self?.endsWith('killed-in-move.ts') && configurationFile !== undefined && path !== undefined) {
  // Safe: the parent gives one of the steps; of another one nothing is killed, which fails the test.
  await main(configurationFile, step as KillStep, path, body ?? '{}');
}
