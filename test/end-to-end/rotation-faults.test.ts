/** Rotations when things go wrong: kill -9 in the middle of many, restarts, and a host that dies. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { childrenOf } from '../support/children.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { brokenLink } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, newKey, present } from './support/daemon.ts';

const testTimeoutMs = 180_000;
const Plaintext = Buffer.from('survives');

for (const token of ['softhsm2', 'nss'] as const) {
  const missing = missingForInstance(token);
  if (missing !== null) process.stdout.write(`skipped: Rotations in ${token} when things go wrong: ${missing}\n`);
  describe.skipIf(missing !== null)(`Rotations in ${token}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-rotation-'));
    const dir = join(folder, 'instance');
    let instance: Instance;
    let kms: KMS;
    const start = async (): Promise<void> => {
      instance = await startInstance({ token, dir });
      kms = kmsOver(instance.socket);
    };
    beforeAll(start, bootTimeoutMs);
    afterAll(async () => {
      kms.destroy();
      await instance.stop();
      rmSync(folder, { recursive: true, force: true });
    }, bootTimeoutMs);
    const materialsOf = async (KeyId: string) =>
      present((await kms.listKeyRotations({ KeyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' })).Rotations);

    test(
      'that kill -9 interrupted are whole or not there, no object is left over, and everything is opened as before',
      async () => {
        for (let round = 0; round < 2; round++) {
          const keys = await Promise.all(Array.from({ length: 6 }, () => newKey(kms)));
          let answers = 0;
          const worked = keys.map(async ({ id }) => {
            const blobs: Uint8Array[] = [];
            for (let rotated = 0; ; rotated++) {
              try {
                blobs.push(present((await kms.encrypt({ KeyId: id, Plaintext })).CiphertextBlob));
                await kms.rotateKeyOnDemand({ KeyId: id });
                answers++;
              } catch {
                return { id, rotated, blobs };
              }
            }
          });
          const enough = 12 + Math.floor(Math.random() * 12);
          while (answers < enough) await new Promise((resolve) => setTimeout(resolve, 1));
          await instance.kill9();
          const outcomes = await Promise.all(worked);
          kms.destroy();
          await start();
          expect(instance.log()).not.toMatch(/belongs to no record|not in the HSM|never finished/);
          for (const { id, rotated, blobs } of outcomes) {
            const materials = await materialsOf(id);
            // The last one may have been done, and nobody was told.
            expect([rotated + 1, rotated + 2]).toContain(materials.length);
            const { CurrentKeyMaterialId } = present((await kms.describeKey({ KeyId: id })).KeyMetadata);
            expect(materials.at(-1)).toMatchObject({
              KeyMaterialId: CurrentKeyMaterialId,
              KeyMaterialState: 'CURRENT',
            });
            for (const [at, CiphertextBlob] of blobs.entries()) {
              const opened = await kms.decrypt({ CiphertextBlob });
              expect(Buffer.from(present(opened.Plaintext))).toEqual(Plaintext);
              expect(opened.KeyMaterialId).toBe(materials[at]?.KeyMaterialId);
            }
          }
          expect(brokenLink(dir)).toBeUndefined();
        }
      },
      testTimeoutMs,
    );

    test(
      'are the same after an orderly end and a new start, and so are the dates of automatic ones',
      async () => {
        const key = await newKey(kms);
        await kms.enableKeyRotation({ KeyId: key.id, RotationPeriodInDays: 200 });
        await kms.rotateKeyOnDemand({ KeyId: key.id });
        const seen = async () => {
          const { $metadata, ...status } = await kms.getKeyRotationStatus({ KeyId: key.id });
          return { status, materials: await materialsOf(key.id) };
        };
        const before = await seen();
        expect(before.materials).toHaveLength(2);
        kms.destroy();
        expect(await instance.stop()).toBe(0);
        await start();
        expect(await seen()).toEqual(before);
        await kms.rotateKeyOnDemand({ KeyId: key.id });
        expect((await materialsOf(key.id)).slice(0, 2)).toMatchObject([
          before.materials[0],
          { ...before.materials[1], KeyMaterialState: 'NON_CURRENT' },
        ]);
      },
      testTimeoutMs,
    );

    if (token === 'nss') return;

    test(
      'during which the process that holds the token is killed are made whole, or not at all and with an answer to try again',
      async () => {
        const key = await newKey(kms);
        let made = 0;
        for (let round = 0; round < 3; round++) {
          const rotating = kms.rotateKeyOnDemand({ KeyId: key.id });
          for (const host of childrenOf(instance.pid)) process.kill(host, 'SIGKILL');
          const [outcome] = await Promise.allSettled([rotating]);
          if (outcome?.status === 'rejected') expect(outcome.reason.$fault).toBe('server');
          else made++;
          await expect
            .poll(() => kms.encrypt({ KeyId: key.id, Plaintext }).then(() => 'fine', String), { timeout: 170_000 })
            .toBe('fine');
          expect(await materialsOf(key.id)).toHaveLength(made + 1);
        }
        await expect
          .poll(() => kms.rotateKeyOnDemand({ KeyId: key.id }).then(() => 'fine', String), { timeout: 170_000 })
          .toBe('fine');
        kms.destroy();
        await instance.stop();
        await start();
        expect(instance.log()).not.toMatch(/belongs to no record|not in the HSM/);
        expect(await materialsOf(key.id)).toHaveLength(made + 2);
      },
      testTimeoutMs,
    );
  });
}
