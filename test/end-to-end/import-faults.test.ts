/** Imports and deletions of key material that kill -9 cuts off anywhere: each key has its material or lacks it, and can be given it. */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KMS } from '@aws-sdk/client-kms';
import { describe, expect, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { kmsOver } from './support/connect.ts';
import { present } from './support/daemon.ts';
import {
  asNew,
  type ImportParameters,
  importParameters,
  importRequest,
  metadataOf,
  newExternalKey,
} from './support/imports.ts';

const Plaintext = Buffer.from('cut off');
const rounds = 3;

interface Key {
  readonly id: string;
  readonly material: Buffer;
  readonly parameters: ImportParameters;
  readonly blob: Uint8Array;
}

const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: Imports that are cut off: ${missing}\n`);
describe.skipIf(missing !== null)('Imports and deletions', () => {
  test('that are cut off by kill -9 are whole or undone, and nothing is in the token that no record names', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-imports-'));
    const dir = join(folder, 'instance');
    let instance: Instance = await startInstance({ dir });
    let kms: KMS = kmsOver(instance.socket);
    const bring = ({ id, parameters, material }: Omit<Key, 'blob'>) =>
      kms.importKeyMaterial(importRequest(id, parameters, material));
    const keys: Key[] = [];
    for (let count = 0; count < 4; count++) {
      const { id } = await newExternalKey(kms);
      const key = { id, material: randomBytes(32), parameters: await importParameters(kms, id) };
      await bring(key);
      keys.push({ ...key, blob: present((await kms.encrypt({ KeyId: id, Plaintext })).CiphertextBlob) });
    }

    for (let round = 0; round < rounds; round++) {
      // Each goes through what changes its material, over and over, until the daemon is gone.
      const cutOff = Promise.allSettled(
        keys.map(async (key) => {
          for (;;) {
            await kms.deleteImportedKeyMaterial({ KeyId: key.id });
            await bring(key);
            const { KeyMaterialId } = await kms.importKeyMaterial(
              importRequest(key.id, key.parameters, randomBytes(32), asNew),
            );
            await kms.deleteImportedKeyMaterial({ KeyId: key.id, KeyMaterialId });
          }
        }),
      );
      await sleep(50 + Math.random() * 250);
      await instance.kill9();
      await cutOff;
      kms.destroy();
      instance = await startInstance({ dir });
      kms = kmsOver(instance.socket);
      for (const key of keys) {
        const { KeyState } = await metadataOf(kms, key.id);
        expect(['Enabled', 'PendingImport']).toContain(KeyState);
        const { Rotations = [] } = await kms.listKeyRotations({
          KeyId: key.id,
          IncludeKeyMaterial: 'ALL_KEY_MATERIAL',
        });
        for (const { KeyMaterialId, KeyMaterialState } of Rotations) {
          if (KeyMaterialState !== 'PENDING_ROTATION') continue;
          await kms.deleteImportedKeyMaterial({ KeyId: key.id, KeyMaterialId });
        }
        if (KeyState === 'PendingImport') await bring(key);
        const opened = await kms.decrypt({ CiphertextBlob: key.blob });
        expect(Buffer.from(present(opened.Plaintext))).toEqual(Plaintext);
      }
      for (const line of ['belongs to no record', 'is not in the HSM', 'cannot be used', 'does not verify']) {
        expect(instance.log()).not.toContain(line);
      }
    }
    kms.destroy();
    await instance.stop();
    rmSync(folder, { recursive: true, force: true });
  });
});
