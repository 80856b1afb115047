/**
 * An instance with thousands of keys on record: all of them are listed, and a record that somebody edited among them is refused
 * by name, while the others work.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FilledStore, fillStore } from '../../scripts/benchmark/filled-store.ts';
import { missingForInstance, startInstance } from '../support/instance.ts';
import { bootTimeoutMs, newKey, present } from './support/daemon.ts';
import { editMetadata, logLines, withDaemon } from './support/former-version.ts';
import { refusal } from './support/refusals.ts';

const filledKeys = 2_000;
const missing = missingForInstance('softhsm2');
if (missing !== null) process.stdout.write(`skipped: An instance with many keys: ${missing}\n`);

describe.skipIf(missing !== null)('An instance with many keys', () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-many-keys-'));
  const dir = join(folder, 'instance');
  let usable: string;
  let filled: FilledStore;

  beforeAll(async () => {
    await (await startInstance({ dir })).stop();
    usable = await withDaemon(dir, async (kms) => (await newKey(kms)).id);
    filled = await fillStore(dir, filledKeys);
  }, 4 * bootTimeoutMs);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('lists all of them, page by page and in order, and those that are in the token work', {
    timeout: 3 * bootTimeoutMs,
  }, async () => {
    await withDaemon(dir, async (kms, instance) => {
      const keyIds = await allKeyIds(kms);
      expect(keyIds).toHaveLength(filledKeys + 1);
      expect(keyIds).toEqual([...new Set(keyIds)].sort());
      const { Aliases } = await kms.listAliases({ Limit: 100 });
      expect(present(Aliases)).toHaveLength(100);
      const { TargetKeyId, AliasName } = present(present(Aliases)[0]);
      expect((await kms.listAliases({ KeyId: present(TargetKeyId) })).Aliases).toMatchObject([{ AliasName }]);
      expect((await kms.describeKey({ KeyId: present(AliasName) })).KeyMetadata?.KeyId).toBe(TargetKeyId);
      const { CiphertextBlob } = await kms.encrypt({ KeyId: usable, Plaintext: Buffer.from('one of many') });
      const { Plaintext } = await kms.decrypt({ CiphertextBlob: present(CiphertextBlob) });
      expect(Buffer.from(present(Plaintext)).toString()).toBe('one of many');
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
    const [ofKey, ofPolicy, ofMaterial, untouched] = [plain[3], plain[300], plain[600], plain[601]].map(present);
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
});

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
