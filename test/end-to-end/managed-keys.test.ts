/**
 * AWS managed keys: made for the services that the configuration names, of use to whoever is such a service, looked at by the
 * account, and changed by nobody.
 */

import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KMS } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Instance, missingForInstance, startInstance } from '../support/instance.ts';
import { account, keyArn, region, rootArn, unixUserArn } from './support/arns.ts';
import { auditLines } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { bootTimeoutMs, newKey, present } from './support/daemon.ts';
import { examples } from './support/examples.ts';
import { allow, policy, rootMayAll } from './support/policies.ts';
import { accessDenied, heard, refusal } from './support/refusals.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';

const Plaintext = Buffer.from('x');
const alias = 'alias/aws/ebs';
const service = `ebs.${region}.amazonaws.com`;

/** The file of an instance with these services, each of which is one Unix user. */
function setServices(dir: string, services: Readonly<Record<string, string>>): void {
  const file = join(dir, 'drawbridge.yaml');
  const [before = ''] = readFileSync(file, 'utf8').split('\nmanagedKeys:');
  const lines = Object.entries(services).map(([name, user]) => `  ${name}: { principals: ["${unixUserArn(user)}"] }`);
  writeFileSync(file, `${before}\nmanagedKeys:${lines.length === 0 ? ' {}' : ''}\n${lines.join('\n')}\n`);
}

sayIfNotRoot('AWS managed keys');

