/** Wrapped keys and `kill -9`: nothing of a key that nobody was told of is left in the token, and every other one works. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, present } from './support/daemon.ts';
import { send } from './support/wire.ts';

const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: Wrapped keys and kill -9: ${missing}\n`);

describe.skipIf(missing !== null)('Wrapped keys and kill -9', () => {
  let instance: Instance;
  beforeAll(async () => {
    instance = await startInstance();
    await instance.kill9();
    const configuration = join(instance.dir, 'drawbridge.yaml');
    writeFileSync(
      configuration,
      readFileSync(configuration, 'utf8').replace('# residency: token', 'residency: wrapped'),
    );
  }, bootTimeoutMs);
  afterAll(async () => {
    await instance.stop();
  }, bootTimeoutMs);

  test('leave no orphan in the token, whenever it comes', async () => {
    const Message = Buffer.from('a message');
    const MacAlgorithm = 'HMAC_SHA_256';
    const known: string[] = [];
    // The first time before there is a domain key, and then in the middle of what is under way.
    for (const afterKeys of [0, 4]) {
      instance = await instance.restart();
      const kms = kmsOver(instance.socket);
      const creations = Array.from({ length: 12 }, async () => {
        const { KeyMetadata } = await kms.createKey({ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' });
        known.push(present(KeyMetadata?.KeyId));
      });
      const settled = Promise.allSettled(creations);
      // The last of them is under way then, and others with it.
      if (afterKeys > 0) await Promise.any(creations.slice(afterKeys - 1));
      else await new Promise((resolve) => setTimeout(resolve, 20));
      await instance.kill9();
      await settled;
      kms.destroy();
    }
    instance = await instance.restart();
    const kms = kmsOver(instance.socket);
    const { Keys } = await kms.listKeys({ Limit: 1000 });
    const ids = present(Keys).map(({ KeyId }) => present(KeyId));
    expect(ids).toEqual(expect.arrayContaining(known));
    for (const KeyId of ids) expect((await kms.generateMac({ KeyId, MacAlgorithm, Message })).Mac).toHaveLength(32);
    kms.destroy();
    const { body } = await send(instance.socket, { method: 'POST', path: '/census/orphans', body: '{}' });
    expect(JSON.parse(body)).toMatchObject({ orphans: [], unreachable: [], damaged: 0 });
    const status = JSON.parse((await send(instance.socket, { method: 'GET', path: '/status' })).body);
    expect(status.keyStores[0].domainKeys).toMatchObject([{ state: 'Active', backingKeys: ids.length }]);
    expect(instance.log()).not.toMatch(/belongs to no record|is not in the HSM/);
  }, 240_000);
});
