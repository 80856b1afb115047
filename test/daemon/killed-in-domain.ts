/**
 * The child of `domain-killed.slow.test.ts`: has a token join a domain, or a daemon make a new domain key, and is killed, as `kill -9` does, when one of
 * the calls to an HSM has been made.
 */

import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { loadConfiguration } from '../../src/config/load.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import { withConfiguredToken } from '../../src/daemon/domain-joining.ts';
import { PipeKeyCarrying } from '../../src/hsm/pipe-key-carrying.ts';
import { PipeKeyStore } from '../../src/hsm/pipe-key-store.ts';
import { isInvitation, isResponse, parseDomainFile } from '../../src/keys/domain/invitation.ts';
import { beginJoining, finishJoining } from '../../src/keys/domain/joining.ts';
import { DomainKeys } from '../../src/keys/life/domain-keys.ts';
import { send } from '../end-to-end/support/wire.ts';

const log = { debug() {}, info() {}, warn() {}, error() {} };

/** What is called at each step, by its name. */
const steps = {
  generateJoiningPair: PipeKeyCarrying.prototype,
  give: PipeKeyCarrying.prototype,
  receive: PipeKeyCarrying.prototype,
  activate: DomainKeys.prototype,
  destroyKey: PipeKeyStore.prototype,
} as const;
export type DomainKillStep = keyof typeof steps;

/** @param call After so many of them. */
function killAfter(call: DomainKillStep, calls: number): void {
  const prototype: object = steps[call];
  // It is one of its methods.
  const original = Reflect.get(prototype, call) as (this: object, ...request: unknown[]) => Promise<unknown>;
  let left = calls;
  Object.defineProperty(prototype, call, {
    async value(this: object, ...request: unknown[]) {
      const result = await original.apply(this, request);
      if (--left === 0) process.kill(process.pid, 'SIGKILL');
      return result;
    },
  });
}

async function joinDomain(configurationFile: string, path: string): Promise<void> {
  const configuration = await loadConfiguration(configurationFile);
  const token = { configuration, environment: {}, keyStore: 'default', member: 'second', log };
  const file = parseDomainFile(readFileSync(path, 'utf8'));
  await withConfiguredToken(token, async (newcomer) => {
    if (isInvitation(file)) await beginJoining(newcomer, file);
    else if (isResponse(file)) await finishJoining(newcomer, file);
  });
}

/** @param arm Has it killed from now on. @param choices A member that leaves, if one does. */
async function rotate(configurationFile: string, arm: () => void, choices: object): Promise<void> {
  const configuration = await loadConfiguration(configurationFile);
  const daemon = await startDaemon({ configuration, environment: {}, log });
  const [{ socketPath }] = daemon.regions;
  const post = async (act: string, body: object) => {
    const request = { method: 'POST', path: `/domains/default/${act}`, body: JSON.stringify(body) };
    return JSON.parse((await send(socketPath, request)).body);
  };
  for (;;) {
    const { keyStores } = JSON.parse((await send(socketPath, { method: 'GET', path: '/status' })).body);
    if (keyStores[0].members.every(({ state }: { readonly state: string }) => state === 'connected')) break;
    await setTimeout(20);
  }
  arm();
  const begun = await post('rotation', choices);
  throw new Error(JSON.stringify([begun, await post('rotation/finish', { domainKeyId: begun.domainKeyId })]));
}

const [, self, what, call, calls, configurationFile = '', path = ''] = process.argv;
if (self?.endsWith('killed-in-domain.ts')) {
  // Safe: the parent gives one of them.
  const arm = (): void => killAfter(call as DomainKillStep, Number(calls));
  if (what === 'join') {
    arm();
    await joinDomain(configurationFile, path);
  } else await rotate(configurationFile, arm, what === 'leave' ? { leaver: 'second' } : {});
  throw new Error('nothing was killed');
}
