/** Changes of keys when things go wrong: kill -9, restarts, a token that goes away, many callers, and a date that has passed. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { childrenOf } from '../support/children.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { changeKeys } from '../support/key-records.ts';
import { program } from '../support/program.ts';
import { brokenLink } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, newKey, present } from './support/daemon.ts';
import { newGrant } from './support/grants.ts';
import { refusal } from './support/refusals.ts';

const testTimeoutMs = 180_000;
const Plaintext = Buffer.from('survives');

const missing = missingForInstance();
if (missing !== null) process.stdout.write(`skipped: Changes of keys when things go wrong: ${missing}\n`);
describe.skipIf(missing !== null)('Changes of keys', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-key-life-'));
  const dir = join(folder, 'instance');
  let instance: Instance;
  let kms: KMS;
  const start = async (): Promise<void> => {
    instance = await startInstance({ dir });
    kms = kmsOver(instance.socket);
  };
  beforeAll(start, bootTimeoutMs);
  afterAll(async () => {
    kms.destroy();
    await instance.stop();
    rmSync(folder, { recursive: true, force: true });
  }, bootTimeoutMs);
  const seen = async (KeyId: string) => ({
    metadata: (await kms.describeKey({ KeyId })).KeyMetadata,
    tags: (await kms.listResourceTags({ KeyId })).Tags,
    aliases: (await kms.listAliases({ KeyId })).Aliases,
    grants: (await kms.listGrants({ KeyId })).Grants,
    rotation: (await kms.getKeyRotationStatus({ KeyId })).KeyRotationEnabled,
  });

  test(
    'are the same after an orderly end and a new start, in every state',
    async () => {
      const keys = new Map<string, Uint8Array>();
      for (const state of ['Enabled', 'Disabled', 'PendingDeletion']) {
        const { KeyMetadata } = await kms.createKey({ Description: state, Tags: [{ TagKey: 'of', TagValue: state }] });
        const id = present(KeyMetadata?.KeyId);
        keys.set(id, present((await kms.encrypt({ KeyId: id, Plaintext })).CiphertextBlob));
        await kms.createAlias({ AliasName: `alias/${state}`, TargetKeyId: id });
        await newGrant(kms, id, { Operations: ['Decrypt'] });
        await kms.tagResource({ KeyId: id, Tags: [{ TagKey: '__proto__', TagValue: '🔑\u0000' }] });
        if (state === 'Disabled') await kms.disableKey({ KeyId: id });
        if (state === 'PendingDeletion') await kms.scheduleKeyDeletion({ KeyId: id, PendingWindowInDays: 9 });
      }
      const before = await Promise.all([...keys.keys()].map(seen));
      kms.destroy();
      expect(await instance.stop()).toBe(0);
      await start();
      expect(await Promise.all([...keys.keys()].map(seen))).toEqual(before);
      for (const [id, CiphertextBlob] of keys) {
        const { KeyState } = present((await kms.describeKey({ KeyId: id })).KeyMetadata);
        if (KeyState === 'PendingDeletion') await kms.cancelKeyDeletion({ KeyId: id });
        await kms.enableKey({ KeyId: id });
        expect(Buffer.from(present((await kms.decrypt({ CiphertextBlob })).Plaintext))).toEqual(Plaintext);
      }
    },
    testTimeoutMs,
  );

  test(
    'that were answered are there after kill -9 in the middle of many',
    async () => {
      for (let round = 0; round < 3; round++) {
        const keys = await Promise.all(Array.from({ length: 8 }, () => newKey(kms)));
        let answers = 0;
        const worked = keys.map(async ({ id }) => {
          const acknowledged = { state: 'Enabled', description: '', tags: new Map<string, string>() };
          const asked = { state: '', description: '', tag: ['', ''] };
          for (let step = 0; ; step++) {
            try {
              Object.assign(asked, { state: '', description: '', tag: ['', ''] });
              if (step % 4 === 0) {
                asked.state = 'Disabled';
                await kms.disableKey({ KeyId: id });
                acknowledged.state = asked.state;
              } else if (step % 4 === 1) {
                asked.tag = [`t${step % 40}`, `${step}`];
                await kms.tagResource({ KeyId: id, Tags: [{ TagKey: asked.tag[0], TagValue: asked.tag[1] }] });
                acknowledged.tags.set(asked.tag[0] ?? '', asked.tag[1] ?? '');
              } else if (step % 4 === 2) {
                asked.description = `step ${step}`;
                await kms.updateKeyDescription({ KeyId: id, Description: asked.description });
                acknowledged.description = asked.description;
              } else {
                asked.state = 'Enabled';
                await kms.enableKey({ KeyId: id });
                acknowledged.state = asked.state;
              }
              answers++;
            } catch {
              return { id, acknowledged, asked: { ...asked } };
            }
          }
        });
        const enough = 100 + Math.floor(Math.random() * 150);
        while (answers < enough) await new Promise((resolve) => setTimeout(resolve, 1));
        await instance.kill9();
        const outcomes = await Promise.all(worked);
        kms.destroy();
        await start();
        for (const { id, acknowledged, asked } of outcomes) {
          const { metadata, tags } = await seen(id);
          const either = (known: string, last: string) => (last === '' ? [known] : [known, last]);
          expect(either(acknowledged.state, asked.state)).toContain(metadata?.KeyState);
          expect(either(acknowledged.description, asked.description)).toContain(metadata?.Description);
          const found = new Map(present(tags).map(({ TagKey = '', TagValue = '' }) => [TagKey, TagValue]));
          const [lastKey = '', lastValue = ''] = asked.tag;
          if (lastKey !== '' && found.get(lastKey) === lastValue) acknowledged.tags.set(lastKey, lastValue);
          expect(found).toEqual(acknowledged.tags);
        }
        expect(brokenLink(dir)).toBeUndefined();
      }
    },
    testTimeoutMs,
  );

  test(
    'by 16 callers, enabled and disabled at random, give every use an answer that fits',
    async () => {
      const key = await newKey(kms);
      const outcomes = await Promise.all(
        Array.from({ length: 16 }, async (_, caller) => {
          const told: string[] = [];
          for (let step = 0; step < 20; step++) {
            const kind = (caller + step * 7) % 4;
            const sent =
              kind === 0
                ? kms.disableKey({ KeyId: key.id })
                : kind === 1
                  ? kms.enableKey({ KeyId: key.id })
                  : kms.encrypt({ KeyId: key.id, Plaintext });
            told.push(
              await sent.then(
                () => 'fine',
                ({ name }) => String(name),
              ),
            );
          }
          return told;
        }),
      );
      expect([...new Set(outcomes.flat())].toSorted()).toEqual(['DisabledException', 'fine']);
      await kms.disableKey({ KeyId: key.id });
      expect((await refusal(kms.encrypt({ KeyId: key.id, Plaintext }))).name).toBe('DisabledException');
      await kms.enableKey({ KeyId: key.id });
      await kms.encrypt({ KeyId: key.id, Plaintext });
    },
    testTimeoutMs,
  );

  test(
    'while the process that holds the token is killed are made whole, or not at all and with an answer to try again',
    async () => {
      const key = await newKey(kms);
      for (let round = 0; round < 3; round++) {
        for (const host of childrenOf(instance.pid)) process.kill(host, 'SIGKILL');
        const [disabling, tagging] = await Promise.allSettled([
          kms.disableKey({ KeyId: key.id }),
          kms.tagResource({ KeyId: key.id, Tags: [{ TagKey: 'round', TagValue: String(round) }] }),
        ]);
        for (const outcome of [disabling, tagging]) {
          if (outcome?.status === 'rejected') {
            expect(outcome.reason.$fault).toBe('server');
          }
        }
        const { metadata, tags } = await seen(key.id);
        expect(metadata?.KeyState).toBe(disabling?.status === 'fulfilled' ? 'Disabled' : 'Enabled');
        expect(tags?.some(({ TagValue }) => TagValue === String(round))).toBe(tagging?.status === 'fulfilled');
        await expect
          .poll(() => kms.enableKey({ KeyId: key.id }).then(() => 'fine', String), { timeout: 170_000 })
          .toBe('fine');
        await expect
          .poll(() => kms.encrypt({ KeyId: key.id, Plaintext }).then(() => 'fine', String), { timeout: 170_000 })
          .toBe('fine');
      }
    },
    testTimeoutMs,
  );

  test(
    'leave a key pending deletion when its date passed while the daemon was stopped: what it waits for is told, and it can be kept',
    async () => {
      const key = await newKey(kms);
      const { CiphertextBlob } = await kms.encrypt({ KeyId: key.id, Plaintext });
      await kms.scheduleKeyDeletion({ KeyId: key.id, PendingWindowInDays: 7 });
      kms.destroy();
      await instance.stop();
      // After upkeep began here, so that this is no date of a version that destroyed nothing.
      const passed = new Date(Date.now() - 1);
      await changeKeys(dir, new Set([key.id]), { deletionDateMs: passed.getTime() });
      await start();
      expect((await kms.describeKey({ KeyId: key.id })).KeyMetadata).toMatchObject({
        KeyState: 'PendingDeletion',
        DeletionDate: passed,
      });
      expect((await refusal(kms.encrypt({ KeyId: key.id, Plaintext }))).message).toContain('is pending deletion');
      const say = (...words: readonly string[]) =>
        execFileSync(
          'sh',
          ['-c', '"$@" 2>&1', 'sh', process.execPath, program, ...words, '--socket', instance.socket],
          {
            encoding: 'utf8',
          },
        );
      expect(say('keys', 'show', key.id)).toContain('`drawbridge upkeep` says what it waits for');
      expect(say('keys', 'show', key.id)).toContain(passed.toISOString());
      const waiting = new RegExp(`deletion us-east-1 ${key.id}.*it came due while the daemon was stopped`);
      expect(say('status')).toMatch(waiting);
      expect(say('upkeep')).toMatch(waiting);
      await kms.cancelKeyDeletion({ KeyId: key.id });
      await kms.enableKey({ KeyId: key.id });
      const opened = await kms.decrypt({ CiphertextBlob: present(CiphertextBlob) });
      expect(Buffer.from(present(opened.Plaintext))).toEqual(Plaintext);
      expect(say('keys', 'show', key.id)).not.toContain('waits for');
      expect(say('upkeep')).toContain('nothing is scheduled, waiting or late');
    },
    testTimeoutMs,
  );
});
