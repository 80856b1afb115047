/**
 * What somebody did to an instance of Drawbridge 0.1.0 behind its back: rows that were edited before today's daemon starts over
 * it for the first time, former rows that are put back after that, and another Region in the configuration.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { removeRoot } from '../store/records.ts';
import { unpackFormerInstance } from '../support/former-instance.ts';
import { missingForInstance, startInstance } from '../support/instance.ts';
import { rootArn } from './support/arns.ts';
import { auditFolder } from './support/audit-trail.ts';
import { bootTimeoutMs, present } from './support/daemon.ts';
import {
  base64Of,
  configurationOf,
  decryptFormer,
  editMetadata,
  facts,
  formerKey,
  formerVersion,
  logLines,
  type RecordTable,
  recordsIn,
  withDaemon,
} from './support/former-version.ts';
import { allow } from './support/policies.ts';
import { refusal } from './support/refusals.ts';

const internal = {
  name: 'KMSInternalException',
  message: 'The request was rejected because an internal exception occurred. The request can be retried.',
};
const edited = 'its MAC does not verify: it was edited or damaged';

const missing = missingForInstance('softhsm2');
if (missing !== null) process.stdout.write(`skipped: An edited instance of Drawbridge ${formerVersion}: ${missing}\n`);

describe.skipIf(missing !== null)(`An edited instance of Drawbridge ${formerVersion}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-edits-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  function newCopy(name: string): string {
    const dir = join(folder, name);
    unpackFormerInstance(formerVersion, dir);
    return dir;
  }
  const macsIn = (dir: string) => Object.values(recordsIn(dir)).flatMap((rows) => rows.map(({ mac }) => mac));
  const refusedRecords = (log: string) =>
    logLines(log)
      .filter(({ msg }) => msg === 'a record does not verify and is not used')
      .map(({ kind, id, reason }) => ({ kind, id, reason }));

  test('has a KMS key refused whose record, policy or backing key was edited, and none of them given a fresh MAC', {
    timeout: 3 * bootTimeoutMs,
  }, async () => {
    const dir = newCopy('rows');
    const [plain, tagged, rotated, described] = [
      formerKey('plain'),
      formerKey('tagged'),
      formerKey('rotated'),
      formerKey('described'),
    ];
    const [first] = rotated.backingKeys;
    const { grantId } = present(facts.grants.find(({ key }) => key === 'rsaSign'));
    const { accessKeyId } = facts.accessKey;
    const edits: readonly (readonly [RecordTable, string, string, string, string])[] = [
      ['kms_key', 'key_id', plain.keyId, "description = 'mine'", 'key'],
      ['key_policy', 'key_id', tagged.keyId, "document = replace(document, 'root', 'user/app')", 'keyPolicy'],
      ['backing_key', 'backing_key_id', present(first).backingKeyId, 'reserved_encryptions = 0', 'backingKey'],
      ['alias', 'alias_name', 'alias/releases', `key_id = '${described.keyId}'`, 'alias'],
      ['key_grant', 'grant_id', grantId, `key_id = '${described.keyId}'`, 'grant'],
      ['access_key', 'access_key_id', accessKeyId, `principal = '${rootArn}'`, 'accessKey'],
    ];
    editMetadata(dir, (database) => {
      for (const [table, column, id, change] of edits) {
        database.exec(`UPDATE ${table} SET ${change} WHERE ${column} = '${id}'`);
      }
    });
    const editedRows = () => {
      const rows = recordsIn(dir);
      return edits.map(([table, column, id]) => rows[table].filter((row) => row[column] === id));
    };
    const before = new Set(macsIn(dir));
    const macOf = (rows: ReturnType<typeof editedRows>) =>
      rows.map((found) => found.map(({ format, mac }) => ({ format, mac })));
    const formerMacs = macOf(editedRows());

    for (const _start of ['first', 'second']) {
      await withDaemon(dir, async (kms, instance) => {
        const found = refusedRecords(instance.log());
        expect(found).toHaveLength(edits.length);
        expect(found).toEqual(expect.arrayContaining(edits.map(([, , id, , kind]) => ({ kind, id, reason: edited }))));
        for (const { keyId } of [plain, tagged, rotated]) {
          expect(await refusal(kms.describeKey({ KeyId: keyId }))).toEqual(internal);
          expect(await refusal(kms.encrypt({ KeyId: keyId, Plaintext: Buffer.from('x') }))).toEqual(internal);
        }
        for (const key of ['plain', 'tagged', 'rotated']) {
          const one = present(facts.ciphertexts.find((each) => each.key === key));
          expect(await refusal(kms.decrypt(decryptFormer(one)))).toEqual(internal);
        }
        expect((await refusal(kms.describeKey({ KeyId: 'alias/releases' }))).name).toBe('NotFoundException');
        for (const role of ['described', 'rsaSign']) {
          expect((await kms.listGrants({ KeyId: formerKey(role).keyId })).Grants).toEqual([]);
        }
        const untouched = present(facts.ciphertexts.find(({ key }) => key === 'described'));
        expect(base64Of((await kms.decrypt(decryptFormer(untouched))).Plaintext)).toBe(untouched.plaintext);
      });
      expect(macOf(editedRows())).toEqual(formerMacs);
    }
    // All others were given one.
    expect(macsIn(dir).filter((mac) => before.has(mac))).toHaveLength(edits.length);
  });

  test('has a former row refused that is put back beside the one that it became, and what came after it stands', {
    timeout: 3 * bootTimeoutMs,
  }, async () => {
    const dir = newCopy('put-back');
    const { keyId } = formerKey('customPolicy');
    const [alias] = facts.aliases;
    const { aliasName } = present(alias);
    const former = recordsIn(dir);
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement: [allow(rootArn, 'kms:*')] });
    const target = formerKey('described').keyId;
    await withDaemon(dir, async (kms) => {
      await kms.putKeyPolicy({ KeyId: keyId, Policy });
      await kms.updateAlias({ AliasName: aliasName, TargetKeyId: target });
    });
    const putBack = {
      key_policy: former.key_policy.filter((row) => row['key_id'] === keyId),
      kms_key: former.kms_key.filter((row) => row['key_id'] === keyId),
      alias: former.alias.filter((row) => row['alias_name'] === aliasName),
    };
    // All that could tell of it goes with them.
    rmSync(auditFolder(dir), { recursive: true });
    editMetadata(dir, (database) => {
      removeRoot(database);
      for (const [table, rows] of Object.entries(putBack)) {
        expect(rows).toHaveLength(1);
        for (const row of rows) {
          const whole = { ...row, region: '', version: 1, ...(table === 'kms_key' ? { deletion_date_ms: 0 } : {}) };
          const columns = Object.keys(whole);
          database
            .prepare(`INSERT INTO ${table} (${columns.join()}) VALUES (${columns.map(() => '?').join()})`)
            .run(...Object.values(whole));
        }
      }
    });
    const reason = 'a later version of it is on record';
    for (const _start of ['first', 'second']) {
      await withDaemon(dir, async (kms, instance) => {
        expect(refusedRecords(instance.log())).toEqual([
          { kind: 'key', id: keyId, reason },
          { kind: 'keyPolicy', id: keyId, reason },
          { kind: 'alias', id: aliasName, reason },
        ]);
        expect(JSON.parse(present((await kms.getKeyPolicy({ KeyId: keyId })).Policy))).toEqual(JSON.parse(Policy));
        expect((await kms.describeKey({ KeyId: aliasName })).KeyMetadata?.KeyId).toBe(target);
      });
    }
  });

  test('is not started for another Region, with a message that says what to do, and then as before', {
    timeout: 3 * bootTimeoutMs,
  }, async () => {
    const dir = newCopy('region');
    await withDaemon(dir, async (kms) => void (await kms.listKeys({})));
    const migrated = recordsIn(dir);
    const configuration = configurationOf(dir);
    const elsewhere = configuration.replace('region: us-east-1', 'region: eu-west-1');
    expect(elsewhere).not.toBe(configuration);
    writeFileSync(join(dir, 'drawbridge.yaml'), elsewhere);
    await expect(startInstance({ dir })).rejects.toThrow(
      'the metadata has keys of the Region `us-east-1`, and the configuration serves `eu-west-1`; set `region: us-east-1`',
    );
    expect(recordsIn(dir)).toEqual(migrated);
    writeFileSync(join(dir, 'drawbridge.yaml'), configuration);
    const { keyId } = formerKey('plain');
    await withDaemon(dir, async (kms) => {
      expect((await kms.describeKey({ KeyId: keyId })).KeyMetadata?.KeyId).toBe(keyId);
    });
  });
});
