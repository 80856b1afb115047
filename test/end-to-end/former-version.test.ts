/**
 * An instance that Drawbridge 0.1.0 left, with today's daemon: everything in it is of use, and what nobody should have
 * changed is found. The fixture's README says what is in it.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS, MacAlgorithmSpec, SigningAlgorithmSpec } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recordKinds } from '../../src/store/record-columns.ts';
import { newestFormat, recordFormats } from '../../src/store/record-mac.ts';
import { tables } from '../../src/store/record-statements.ts';
import { snakeCase } from '../store/former-rows.ts';
import { objectsInToken, unpackFormerInstance } from '../support/former-instance.ts';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, present } from './support/daemon.ts';
import {
  base64Of,
  bytesOf,
  decryptFormer,
  facts,
  formerKey,
  formerText,
  formerVersion,
  kmsSignedBy,
  logLines,
  type Row,
  recordsIn,
  recordTables,
  roles,
  withDaemon,
} from './support/former-version.ts';
import { invalidCiphertext, refusal } from './support/refusals.ts';

const missing = missingForInstance('softhsm2');
if (missing !== null) process.stdout.write(`skipped: An instance of Drawbridge ${formerVersion}: ${missing}\n`);

describe.skipIf(missing !== null)(`An instance of Drawbridge ${formerVersion}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-former-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** A copy of its own for one test: as the former version left it, or as today's daemon did after its first start. */
  function copyOf(origin: 'former' | 'migrated', name: string): string {
    const dir = join(folder, name);
    unpackFormerInstance(formerVersion, dir);
    if (origin === 'former') return dir;
    for (const part of ['data', 'token/tokens']) {
      rmSync(join(dir, part), { recursive: true });
      // With its modes, which Node's own copy does not keep.
      execFileSync('cp', ['-a', join(migrated.dir, part), join(dir, part)]);
    }
    return dir;
  }

  let migrated: Awaited<ReturnType<typeof migrate>>;
  async function migrate() {
    const dir = copyOf('former', 'migrated');
    const before = { rows: recordsIn(dir), objects: await objectsInToken(dir) };
    const log = await withDaemon(dir, async (_kms, instance) => instance.log());
    return { dir, before, log, after: { rows: recordsIn(dir), objects: await objectsInToken(dir) } };
  }
  beforeAll(async () => {
    migrated = await migrate();
  }, bootTimeoutMs);

  describe('at its first start', () => {
    const { creation, rotation } = facts.unfinished;
    const undone = [creation.backingKeyId, rotation.backingKeyId].sort();

    test('has the creation and the rotation that did not finish undone, and warns of nothing', () => {
      const lines = logLines(migrated.log);
      const told = lines.filter(({ msg }) => msg === 'undid an unfinished key creation');
      expect(told.map(({ backingKeyId }) => backingKeyId).sort()).toEqual(undone);
      expect(lines.filter(({ level }) => level !== 'info')).toEqual([]);
      const { before, after } = migrated;
      expect([...before.objects.keys()].filter((id) => !after.objects.has(id)).sort()).toEqual(undone);
      expect([...after.objects]).toEqual([...before.objects].filter(([id]) => !undone.includes(id)));
    });

    test.each(recordTables)(
      'has each row of %s written anew in today’s format, and nothing else in it changed',
      (table) => {
        const isUndone = (row: Row): boolean =>
          undone.includes(String(row['backing_key_id'])) || row['key_id'] === creation.keyId;
        const before = migrated.before.rows[table].filter((row) => !isUndone(row));
        const after = migrated.after.rows[table];
        expect(after.length).toBeGreaterThan(0);
        const kind = present(recordKinds.find((each) => snakeCase(tables[each]) === table));
        const anew = ({ mac, ...row }: Row): Row => {
          const later = Object.entries(recordFormats[kind]).filter(([, added]) => added.format > Number(row['format']));
          const columns = later.map(([member, { column }]) => [snakeCase(member), column] as const);
          const added = { ...Object.fromEntries(columns), format: newestFormat(recordFormats[kind]) };
          return { ...row, ...added, ...('region' in added ? { region: 'us-east-1' } : {}) };
        };
        expect(after.map(({ mac, ...row }) => row)).toEqual(before.map(anew));
        const formerMacs = new Set(before.map(({ mac }) => mac));
        expect(after.filter(({ mac }) => formerMacs.has(present(mac)))).toEqual([]);
        expect(new Set(after.map(({ mac }) => mac)).size).toBe(after.length);
      },
    );

    test('is told how many records are written anew', () => {
      const total = recordTables.reduce((sum, table) => sum + migrated.before.rows[table].length, 0);
      const told = logLines(migrated.log).filter(({ msg }) => msg === 'records are written anew');
      expect(told).toMatchObject([{ written: total, total }]);
    });

    test('has nothing in its folder that a store of today has not', () => {
      const files = readdirSync(join(migrated.dir, 'data')).filter((name) => name.startsWith('metadata'));
      expect(files).toEqual(['metadata.db']);
    });
  });

  test('has nothing to undo at its second start, and nothing written anew', async () => {
    const dir = copyOf('migrated', 'second');
    const lines = logLines(await withDaemon(dir, async (_kms, instance) => instance.log()));
    expect(lines.filter(({ level }) => level !== 'info')).toEqual([]);
    expect(lines.filter(({ msg }) => msg.includes('undid') || msg.includes('anew'))).toEqual([]);
    expect(recordsIn(dir)).toEqual(migrated.after.rows);
    expect(await objectsInToken(dir)).toEqual(migrated.after.objects);
  });

  for (const start of ['first', 'second'] as const) {
    describe(`after its ${start} start`, () => {
      let instance: Instance;
      let kms: KMS;
      beforeAll(async () => {
        const dir = copyOf(start === 'first' ? 'former' : 'migrated', `used-after-${start}`);
        instance = await startInstance({ dir, tcp: true });
        kms = kmsOver(instance.socket);
      }, bootTimeoutMs);
      afterAll(async () => {
        kms.destroy();
        expect(await instance.stop()).toBe(0);
      }, bootTimeoutMs);

      test('lists its keys, and no other', async () => {
        const { Keys } = await kms.listKeys({});
        expect(Keys?.map(({ KeyId }) => KeyId).sort()).toEqual(roles.map((role) => formerKey(role).keyId).sort());
        const { name } = await refusal(kms.describeKey({ KeyId: facts.unfinished.creation.keyId }));
        expect(name).toBe('NotFoundException');
      });

      test.each(roles)('has the key “%s” with its metadata, key policy and public key', async (role) => {
        const key = formerKey(role);
        const { KeyMetadata } = await kms.describeKey({ KeyId: key.arn });
        expect(KeyMetadata).toMatchObject({
          KeyId: key.keyId,
          Arn: key.arn,
          KeySpec: key.keySpec,
          KeyUsage: key.keyUsage,
          KeyState: key.state,
          Description: key.description,
          CreationDate: new Date(key.createdAtMs),
          MultiRegion: false,
        });
        expect(JSON.parse(present((await kms.getKeyPolicy({ KeyId: key.keyId })).Policy))).toEqual(
          JSON.parse(key.policyDocument),
        );
        const publicKey = key.backingKeys.at(-1)?.publicKey ?? null;
        if (publicKey !== null) {
          expect(base64Of((await kms.getPublicKey({ KeyId: key.keyId })).PublicKey)).toBe(publicKey);
        }
      });

      test('lists its aliases, and each stands for its key', async () => {
        const { Aliases } = await kms.listAliases({});
        const expected = facts.aliases.map(({ aliasName, key, createdAtMs, updatedAtMs }) => ({
          AliasName: aliasName,
          AliasArn: `arn:aws:kms:${facts.region}:${facts.account}:${aliasName}`,
          TargetKeyId: formerKey(key).keyId,
          CreationDate: new Date(createdAtMs),
          LastUpdatedDate: new Date(updatedAtMs),
        }));
        expect(Aliases).toEqual(expected.sort((one, other) => (one.AliasName < other.AliasName ? -1 : 1)));
        for (const { aliasName, key } of facts.aliases) {
          const { KeyMetadata } = await kms.describeKey({ KeyId: aliasName });
          expect(KeyMetadata?.KeyId).toBe(formerKey(key).keyId);
        }
      });

      test.each(facts.ciphertexts.map((one) => [formerText(one), one] as const))('decrypts %s', async (_text, one) => {
        const request = decryptFormer(one);
        if (formerKey(one.key).state === 'Disabled') {
          expect((await refusal(kms.decrypt(request))).name).toBe('DisabledException');
          return;
        }
        const opened = await kms.decrypt(request);
        expect(base64Of(opened.Plaintext)).toBe(one.plaintext);
        expect(opened.KeyId).toBe(formerKey(one.key).arn);
        if (one.algorithm !== 'SYMMETRIC_DEFAULT') return;
        const EncryptionContext = { ...one.context, more: 'x' };
        expect(await refusal(kms.decrypt({ ...request, EncryptionContext }))).toEqual(invalidCiphertext);
        if (one.context === undefined) return;
        const { EncryptionContext: _context, ...without } = request;
        expect(await refusal(kms.decrypt(without))).toEqual(invalidCiphertext);
      });

      test.each(facts.signatures)('verifies the signature of “$key” by $algorithm', async (one) => {
        const request = {
          KeyId: formerKey(one.key).keyId,
          // The names are AWS's, as the former version took them.
          SigningAlgorithm: one.algorithm as SigningAlgorithmSpec,
          Message: bytesOf(one.message),
        };
        expect((await kms.verify({ ...request, Signature: bytesOf(one.signature) })).SignatureValid).toBe(true);
        const other = { ...request, Message: Buffer.concat([request.Message, Buffer.of(0)]) };
        const { name } = await refusal(kms.verify({ ...other, Signature: bytesOf(one.signature) }));
        expect(name).toBe('KMSInvalidSignatureException');
        const { Signature } = await kms.sign(request);
        expect((await kms.verify({ ...request, Signature: present(Signature) })).SignatureValid).toBe(true);
      });

      test.each(facts.macs)('verifies the MAC of “$key” by $algorithm, and makes the same', async (one) => {
        const request = {
          KeyId: formerKey(one.key).keyId,
          MacAlgorithm: one.algorithm as MacAlgorithmSpec,
          Message: bytesOf(one.message),
        };
        expect((await kms.verifyMac({ ...request, Mac: bytesOf(one.mac) })).MacValid).toBe(true);
        expect(base64Of((await kms.generateMac(request)).Mac)).toBe(one.mac);
      });

      test.each(facts.sharedSecrets)('derives the same shared secret with “$key”', async (one) => {
        const derived = await kms.deriveSharedSecret({
          KeyId: formerKey(one.key).keyId,
          KeyAgreementAlgorithm: 'ECDH',
          PublicKey: bytesOf(one.publicKey),
        });
        expect(base64Of(derived.SharedSecret)).toBe(one.sharedSecret);
      });

      const symmetric = roles.filter((role) => formerKey(role).keySpec === 'SYMMETRIC_DEFAULT');
      test.each(symmetric.filter((role) => formerKey(role).state === 'Enabled'))(
        'encrypts anew with “%s”',
        async (role) => {
          const Plaintext = Buffer.from('new');
          const { CiphertextBlob } = await kms.encrypt({ KeyId: formerKey(role).keyId, Plaintext });
          expect(base64Of((await kms.decrypt({ CiphertextBlob })).Plaintext)).toBe(Plaintext.toString('base64'));
        },
      );

      test.each(roles)('lists the grants of “%s”, whose tokens are good for that key and no other', async (role) => {
        const { Grants } = await kms.listGrants({ KeyId: formerKey(role).keyId });
        const own = facts.grants.filter(({ key }) => key === role);
        const expected = own.map((grant) => ({
          KeyId: formerKey(role).arn,
          GrantId: grant.grantId,
          ...(grant.name === '' ? {} : { Name: grant.name }),
          GranteePrincipal: grant.granteePrincipal,
          ...(grant.retiringPrincipal === null ? {} : { RetiringPrincipal: grant.retiringPrincipal }),
          Operations: grant.operations,
          ...(Object.keys(grant.constraints).length === 0 ? {} : { Constraints: grant.constraints }),
          CreationDate: new Date(grant.createdAtMs),
        }));
        expect(Grants).toHaveLength(expected.length);
        for (const one of expected) expect(Grants).toContainEqual(expect.objectContaining(one));
        for (const { grantToken } of own) {
          await kms.describeKey({ KeyId: formerKey(role).keyId, GrantTokens: [grantToken] });
          const KeyId = formerKey(roles.find((other) => other !== role) ?? '').keyId;
          const { name } = await refusal(kms.describeKey({ KeyId, GrantTokens: [grantToken] }));
          expect(name).toBe('InvalidGrantTokenException');
        }
      });

      test('signs requests with its access key, whose principal may what key policies and grants say', async () => {
        const { accessKeyId, secretAccessKey, principal } = facts.accessKey;
        const credentials = { accessKeyId, secretAccessKey };
        const client = kmsSignedBy(instance, credentials);
        const forger = kmsSignedBy(instance, { accessKeyId, secretAccessKey: `${secretAccessKey}x` });
        try {
          expect((await refusal(client.listKeys({}))).message).toContain(principal);
          const find = (key: string, context?: string) =>
            present(facts.ciphertexts.find((one) => one.key === key && one.context?.['department'] === context));
          const opens = async (one: ReturnType<typeof find>, ...GrantTokens: readonly string[]) =>
            base64Of((await client.decrypt({ ...decryptFormer(one), GrantTokens: [...GrantTokens] })).Plaintext);
          const denied = async (request: Promise<unknown>) =>
            expect((await refusal(request)).name).toBe('AccessDeniedException');
          // By its key policy: Decrypt and nothing else.
          const byPolicy = find('customPolicy');
          expect(await opens(byPolicy)).toBe(byPolicy.plaintext);
          const KeyId = formerKey('customPolicy').keyId;
          await denied(client.encrypt({ KeyId, Plaintext: Buffer.from('x') }));
          expect((await refusal(forger.decrypt(decryptFormer(byPolicy)))).name).toBe('InvalidSignatureException');
          // By a grant with EncryptionContextSubset, named or not.
          const inFinance = find('plain', 'finance');
          const tokens = facts.grants.filter(({ key }) => key === 'plain').map(({ grantToken }) => grantToken);
          expect(await opens(inFinance)).toBe(inFinance.plaintext);
          expect(await opens(inFinance, ...tokens)).toBe(inFinance.plaintext);
          await denied(opens(find('plain')));
          // By one with EncryptionContextEquals.
          const exact = present(facts.ciphertexts.find((one) => one.key === 'tagged' && one.context?.['project']));
          expect(await opens(exact)).toBe(exact.plaintext);
          await denied(opens(find('tagged')));
          await denied(opens(find('described')));
          const signing = { Message: Buffer.from('x'), SigningAlgorithm: 'RSASSA_PSS_SHA_256' } as const;
          await client.sign({ KeyId: formerKey('rsaSign').keyId, ...signing });
        } finally {
          client.destroy();
          forger.destroy();
        }
      });
    });
  }
});
