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
import { isInvitation, isResponse, parseDomainFile } from '../../src/keys/domain/invitation.ts';
import { beginJoining, finishJoining } from '../../src/keys/domain/joining.ts';
import { send } from '../end-to-end/support/wire.ts';

const log = { debug() {}, info() {}, warn() {}, error() {} };

/** @param call After so many of them. */
function killAfter(call: 'generateJoiningPair' | 'give' | 'receive', calls: number): void {
  const { prototype } = PipeKeyCarrying;
  const original = prototype[call] as (this: PipeKeyCarrying, request: never) => Promise<never>;
  let left = calls;
  Object.defineProperty(prototype, call, {
    async value(this: PipeKeyCarrying, request: never) {
      const result = await original.call(this, request);
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

async function rotate(configurationFile: string): Promise<void> {
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
  const begun = await post('rotation', {});
  throw new Error(JSON.stringify([begun, await post('rotation/finish', { domainKeyId: begun.domainKeyId })]));
}

const [, self, what, call, calls, configurationFile = '', path = ''] = process.argv;
if (self?.endsWith('killed-in-domain.ts')) {
  // Safe: the parent gives one of them; of another one nothing is killed, which fails the test.
  killAfter(call as 'give', Number(calls));
  if (what === 'join') await joinDomain(configurationFile, path);
  else await rotate(configurationFile);
  throw new Error('nothing was killed');
}
