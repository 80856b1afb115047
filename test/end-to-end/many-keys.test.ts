/**
 * An instance with thousands of keys on record: all of them are listed, and a record that somebody edited among them is refused
 * by name, while the others work.
 */

import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type FilledStore, fillStore } from '../../scripts/benchmark/filled-store.ts';
import { missingForInstance, startInstance } from '../support/instance.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, newKey, present } from './support/daemon.ts';
import { editMetadata, logLines, withDaemon } from './support/former-version.ts';
import { refusal } from './support/refusals.ts';
import { send } from './support/wire.ts';

const filledKeys = 1_200;
const missing = missingForInstance('softhsm2');
if (missing !== null) process.stdout.write(`skipped: An instance with many keys: ${missing}\n`);

/** As many as all, and fewer than there are: then they are read when they are asked for. */
const keptInMemory = [
  ['all of them in memory', 20_000, 2 ** 30],
  // What all records would take is no bound then: they do not take it.
  ['a hundred of them in memory', 100, 2 ** 20],
] as const;

describe.skipIf(missing !== null).each(keptInMemory)(
  'An instance with many keys, %s,',
  (_, keysInMemory, recordBytes) => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-many-keys-'));
    const dir = join(folder, 'instance');
    let usable: string;
    let filled: FilledStore;
    /** Keys with a record that was edited: they are listed until somebody asks for them. */
    let edited: readonly string[] = [];

    beforeAll(async () => {
      await (await startInstance({ dir })).stop();
      usable = await withDaemon(dir, async (kms) => (await newKey(kms)).id);
      filled = await fillStore(dir, filledKeys);
      appendFileSync(
        join(dir, 'drawbridge.yaml'),
        `budgets:\n  memory: { keysInMemory: ${keysInMemory}, recordBytes: ${recordBytes} }\n`,
      );
    }, 4 * bootTimeoutMs);
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test('lists all of them, page by page and in order, and those that are in the token work', {
      timeout: 3 * bootTimeoutMs,
    }, async () => {
      await withDaemon(dir, async (kms, instance) => {
        const keyIds = await allKeyIds(kms);
        expect(keyIds).toHaveLength(filledKeys + 1);
        expect(keyIds).toEqual([...new Set(keyIds)].sort());
        // One that nobody has asked for yet, whose records may have to be verified first.
        const move = { keys: [keyIds[600]], to: null, residency: 'wrapped', dryRun: true };
        const moving = { method: 'POST', path: '/moves', body: JSON.stringify(move) };
        expect(await send(instance.socket, moving)).toMatchObject({ status: 200 });
        const { Aliases } = await kms.listAliases({ Limit: 100 });
        expect(present(Aliases)).toHaveLength(100);
        const { TargetKeyId, AliasName } = present(present(Aliases)[0]);
        expect((await kms.listAliases({ KeyId: present(TargetKeyId) })).Aliases).toMatchObject([{ AliasName }]);
        expect((await kms.describeKey({ KeyId: present(AliasName) })).KeyMetadata?.KeyId).toBe(TargetKeyId);
        const { CiphertextBlob } = await kms.encrypt({ KeyId: usable, Plaintext: Buffer.from('one of many') });
        const { Plaintext } = await kms.decrypt({ CiphertextBlob: present(CiphertextBlob) });
        expect(Buffer.from(present(Plaintext)).toString()).toBe('one of many');
        // After a while all are at hand, and the status says so.
        const isOnDemand = keysInMemory < filledKeys;
        const atHand = isOnDemand ? { keys: filledKeys + 1, isDone: true } : null;
        await vi.waitFor(
          async () => {
            const { body } = await send(instance.socket, { method: 'GET', path: '/status' });
            expect(JSON.parse(body)).toMatchObject({ keysAtHand: atHand });
          },
          { timeout: bootTimeoutMs, interval: 100 },
        );
        // What is missing from the token is named for a hundred of them, and counted for all.
        const lines = logLines(instance.log());
        expect(lines.filter(({ msg }) => msg === 'a backing key is not in the HSM')).toHaveLength(100);
        expect(lines).toContainEqual(
          expect.objectContaining({
            level: 'error',
            keyStore: 'default',
            missing: filledKeys,
            msg: 'more backing keys are not in the HSM than are named here',
          }),
        );
        expect(lines).toContainEqual(
          expect.objectContaining({ msg: 'ready', keys: filledKeys + 1, damaged: 0, aliases: filled.aliases }),
        );
      });
    });

    test('has numbers for encryptions on record before they are used: of each key, or of the start for all keys that are read on demand', {
      timeout: 3 * bootTimeoutMs,
    }, async () => {
      const onRecord = () =>
        editMetadata(dir, (database) => ({
          ...database
            .prepare(`SELECT reserved_encryptions AS reserved FROM backing_key WHERE key_id = '${usable}'`)
            .get(),
          starts: database.prepare("SELECT version FROM milestone WHERE milestone = 'start'").get()?.['version'] ?? 0,
        }));
      const before = onRecord();
      await withDaemon(
        dir,
        async (kms) => void (await kms.encrypt({ KeyId: usable, Plaintext: Buffer.from('counted') })),
      );
      const { reserved, starts } = before as { reserved: number; starts: number };
      const isOnDemand = keysInMemory < filledKeys;
      expect(onRecord()).toEqual(
        isOnDemand ? { reserved, starts: starts + 1 } : { reserved: reserved + 65_536, starts },
      );
    });

    test('refuses by name those of which a record of any kind was edited, says so, and serves the others', {
      timeout: 3 * bootTimeoutMs,
    }, async () => {
      const idsOf = (sql: string): readonly string[] =>
        editMetadata(dir, (database) =>
          database
            .prepare(sql)
            .all()
            .map(({ id }) => String(id)),
        );
      // Far apart, so that they are verified in calls of many.
      const plain = idsOf(
        'SELECT k.key_id AS id FROM kms_key k LEFT JOIN alias a USING (key_id) LEFT JOIN key_grant g USING (key_id) WHERE a.key_id IS NULL AND g.key_id IS NULL ORDER BY 1',
      );
      const [ofKey, ofPolicy, ofMaterial, untouched] = [plain[3], plain[150], plain[300], plain[301]].map(present);
      edited = [ofKey, ofPolicy, ofMaterial].map(present);
      const [alias, target] = [
        'alias/filled/2',
        idsOf("SELECT key_id AS id FROM alias WHERE alias_name = 'alias/filled/2'")[0],
      ];
      const [granted] = idsOf('SELECT key_id AS id FROM key_grant ORDER BY grant_id LIMIT 1 OFFSET 77');
      const [grantId] = idsOf('SELECT grant_id AS id FROM key_grant ORDER BY grant_id LIMIT 1 OFFSET 77');
      const [materialId] = idsOf(`SELECT backing_key_id AS id FROM backing_key WHERE key_id = '${ofMaterial}'`);
      editMetadata(dir, (database) => {
        database.exec(`UPDATE kms_key SET description = 'mine' WHERE key_id = '${ofKey}'`);
        database.exec(
          `UPDATE key_policy SET document = replace(document, ':root', ':user/eve') WHERE key_id = '${ofPolicy}'`,
        );
        database.exec(`UPDATE backing_key SET reserved_encryptions = 1 WHERE key_id = '${ofMaterial}'`);
        database.exec(`UPDATE alias SET key_id = '${usable}' WHERE alias_name = '${alias}'`);
        database.exec(
          `UPDATE key_grant SET grantee = 'arn:aws:iam::000000000000:user/eve' WHERE grant_id = '${grantId}'`,
        );
      });
      await withDaemon(dir, async (kms, instance) => {
        for (const KeyId of [ofKey, ofPolicy, ofMaterial]) {
          expect(await refusal(kms.describeKey({ KeyId }))).toMatchObject({ name: 'KMSInternalException' });
        }
        expect(await refusal(kms.describeKey({ KeyId: alias }))).toMatchObject({ name: 'NotFoundException' });
        expect((await kms.listGrants({ KeyId: present(granted) })).Grants).toEqual([]);
        for (const KeyId of [usable, untouched, target, granted]) {
          expect((await kms.describeKey({ KeyId: present(KeyId) })).KeyMetadata?.KeyId).toBe(KeyId);
        }
        const keyIds = await allKeyIds(kms);
        expect(keyIds).toHaveLength(filledKeys + 1 - 3);
        const reason = 'its MAC does not verify: it was edited or damaged';
        const told = logLines(instance.log())
          .filter(({ msg }) => msg === 'a record does not verify and is not used')
          .map(({ kind, id, reason }) => ({ kind, id, reason }));
        expect(told).toHaveLength(5);
        expect(told).toEqual(
          expect.arrayContaining([
            { kind: 'key', id: ofKey, reason },
            { kind: 'keyPolicy', id: ofPolicy, reason },
            { kind: 'backingKey', id: materialId, reason },
            { kind: 'alias', id: alias, reason },
            { kind: 'grant', id: grantId, reason },
          ]),
        );
      });
    });

    test('changes keys that others change and read at once, and has them so after it was killed', {
      timeout: 3 * bootTimeoutMs,
    }, async () => {
      const places = Array.from({ length: 120 }, (_, index) => index * 9);
      const described = (place: number, turn: number): string => `number ${place}, changed ${turn} times`;
      let keyIds: readonly string[] = [];
      let grantId: string | undefined;
      const instance = await startInstance({ dir });
      const kms = kmsOver(instance.socket);
      try {
        keyIds = (await allKeyIds(kms)).filter((keyId) => !edited.includes(keyId));
        const keyAt = (place: number): string => present(keyIds[place]);
        const change = (place: number, turn: number) =>
          kms.updateKeyDescription({ KeyId: keyAt(place), Description: described(place, turn) });
        await Promise.all(places.flatMap((place) => [change(place, 1), kms.describeKey({ KeyId: keyAt(place) })]));
        await Promise.all(places.map((place) => change(place, 2)));
        await kms.createAlias({ AliasName: 'alias/made-late', TargetKeyId: keyAt(7) });
        await kms.updateAlias({ AliasName: 'alias/made-late', TargetKeyId: keyAt(1190) });
        const { Aliases } = await kms.listAliases({ KeyId: keyAt(1190) });
        expect(present(Aliases).map(({ AliasName }) => AliasName)).toContain('alias/made-late');
        const GranteePrincipal = 'arn:aws:iam::000000000000:user/bob';
        const made = await kms.createGrant({ KeyId: keyAt(3), GranteePrincipal, Operations: ['Encrypt'] });
        grantId = made.GrantId;
        const { KeyMetadata } = await kms.createKey({ Description: 'made late' });
        await kms.scheduleKeyDeletion({ KeyId: keyAt(11), PendingWindowInDays: 7 });
        keyIds = [...keyIds, present(KeyMetadata?.KeyId)];
      } finally {
        kms.destroy();
        await instance.kill9();
      }
      await withDaemon(dir, async (kms) => {
        const of = async (place: number) => (await kms.describeKey({ KeyId: present(keyIds[place]) })).KeyMetadata;
        for (const place of places) expect((await of(place))?.Description).toBe(described(place, 2));
        expect((await kms.describeKey({ KeyId: 'alias/made-late' })).KeyMetadata?.KeyId).toBe(keyIds[1190]);
        const { Grants } = await kms.listGrants({ KeyId: present(keyIds[3]) });
        expect(present(Grants).map(({ GrantId }) => GrantId)).toContain(grantId);
        expect((await of(11))?.KeyState).toBe('PendingDeletion');
        expect((await of(keyIds.length - 1))?.Description).toBe('made late');
      });
    });
  },
);

async function allKeyIds(kms: KMS): Promise<readonly string[]> {
  const keyIds: string[] = [];
  let Marker: string | undefined;
  do {
    const page = await kms.listKeys({ Limit: 1000, Marker });
    keyIds.push(...present(page.Keys).map(({ KeyId }) => present(KeyId)));
    Marker = page.NextMarker;
  } while (Marker !== undefined);
  return keyIds;
}