for (const token of ['softhsm2', 'nss'] as const) {
  const missing = missingForInstance(token);
  if (missing !== null) process.stdout.write(`skipped: AWS managed keys over ${token}: ${missing}\n`);
  describe.skipIf(missing !== null || !runsAsRoot)(`An AWS managed key over ${token}`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'drawbridge-managed-'));
    const dir = join(folder, 'instance');
    let instance: Instance;
    let kms: KMS;
    let keyId: string;
    let ebs: UnixClient;
    let other: UnixClient;

    async function start(): Promise<void> {
      instance = await startInstance({ token, dir });
      kms = kmsOver(instance.socket);
      ebs = await UnixClient.start(instance.socket, unixUsers.daemon);
      other = await UnixClient.start(instance.socket, unixUsers.nobody);
    }
    async function leave(): Promise<void> {
      await Promise.all([ebs.stop(), other.stop()]);
      kms.destroy();
    }
    const reload = async (services: Readonly<Record<string, string>>, isLogged: RegExp): Promise<void> => {
      setServices(dir, services);
      const before = instance.log().length;
      process.kill(instance.pid, 'SIGHUP');
      await expect.poll(() => instance.log().slice(before)).toMatch(isLogged);
    };
    const wasRead = /the AWS managed keys of the configuration were read again/;

    beforeAll(async () => {
      const made = await startInstance({ token, dir });
      await made.stop();
      setServices(dir, { ebs: 'daemon', s3: 'nobody' });
      await start();
      keyId = present((await kms.describeKey({ KeyId: alias })).KeyMetadata?.KeyId);
    }, 2 * bootTimeoutMs);
    afterAll(async () => {
      await leave();
      await instance.stop();
      rmSync(folder, { recursive: true, force: true });
    }, bootTimeoutMs);

    test('is there when the daemon is, and its making is on record as the daemon’s own', async () => {
      const { KeyMetadata } = await kms.describeKey({ KeyId: keyId });
      expect(KeyMetadata).toMatchObject({
        Arn: keyArn(keyId),
        KeyManager: 'AWS',
        KeyState: 'Enabled',
        Enabled: true,
        KeySpec: 'SYMMETRIC_DEFAULT',
        KeyUsage: 'ENCRYPT_DECRYPT',
        Origin: 'AWS_KMS',
        MultiRegion: false,
      });
      const { CreationDate } = present(KeyMetadata);
      expect(await kms.getKeyRotationStatus({ KeyId: keyId })).toMatchObject({
        KeyRotationEnabled: true,
        RotationPeriodInDays: 365,
        NextRotationDate: new Date(present(CreationDate).getTime() + 365 * 24 * 60 * 60 * 1000),
      });
      const { Aliases } = await kms.listAliases({ KeyId: keyId });
      expect(Aliases).toMatchObject([{ AliasName: alias, TargetKeyId: keyId }]);
      const events = auditLines(dir).filter(({ eventType }) => eventType === 'AwsServiceEvent');
      const event = events.find(({ resources }) => resources[0]?.ARN === keyArn(keyId));
      expect(event).toMatchObject({
        eventName: 'CreateKey',
        serviceEventDetails: { keyId, aliasName: alias, keyManager: 'AWS' },
      });
      const { Policy } = await kms.getKeyPolicy({ KeyId: keyId });
      const [use, look] = (JSON.parse(present(Policy)) as { Statement: readonly object[] }).Statement;
      expect(use).toMatchObject({
        Principal: { AWS: '*' },
        Condition: { StringEquals: { 'kms:ViaService': service, 'kms:CallerAccount': account } },
      });
      expect(look).toMatchObject({ Principal: { AWS: rootArn } });
    });

    test('is for whoever is the service, by its alias or its id', async () => {
      const encrypted = await ebs.send('Encrypt', { KeyId: alias, Plaintext });
      expect(encrypted).toMatchObject({ ok: true });
      const { CiphertextBlob } = (encrypted as unknown as { output: { CiphertextBlob: Uint8Array } }).output;
      for (const [operation, input] of [
        ['Decrypt', { CiphertextBlob, KeyId: keyId }],
        ['Decrypt', { CiphertextBlob }],
        ['ReEncrypt', { CiphertextBlob, DestinationKeyId: alias }],
        ['GenerateDataKey', { KeyId: alias, KeySpec: 'AES_256' }],
        ['GenerateDataKeyWithoutPlaintext', { KeyId: alias, KeySpec: 'AES_256' }],
        ['DescribeKey', { KeyId: alias }],
      ] as const) {
        expect(await ebs.send(operation, input), operation).toMatchObject({ ok: true });
      }
    });

    test('is for nobody else: another service, the account’s root', async () => {
      const denied = accessDenied(unixUserArn('nobody'), 'Encrypt', keyArn(keyId), 'not-allowed');
      expect(await other.send('Encrypt', { KeyId: alias, Plaintext })).toMatchObject({ ok: false, name: denied.name });
      expect(await other.send('DescribeKey', { KeyId: alias })).toMatchObject({ ok: false });
      expect(await other.send('Encrypt', { KeyId: 'alias/aws/s3', Plaintext })).toMatchObject({ ok: true });
      expect((await refusal(kms.encrypt({ KeyId: alias, Plaintext }))).name).toBe('AccessDeniedException');
    });

    test('lends itself by grants, which the account can take back', async () => {
      const made = await ebs.send('CreateGrant', {
        KeyId: keyId,
        GranteePrincipal: unixUserArn('nobody'),
        Operations: ['Encrypt'],
      });
      expect(made).toMatchObject({ ok: true });
      expect(await other.send('Encrypt', { KeyId: keyId, Plaintext })).toMatchObject({ ok: true });
      const { Grants = [] } = await kms.listGrants({ KeyId: keyId });
      await kms.revokeGrant({ KeyId: keyId, GrantId: present(Grants[0]?.GrantId) });
      expect(await other.send('Encrypt', { KeyId: keyId, Plaintext })).toMatchObject({ ok: false });
    });

    const looks = /^kms:(?:Describe|Get|List)|^kms:RevokeGrant$|^kms:RetireGrant$/;
    const refused = examples.filter(
      ({ actions, takes }) => actions.some((action) => !looks.test(action)) && takes !== 'made',
    );
    test.each(refused)('refuses $operation to the account’s root', async ({ operation, input, takes, hasDryRun }) => {
      const before = (await kms.describeKey({ KeyId: keyId })).KeyMetadata;
      const asked = input({ keyId, made: Plaintext, alias, grantId: '' });
      const method = `${operation.slice(0, 1).toLowerCase()}${operation.slice(1)}`;
      // Safe: the SDK has a method for each operation, and the example is its input.
      const client = kms as unknown as Record<string, (input: object) => Promise<unknown>>;
      for (const dryRun of hasDryRun ? [{}, { DryRun: true }] : [{}]) {
        const { name } = await refusal(present(client[method]?.bind(kms))({ ...asked, ...dryRun }));
        expect(name).toBe(takes === 'alias' ? 'InvalidAliasNameException' : 'AccessDeniedException');
      }
      expect((await kms.describeKey({ KeyId: keyId })).KeyMetadata).toEqual(before);
    });

    test.each([
      ['DisableKey', {}],
      ['ScheduleKeyDeletion', {}],
      ['PutKeyPolicy', { Policy: policy(rootMayAll) }],
      ['UpdateKeyDescription', { Description: 'mine' }],
      ['TagResource', { Tags: [{ TagKey: 'a', TagValue: 'b' }] }],
      ['UntagResource', { TagKeys: ['a'] }],
      ['EnableKey', {}],
      ['CancelKeyDeletion', {}],
    ])('refuses %s to the service that it is for, in the words of AWS', async (operation, input) => {
      expect(await ebs.send(operation, { KeyId: keyId, ...input })).toMatchObject({
        ok: false,
        ...accessDenied(unixUserArn('daemon'), operation, keyArn(keyId), 'not-allowed'),
      });
    });

    test('has a name that nobody else can give or take', async () => {
      const { id } = await newKey(kms);
      for (const asked of heard([
        kms.createAlias({ AliasName: 'alias/aws/mine', TargetKeyId: id }),
        kms.updateAlias({ AliasName: alias, TargetKeyId: id }),
        kms.deleteAlias({ AliasName: alias }),
      ])) {
        expect((await refusal(asked)).name).toBe('InvalidAliasNameException');
      }
    });

    test('is not the only thing that knows the service: policies of other keys do, by kms:ViaService', async () => {
      const uses = {
        ...allow('*', ['kms:Encrypt', 'kms:CreateGrant']),
        Condition: {
          StringEquals: { 'kms:ViaService': service },
          BoolIfExists: { 'kms:GrantIsForAWSResource': 'true' },
        },
      };
      const { id } = await newKey(kms, policy(rootMayAll, uses));
      expect(await ebs.send('Encrypt', { KeyId: id, Plaintext })).toMatchObject({ ok: true });
      const grant = { KeyId: id, GranteePrincipal: unixUserArn('nobody'), Operations: ['Decrypt'] };
      expect(await ebs.send('CreateGrant', grant)).toMatchObject({ ok: true });
      expect(await other.send('Encrypt', { KeyId: id, Plaintext })).toMatchObject({ ok: false });
    });

    test(
      'follows the configuration at SIGHUP: of no use when its service is taken out, and the same when it comes back',
      async () => {
        const encrypted = await ebs.send('Encrypt', { KeyId: alias, Plaintext });
        const { CiphertextBlob } = (encrypted as unknown as { output: { CiphertextBlob: Uint8Array } }).output;
        await reload({ s3: 'nobody', ssm: 'www-data' }, wasRead);
        expect(await ebs.send('Decrypt', { CiphertextBlob })).toMatchObject({ ok: false });
        expect(await ebs.send('Encrypt', { KeyId: alias, Plaintext })).toMatchObject({ ok: false });
        expect((await kms.describeKey({ KeyId: alias })).KeyMetadata?.KeyId).toBe(keyId);
        expect((await kms.describeKey({ KeyId: 'alias/aws/ssm' })).KeyMetadata?.KeyManager).toBe('AWS');

        appendFileSync(join(dir, 'drawbridge.yaml'), 'nonsense: 1\n');
        const before = instance.log().length;
        process.kill(instance.pid, 'SIGHUP');
        await expect.poll(() => instance.log().slice(before)).toMatch(/`nonsense` is not known here/);
        expect(await other.send('Encrypt', { KeyId: 'alias/aws/s3', Plaintext })).toMatchObject({ ok: true });

        await reload({ ebs: 'daemon', s3: 'nobody' }, wasRead);
        expect(await ebs.send('Decrypt', { CiphertextBlob })).toMatchObject({ ok: true });
      },
      bootTimeoutMs,
    );

    test(
      'is the same key after kill -9 and after a stop, and is made once',
      async () => {
        const encrypted = await ebs.send('Encrypt', { KeyId: alias, Plaintext });
        const { CiphertextBlob } = (encrypted as unknown as { output: { CiphertextBlob: Uint8Array } }).output;
        const keysBefore = (await kms.listKeys({ Limit: 1000 })).Keys;
        await leave();
        await instance.kill9();
        await start();
        expect(await ebs.send('Decrypt', { CiphertextBlob })).toMatchObject({ ok: true });
        await leave();
        await instance.stop();
        await start();
        expect((await kms.describeKey({ KeyId: alias })).KeyMetadata?.KeyId).toBe(keyId);
        expect((await kms.listKeys({ Limit: 1000 })).Keys).toEqual(keysBefore);
      },
      3 * bootTimeoutMs,
    );
  });
}
