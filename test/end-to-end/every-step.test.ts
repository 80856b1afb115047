/**
 * `kill -9` at each step of what makes and destroys key material: afterwards it is done or not, never half, and every object in
 * the token belongs to a record.
 *
 * Between daemon and token stands the shim, which puts each call on a trace and hangs at the one that a test names; there the
 * daemon is killed, or the process that holds the token. As each record has a MAC, which the token computes, the calls of the
 * token go through all steps: the intent on record, the material made, the change on record, the material destroyed.
 *
 * `DRAWBRIDGE_EVERY_STEP=1` stops at every call instead of the named ones, also in what is left out otherwise, over both tokens. Each call
 * costs a host and a daemon, two seconds: two minutes for the 57 calls of a CreateKey, four times as much for an import. A part of it is run by its name,
 * with the look at what is left (`-t 'softhsm2.*(a rotation|nothing is left)'`), and `DRAWBRIDGE_EVERY_STEP=2/4` stops at the second of each four calls.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS, KMSServiceException } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { loadConfiguration } from '../../src/config/load.ts';
import { libraryOf } from '../../src/daemon/configured-key-stores.ts';
import { operations } from '../../src/operations/find-operation.ts';
import { childrenOf, endOrphans } from '../support/children.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { createShim, missingForShim, type Shim } from '../support/pkcs11-shim.ts';
import { createSetTime, type SetTime } from '../support/set-time.ts';
import { differencesIn } from '../support/stopped-instance.ts';
import { brokenLink } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, present, type TokenName } from './support/daemon.ts';
import { acts, destructionWith, type Subject } from './support/material-acts.ts';
import { send } from './support/wire.ts';

/** `1`, or one of several parts: `2/4`. */
const [, part = 1, parts = 1] = /^(\d+)(?:\/(\d+))?$/.exec(process.env['DRAWBRIDGE_EVERY_STEP'] ?? '') ?? ['', 0];
const isEveryStep = Number(part) > 0;
const tokens: readonly TokenName[] = isEveryStep ? ['softhsm2', 'nss'] : ['softhsm2'];
const testTimeoutMs = isEveryStep ? 1_800_000 : 240_000;

const makesOrDestroys = /^C_(?:GenerateKey|GenerateKeyPair|UnwrapKey|CreateObject|DestroyObject)$/;

/** The numbers of the calls to stop at, from 1, by what they are. */
function stepsIn(trace: readonly string[]): ReadonlyMap<string, number> {
  const isOfPart = (_: unknown, at: number): boolean => at % Number(parts) === Number(part) - 1;
  const calls = trace.map((name, at): [string, number] => [`call ${at + 1}, ${name}`, at + 1]);
  if (isEveryStep) return new Map(calls.filter(isOfPart));
  const first = trace.findIndex((name) => makesOrDestroys.test(name));
  return new Map([
    [`before ${trace[first]}`, first + 1],
    ['before the outcome is on record', trace.lastIndexOf('C_SignInit') + 1],
  ]);
}

