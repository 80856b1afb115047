/**
 * `kill -9` at the steps of ReplicateKey, UpdatePrimaryRegion and the deletion of a replica: at the next start it is done in both Regions, or in
 * none, and what was done is on record.
 */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readAuditEvents, verifyAuditLog } from '../../src/audit/read-audit-log.ts';
import { present } from '../end-to-end/support/daemon.ts';
import { importMaterial, metadataOf } from '../end-to-end/support/imports.ts';
import { refusal } from '../end-to-end/support/refusals.ts';
import { softHsm2 } from '../support/tokens.ts';
import type { KillStep, RegionAct } from './killed-in-regions.ts';
import { arnIn, here, TwoRegions, there } from './two-regions.ts';

const child = fileURLToPath(new URL('killed-in-regions.ts', import.meta.url));
if (softHsm2.missing !== null) process.stdout.write(`skipped: killed between Regions: ${softHsm2.missing}\n`);

const Plaintext = Buffer.from('in both');
const material = Buffer.alloc(32, 7);

describe.skipIf(softHsm2.missing !== null)('A daemon that is killed while it', () => {
  let regions: TwoRegions;
  beforeAll(async () => {
    regions = new TwoRegions();
    await regions.create();
  });
  afterAll(() => regions.remove());

  const cases: readonly [RegionAct, 'AWS_KMS' | 'EXTERNAL', KillStep, boolean][] = [
    ['replicate', 'AWS_KMS', 'between two of its records', false],
    ['replicate', 'EXTERNAL', 'when it is written', true],
    ['move', 'AWS_KMS', 'between two of its records', false],
  ];
  // What these show is shown by the others as well: each costs two starts of a daemon.
  const more: typeof cases = [
    ['replicate', 'AWS_KMS', 'with its intent on record', false],
    ['replicate', 'EXTERNAL', 'between two of its records', false],
    ['move', 'AWS_KMS', 'when it is written', true],
  ];
  test.each(process.env['DRAWBRIDGE_EVERY_STEP'] === '1' ? [...cases, ...more] : cases)(
    'does it (%s, %s, %s)',
    async (act, Origin, step, isDone) => {
      const created = await regions.in(here).createKey({ Origin, MultiRegion: true });
      const KeyId = present(created.KeyMetadata?.KeyId);
      if (Origin === 'EXTERNAL') await importMaterial(regions.in(here), KeyId, material);
      if (act === 'move') await regions.in(here).replicateKey({ KeyId, ReplicaRegion: there });
      const { CiphertextBlob } = await regions.in(here).encrypt({ KeyId, Plaintext });
      await regions.stop();
      await regions.release();
      const { signal, stderr } = spawnSync(process.execPath, [child, regions.path, act, step, KeyId], {
        encoding: 'utf8',
      });
      expect([signal, stderr]).toEqual(['SIGKILL', '']);
      await regions.start();
      const typeIn = async (region: typeof here | typeof there) =>
        (await metadataOf(regions.in(region), KeyId)).MultiRegionConfiguration?.MultiRegionKeyType;
      const named = regions
        .rows('SELECT regions FROM backing_key WHERE key_id = ?', KeyId)
        .map((row) => row['regions'])
        .sort();
      const both = Origin === 'EXTERNAL' ? [there, here] : [`${there} ${here}`];
      expect(named).toEqual(act === 'move' || isDone ? both : [here]);
      if (act === 'move') {
        expect([await typeIn(here), await typeIn(there)]).toEqual(
          isDone ? ['REPLICA', 'PRIMARY'] : ['PRIMARY', 'REPLICA'],
        );
      } else {
        if (!isDone) {
          expect((await refusal(typeIn(there))).name).toBe('NotFoundException');
          await regions.in(here).replicateKey({ KeyId, ReplicaRegion: there });
        }
        expect([await typeIn(here), await typeIn(there)]).toEqual(['PRIMARY', 'REPLICA']);
        if (Origin === 'EXTERNAL') await importMaterial(regions.in(there), KeyId, material);
      }
      for (const region of [here, there] as const) await regions.in(region).decrypt({ CiphertextBlob });
      expect(await verifyAuditLog(regions.auditFolder)).toMatchObject({ ok: true });
    },
  );

  test('deletes a replica has that on record, though nothing of it is left that would be gone on with', async () => {
    const KeyId = present((await regions.in(here).createKey({ MultiRegion: true })).KeyMetadata?.KeyId);
    await regions.in(here).replicateKey({ KeyId, ReplicaRegion: there });
    const { CiphertextBlob } = await regions.in(here).encrypt({ KeyId, Plaintext });
    await regions.in(there).scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
    await regions.stop();
    await regions.release();
    const args = [child, regions.path, 'delete', 'when the records are gone', KeyId];
    const { signal, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    expect([signal, stderr]).toEqual(['SIGKILL', '']);
    await regions.start();
    await regions.clocks.settled();
    expect((await refusal(metadataOf(regions.in(there), KeyId))).name).toBe('NotFoundException');
    expect(regions.rows('SELECT regions FROM backing_key WHERE key_id = ?', KeyId)).toEqual([{ regions: here }]);
    await regions.in(here).decrypt({ CiphertextBlob });
    const deleted: string[] = [];
    for await (const event of readAuditEvents(regions.auditFolder))
      if (event.eventName === 'DeleteKey') deleted.push(JSON.stringify(event));
    expect(deleted.filter((event) => event.includes(arnIn(there, KeyId)))).toHaveLength(1);
    await regions.in(here).replicateKey({ KeyId, ReplicaRegion: there });
    await regions.in(there).decrypt({ CiphertextBlob });
  });
});
