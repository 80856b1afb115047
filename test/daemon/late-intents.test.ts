/** A key store that is connected again while somebody is about to name what he has made in it. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DomainKeys } from '../../src/keys/life/domain-keys.ts';
import type { GeneratedMaterial } from '../../src/keys/life/key-life.ts';
import { settleLateKeyStore } from '../../src/keys/life/late-key-store.ts';
import type { BackingKeyId } from '../../src/kms/names.ts';
import { softHsm2, type TestToken } from '../support/tokens.ts';
import { startService, type TestService } from './kms-service.ts';

if (softHsm2.missing !== null) process.stdout.write(`skipped: intents of a late key store: ${softHsm2.missing}\n`);

const log = { debug() {}, info() {}, warn() {}, error() {} };

describe.skipIf(softHsm2.missing !== null)('What is unfinished in a key store that is connected again', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-late-intents-'));
  let token: TestToken;
  let service: TestService;
  beforeAll(async () => {
    token = softHsm2.create();
    service = await startService(token, folder, { auditFolder: join(folder, 'audit') });
  });
  afterAll(async () => {
    await service.close();
    token.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  const generated = async (): Promise<GeneratedMaterial> => {
    const keyId = await service.newKey();
    const kind = { keySpec: 'SYMMETRIC_DEFAULT', keyUsage: 'ENCRYPT_DECRYPT' } as const;
    return service.life.generate({ keyId, ...kind, keyStore: 'default', ordinal: 2 });
  };
  const activate = (material: GeneratedMaterial) =>
    service.turns.take(() => ({ changes: [material.activated()], response: undefined }), { isQuiet: true });
  const stateOf = (id: BackingKeyId) => service.directory.onRecord.findMaterial(id)?.record.state;
  const isInToken = async (id: BackingKeyId) =>
    (await service.keyStore.listKeys()).some(({ backingKeyId }) => backingKeyId === id);

  /** @param meanwhile Happens before the HSM destroys the first object, and may not have it destroyed. */
  async function settle(meanwhile: () => Promise<void> = async () => undefined): Promise<void> {
    const { directory, turns, store, keyStore } = service;
    const domainKeys = new DomainKeys({ turns, nodeId: store.nodeId, log }, { domainKey: [], backingKey: [] });
    const watched = {
      status: () => keyStore.status(),
      listKeys: () => keyStore.listKeys(),
      describeKey: (...request: Parameters<typeof keyStore.describeKey>) => keyStore.describeKey(...request),
      async destroyKey(...request: Parameters<typeof keyStore.destroyKey>) {
        await meanwhile();
        await keyStore.destroyKey(...request);
      },
    };
    const leftIntents = { add: () => undefined };
    await settleLateKeyStore('default', watched, {
      ...{ directory, domainKeys, turns, nodeId: store.nodeId, leftIntents, log },
    });
  }

  test('is destroyed, and becomes no key any more while that is being done', async () => {
    const material = await generated();
    const outcomes: string[] = [];
    await settle(async () => {
      outcomes.push(
        await activate(material).then(
          () => 'activated',
          () => 'refused',
        ),
      );
    });
    expect(outcomes).toEqual(['refused']);
    expect([stateOf(material.backingKeyId), await isInToken(material.backingKeyId)]).toEqual([undefined, false]);
  });

  test('is left alone where it became a key first', async () => {
    const [one, other] = [await generated(), await generated()];
    let isFirst = true;
    await settle(async () => {
      if (isFirst) await activate(other);
      isFirst = false;
    });
    expect([stateOf(one.backingKeyId), await isInToken(one.backingKeyId)]).toEqual([undefined, false]);
    expect([stateOf(other.backingKeyId), await isInToken(other.backingKeyId)]).toEqual(['Active', true]);
  });
});
