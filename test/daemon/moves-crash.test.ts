/**
 * `kill -9` at the steps of a move, and of a domain key's rotation and end: the old place or the new one serves, and nothing is left over.
 * `DRAWBRIDGE_EVERY_STEP=1` kills at every named step.
 */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { present } from '../end-to-end/support/daemon.ts';
import { send } from '../end-to-end/support/wire.ts';
import { SetClocks } from '../support/set-clocks.ts';
import { nssSoftoken, softHsm2, type TestToken, type TokenKind } from '../support/tokens.ts';
import { intoToken, type KillStep, outOfToken, retirements, rotations } from './killed-in-move.ts';
import { createUpkeptInstance, type Running, type UpkeptInstance } from './upkept-instance.ts';

const child = fileURLToPath(new URL('killed-in-move.ts', import.meta.url));
const Plaintext = Buffer.from('a plaintext');

/** What both kinds of tests do with an instance of their own. */
function over(kind: TokenKind) {
  let token: TestToken;
  let instance: UpkeptInstance;
  let running: Running | undefined;
  beforeAll(async () => {
    token = kind.create();
    instance = await createUpkeptInstance(token, 'wrapped');
  });
  afterAll(async () => {
    await running?.stop();
    await instance.remove();
    token.remove();
  });
  const post = async (path: string, body: object = {}) => {
    const answer = await send(present(running).socketPath, { method: 'POST', path, body: JSON.stringify(body) });
    return JSON.parse(answer.body);
  };
  return {
    post,
    get instance() {
      return instance;
    },
    /** What the work gives back; the daemon is stopped then. */
    async while<Result>(work: (running: Running) => Promise<Result>): Promise<Result> {
      const clocks = new SetClocks();
      running = await instance.start(clocks);
      try {
        await clocks.pass(2_000);
        await clocks.settled();
        return await work(running);
      } finally {
        await running.stop();
        running = undefined;
      }
    },
    kill(step: KillStep, path: string, body: object = {}) {
      const { signal, stderr } = spawnSync(
        process.execPath,
        [child, instance.configurationFile, step, path, JSON.stringify(body)],
        { encoding: 'utf8' },
      );
      expect([signal, stderr]).toEqual(['SIGKILL', '']);
    },
    async assertNothingIsLeft() {
      expect(await post('/census/orphans')).toMatchObject({ orphans: [], unreachable: [], damaged: 0 });
      const { problems } = await post('/census', { after: null });
      expect(problems).toEqual([]);
    },
  };
}

/** Each takes a daemon of its own: where there is no time for all, those after which an object has to be put right. */
const isEveryStep = process.env['DRAWBRIDGE_EVERY_STEP'] === '1';
const cleanedUp: readonly KillStep[] = ['after the object is made', 'before the HSM destroys'];
const some = (steps: readonly KillStep[]) => steps.filter((step) => isEveryStep || cleanedUp.includes(step));

const moving = (keys: readonly string[], residency: string) => ({ keys, residency, to: null, dryRun: false });
const objectsOf = async (instance: UpkeptInstance, id: string) =>
  (await instance.objects()).filter((label) => label.startsWith(`drawbridge:${id}:`));

for (const { missing, name } of [softHsm2, nssSoftoken])
  if (missing !== null)
    process.stdout.write(`skipped: a daemon that is killed while keys move (${name}): ${missing}\n`);

describe.skipIf(softHsm2.missing !== null)('A daemon that is killed while it moves a key into the token', () => {
  const at = over(softHsm2);

  test.each(some(intoToken))('%s', async (step) => {
    const [id, blob] = await at.while(async ({ kms }) => {
      const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
      return [KeyId, (await kms.encrypt({ KeyId, Plaintext })).CiphertextBlob] as const;
    });
    at.kill(step, '/moves', moving([id], 'token'));
    const isMoved = step === 'before the former place is forgotten';
    await at.while(async ({ kms }) => {
      expect((await kms.decrypt({ CiphertextBlob: blob })).KeyId).toContain(id);
      expect(await objectsOf(at.instance, id)).toHaveLength(isMoved ? 1 : 0);
      await at.assertNothingIsLeft();
      const again = await at.post('/moves', moving([id], 'token'));
      expect(again).toMatchObject({ refused: [], inPlace: isMoved ? 1 : 0 });
      expect((await kms.decrypt({ CiphertextBlob: blob })).KeyId).toContain(id);
      expect(await objectsOf(at.instance, id)).toHaveLength(1);
    });
    expect((await at.instance.records()).remnant).toEqual([]);
  });

  test.each(some(rotations))('or rotates a domain key: %s', async (step) => {
    const id = await at.while(async ({ kms }) => present((await kms.createKey({})).KeyMetadata?.KeyId));
    at.kill(step, '/domains/default/rotate');
    await at.while(async ({ kms }) => {
      await kms.encrypt({ KeyId: id, Plaintext });
      await at.assertNothingIsLeft();
    });
    const { domainKey } = await at.instance.records();
    const objects = (await at.instance.objects()).filter((label) => label.startsWith('drawbridge:domain:'));
    expect(domainKey.map(({ state }) => state)).toEqual(objects.map(() => 'Active'));
  });

  test.each(some(retirements))('or retires a domain key: %s', async (step) => {
    const id = await at.while(async ({ kms }) => {
      const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
      // Nothing comes under the first of these.
      for (let count = 0; count < 2; count++) await at.post('/domains/default/rotate');
      return KeyId;
    });
    const before = (await at.instance.records()).domainKey;
    at.kill(step, '/domains/default/retire');
    await at.while(async ({ kms }) => {
      await kms.encrypt({ KeyId: id, Plaintext });
      await at.assertNothingIsLeft();
    });
    const { domainKey } = await at.instance.records();
    expect(domainKey).toHaveLength(before.length - 1);
    const objects = (await at.instance.objects()).filter((label) => label.startsWith('drawbridge:domain:'));
    expect(objects).toHaveLength(domainKey.length);
  });
});

describe.skipIf(nssSoftoken.missing !== null)('A daemon that is killed while it moves a key out of the token', () => {
  const at = over(nssSoftoken);

  test.each(some(outOfToken))('%s', async (step) => {
    const [id, blob] = await at.while(async ({ kms }) => {
      const KeyId = present((await kms.createKey({})).KeyMetadata?.KeyId);
      await at.post('/moves', moving([KeyId], 'token'));
      return [KeyId, (await kms.encrypt({ KeyId, Plaintext })).CiphertextBlob] as const;
    });
    at.kill(step, '/moves', moving([id], 'wrapped'));
    const isMoved = step.includes('HSM destroy');
    await at.while(async ({ kms }) => {
      expect((await kms.decrypt({ CiphertextBlob: blob })).KeyId).toContain(id);
      expect(await objectsOf(at.instance, id)).toHaveLength(isMoved ? 0 : 1);
      await at.assertNothingIsLeft();
      expect(await at.post('/moves', moving([id], 'wrapped'))).toMatchObject({ refused: [], inPlace: isMoved ? 1 : 0 });
      expect(await objectsOf(at.instance, id)).toEqual([]);
      expect((await kms.decrypt({ CiphertextBlob: blob })).KeyId).toContain(id);
    });
    expect((await at.instance.records()).remnant).toEqual([]);
  });
});