for (const token of tokens) {
  const missing = missingForInstance(token) ?? missingForShim();
  if (missing !== null) process.stdout.write(`skipped: kill -9 at every step (${token}): ${missing}\n`);
  describe.skipIf(missing !== null)(`kill -9 at every step (${token})`, () => {
    let folder: string;
    let dir: string;
    let time: SetTime | undefined;
    let shim: (Shim & { remove(): void }) | undefined;
    let instance: Instance;
    let kms: KMS;
    const start = async (): Promise<void> => {
      instance = await startInstance({ token, dir, env: present(time).environment });
      kms = kmsOver(instance.socket);
    };
    /** Of all processes. */
    let log = '';
    const kill = async (): Promise<void> => {
      // It may have been killed before.
      const hosts = existsSync(`/proc/${instance.pid}`) ? childrenOf(instance.pid) : [];
      await instance.kill9();
      await endOrphans(hosts);
      log += instance.log();
      kms.destroy();
    };

    /**
     * Resolves when others are there. With an operator's word they are begun at once: after each that is lost soon after the one before,
     * a daemon waits for twice as long.
     */
    const killHosts = async (): Promise<void> => {
      const killed = childrenOf(instance.pid);
      for (const host of killed) process.kill(host, 'SIGKILL');
      // Or one that is begun now stops at its calls.
      present(shim).endTrace();
      const areThere = async (): Promise<boolean> => {
        const { status } = await send(instance.socket, { path: '/key-stores/default/reconnect' });
        return status === 200 && childrenOf(instance.pid).some((host) => !killed.includes(host));
      };
      await expect.poll(areThere, { timeout: 170_000, interval: 50 }).toBe(true);
    };

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'drawbridge-steps-'));
      dir = join(folder, 'instance');
      time = createSetTime();
      await (await startInstance({ token, dir })).stop();
      const file = join(dir, 'drawbridge.yaml');
      const [keyStore] = (await loadConfiguration(file)).keyStores.values();
      shim = createShim(libraryOf(present(keyStore).members[0]));
      const configuration = parse(readFileSync(file, 'utf8'));
      const { default: own } = configuration.keyStores;
      Object.assign(own, { library: shim.library, environment: { ...own.environment, ...shim.environment } });
      writeFileSync(file, stringify(configuration), { mode: 0o600 });
      await start();
    }, bootTimeoutMs);
    afterAll(async () => {
      await kill();
      shim?.remove();
      time?.remove();
      rmSync(folder, { recursive: true, force: true });
    }, bootTimeoutMs);

    const built = new Set<string>(operations.map(({ name }) => name));
    const all = {
      ...acts,
      'the destruction of a key': {
        ...destructionWith(() => present(time), isEveryStep ? 24 : 10),
        isMore: true as const,
      },
    };
    const tested = Object.entries(all).filter(([, { needs, isMore }]) => built.has(needs) && (isEveryStep || !isMore));

    test.each(tested)(
      '%s is done or not',
      async (_name, { begin, act, isDone }) => {
        const { tracing, endTrace, isStopped } = present(shim);
        // The host that makes keys is opened by the first request for one, and calls the token hundreds of times for that.
        const beginWithHosts = async (): Promise<Subject> => {
          await kms.createKey({});
          return begin(kms);
        };
        // Once before that: what others left, and what comes due with the time that is set, is done then and not in the reference.
        await act(kms, await beginWithHosts());
        const reference = await beginWithHosts();
        const traced = tracing();
        await act(kms, reference);
        const steps = stepsIn(traced());
        endTrace();
        expect(await isDone(kms, reference)).toBe(true);

        let [tried, reached] = [0, 0];
        for (const victim of ['host', 'daemon'] as const) {
          for (const [step, number] of victim === 'host' && !isEveryStep ? [...steps].slice(-1) : steps) {
            const subject = await beginWithHosts();
            tracing(number);
            const outcome = act(kms, subject).then(
              () => 'done',
              (error: unknown) => error,
            );
            const settled = outcome.then(() => true);
            // A call more or less than in the first run, and the step is another one, or is not reached.
            while (!isStopped() && !(await Promise.race([settled, new Promise((go) => setTimeout(go, 5, false))])));
            tried += 1;
            if (isStopped()) reached += 1;
            if (victim === 'daemon') await kill();
            else await killHosts();
            endTrace();
            const told = await outcome;
            if (victim === 'daemon') await start();
            else {
              const works = (): Promise<boolean> => kms.generateRandom({ NumberOfBytes: 1 }).then(Boolean, () => false);
              await expect.poll(works, { timeout: 170_000, interval: 50 }).toBe(true);
              // Whoever is told of a failure can try again.
              if (told !== 'done') expect([step, (told as KMSServiceException).$fault]).toEqual([step, 'server']);
            }
            const isThere = await isDone(kms, subject);
            if (told === 'done') expect([victim, step, isThere]).toEqual([victim, step, true]);
          }
        }
        expect(reached).toBeGreaterThan(tried / 2);
      },
      testTimeoutMs,
    );

    test('nothing is left in the token that no record names, and nothing is missing', async () => {
      const stop = async (): Promise<void> => {
        kms.destroy();
        expect(await instance.stop()).toBe(0);
        log += instance.log();
      };
      await stop();
      // What a host could not undo is undone at the next start.
      await start();
      await stop();
      // Not even by the log: what was left half done was undone.
      expect(log).not.toContain('belongs to no record');
      expect(await differencesIn(dir, '')).toEqual({ orphans: [], missing: [] });
      expect(brokenLink(dir)).toBeUndefined();
    });
  });
}
