/**
 * Multi-Region keys as a program meets them: two Regions of one instance, each with its socket, and one loopback listener for both,
 * which goes by the Region that a signature names.
 */

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KMS } from '@aws-sdk/client-kms';
import { afterAll, expect, test } from 'vitest';
import { unixUserArn } from './support/arns.ts';
import { auditLines } from './support/audit-trail.ts';
import { kmsOver } from './support/connect.ts';
import { describeDaemon, present } from './support/daemon.ts';
import { may, writeIdentityPolicy } from './support/identity-policies.ts';
import { importMaterial, metadataOf } from './support/imports.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import { identityDenied, refusal } from './support/refusals.ts';
import { runsAsRoot, UnixClient, unixUsers } from './support/unix-users.ts';

const [here, there, third] = ['us-east-1', 'eu-central-1', 'ap-southeast-1'] as const;

const userArn = unixUserArn('www-data');
/** Whom a tag of the new key names the case for. */
const policies = mkdtempSync(join(tmpdir(), 'drawbridge-policies-'));
afterAll(() => rmSync(policies, { recursive: true }));
const inCase = (name: string, more: object = {}) => ({
  Condition: { StringEquals: { 'aws:RequestTag/case': name, ...more } },
});
writeIdentityPolicy(
  policies,
  'user.json',
  [userArn],
  may('kms:TagResource', '*', inCase('there', { 'aws:RequestedRegion': there })),
  may('kms:TagResource', '*', { Condition: { StringNotEquals: { 'aws:RequestTag/case': 'there' } } }),
  may('kms:CreateKey', '*', inCase('here', { 'aws:RequestedRegion': here })),
  may('kms:CreateKey', '*', inCase('there', { 'aws:RequestedRegion': there })),
  may(
    'kms:CreateKey',
    '*',
    inCase('HMAC', { 'kms:KeySpec': 'HMAC_256', 'kms:KeyOrigin': 'AWS_KMS', 'kms:MultiRegionKeyType': 'REPLICA' }),
  ),
  may('kms:CreateKey', '*', inCase('primary', { 'kms:MultiRegionKeyType': 'PRIMARY' })),
  may('kms:CreateKey', '*', inCase('no multi-Region keys')),
  {
    ...{ Effect: 'Deny', Action: 'kms:CreateKey', Resource: '*' },
    Condition: { ...inCase('no multi-Region keys').Condition, Bool: { 'kms:MultiRegion': true } },
  },
);

describeDaemon(
  'A multi-Region key of one instance',
  (daemon) => {
    test('is replicated, used in both Regions, and gets another primary key', async () => {
      const { kms, instance } = daemon();
      const other = kmsOver(join(instance.dir, `${there}.sock`));
      const KeyId = present((await kms.createKey({ MultiRegion: true })).KeyMetadata?.KeyId);
      await kms.replicateKey({ KeyId, ReplicaRegion: there });
      const last = (await kms.replicateKey({ KeyId, ReplicaRegion: third })).ReplicaKeyMetadata;
      expect(last?.MultiRegionConfiguration?.ReplicaKeys?.map(({ Region }) => Region)).toEqual([third, there]);
      expect((await metadataOf(other, KeyId)).MultiRegionConfiguration).toEqual(last?.MultiRegionConfiguration);
      const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('x') });
      expect((await other.decrypt({ CiphertextBlob })).KeyId).toContain(`:${there}:`);
      await kms.updatePrimaryRegion({ KeyId, PrimaryRegion: there });
      const { KeyMetadata } = await other.describeKey({ KeyId });
      expect(KeyMetadata?.MultiRegionConfiguration?.MultiRegionKeyType).toBe('PRIMARY');
      other.destroy();
    });

    test('is no primary key where it is of one Region alone, or a replica, and says so to whom policies allow it', async () => {
      const { kms, instance } = daemon();
      const other = kmsOver(join(instance.dir, `${there}.sock`));
      const single = present((await kms.createKey({})).KeyMetadata?.KeyId);
      const KeyId = present((await kms.createKey({ MultiRegion: true })).KeyMetadata?.KeyId);
      const arnIn = (region: string, id: string) => `arn:aws:kms:${region}:000000000000:key/${id}`;
      // Of a primary key the replica that is missing is what is not there.
      expect(await refusal(kms.updatePrimaryRegion({ KeyId, PrimaryRegion: there }))).toMatchObject({
        name: 'NotFoundException',
        message: expect.stringContaining(arnIn(there, KeyId)),
      });
      await kms.replicateKey({ KeyId, ReplicaRegion: there });
      // The one of its own Region is no replica either, which has to be there.
      expect(await refusal(kms.updatePrimaryRegion({ KeyId, PrimaryRegion: here }))).toEqual({
        name: 'UnsupportedOperationException',
        message: `${arnIn(here, KeyId)} is the primary key already: there is no replica key in the Region ${here}.`,
      });
      for (const [client, arn] of [[kms, arnIn(here, single)] as const, [other, arnIn(there, KeyId)] as const])
        for (const PrimaryRegion of [here, there, 'sa-east-1'])
          expect(await refusal(client.updatePrimaryRegion({ KeyId: arn, PrimaryRegion }))).toMatchObject({
            name: 'UnsupportedOperationException',
            message: `${arn} is not a multi-region primary key.`,
          });
      expect(await refusal(kms.updatePrimaryRegion({ KeyId, PrimaryRegion: 'sa-east-1' }))).toEqual({
        name: 'ValidationException',
        message: `The Region sa-east-1 is not served here; these are: ${third}, ${there}, ${here}.`,
      });
      const denied = { ...allow('*', 'kms:UpdatePrimaryRegion'), Effect: 'Deny' };
      const Policy = policy(allow('arn:aws:iam::000000000000:root', 'kms:*'), denied);
      await kms.putKeyPolicy({ KeyId: single, PolicyName: 'default', Policy });
      const unseen = await refusal(kms.updatePrimaryRegion({ KeyId: single, PrimaryRegion: there }));
      expect(unseen).toMatchObject({ name: 'AccessDeniedException' });
      other.destroy();
    });

    test('is made by Terraform as an aws_kms_replica_external_key', async () => {
      const { kms, instance } = daemon();
      const other = kmsOver(join(instance.dir, `${there}.sock`));
      const material = randomBytes(32);
      const created = await kms.createKey({ Origin: 'EXTERNAL', MultiRegion: true });
      const KeyId = present(created.KeyMetadata?.KeyId);
      await importMaterial(kms, KeyId, material);
      const { CiphertextBlob } = await kms.encrypt({ KeyId, Plaintext: Buffer.from('x') });
      const Tags = [{ TagKey: 'Name', TagValue: 'replica' }];
      const Policy = policy(allow('arn:aws:iam::000000000000:root', 'kms:*'));
      const request = { KeyId, Policy, Tags, ReplicaRegion: there, BypassPolicyLockoutSafetyCheck: false };
      const { ReplicaKeyMetadata } = await kms.replicateKey(request);
      expect(ReplicaKeyMetadata?.KeyState).toBe('Creating');
      expect(await metadataOf(other, KeyId)).toMatchObject({ KeyState: 'PendingImport', Origin: 'EXTERNAL' });
      await importMaterial(other, KeyId, material);
      expect(await metadataOf(other, KeyId)).toMatchObject({
        ...{ KeyManager: 'CUSTOMER', KeyState: 'Enabled', ExpirationModel: 'KEY_MATERIAL_DOES_NOT_EXPIRE' },
        MultiRegionConfiguration: { MultiRegionKeyType: 'REPLICA', PrimaryKey: { Arn: created.KeyMetadata?.Arn } },
      });
      const read = await other.getKeyPolicy({ KeyId, PolicyName: 'default' });
      expect(JSON.parse(present(read.Policy))).toEqual(JSON.parse(Policy));
      expect((await other.listResourceTags({ KeyId })).Tags).toEqual(Tags);
      // Another valid_to is another import, here alone.
      const ValidTo = new Date((Math.floor(Date.now() / 1000) + 24 * 60 * 60) * 1000);
      await importMaterial(other, KeyId, material, { ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo });
      expect(await metadataOf(other, KeyId)).toMatchObject({ ExpirationModel: 'KEY_MATERIAL_EXPIRES', ValidTo });
      // One HSM is that of both Regions: what is deleted in one is used in the other, and what is used there keeps nobody waiting.
      let isOver = false;
      const using = (async () => {
        while (!isOver) await Promise.all(Array.from({ length: 8 }, () => kms.decrypt({ CiphertextBlob })));
      })();
      await other.deleteImportedKeyMaterial({ KeyId });
      isOver = true;
      await using;
      expect((await refusal(other.decrypt({ CiphertextBlob }))).name).toBe('KMSInvalidStateException');
      await other.scheduleKeyDeletion({ KeyId, PendingWindowInDays: 7 });
      expect((await metadataOf(other, KeyId)).KeyState).toBe('PendingDeletion');
      other.destroy();
    });

    test('is used over one listener by the Region of the signature', async () => {
      const { kms, instance } = daemon();
      const KeyId = present((await kms.createKey({ MultiRegion: true })).KeyMetadata?.KeyId);
      await kms.replicateKey({ KeyId, ReplicaRegion: there });
      const { accessKeyId, secretAccessKey, endpoint } = instance;
      for (const region of [here, there]) {
        const signed = new KMS({ region, endpoint: present(endpoint), credentials: { accessKeyId, secretAccessKey } });
        const { KeyMetadata } = await signed.describeKey({ KeyId });
        expect(KeyMetadata?.Arn).toContain(`:${region}:`);
        signed.destroy();
      }
    });

    test.skipIf(!runsAsRoot)(
      'is made where policies allow it in the Region that it is made in, and as what it is',
      async () => {
        const { kms, socket, instance } = daemon();
        const user = await UnixClient.start(socket, unixUsers['www-data']);
        const Policy = policy(rootMayAll, allow(userArn, ['kms:ReplicateKey', 'kms:UpdatePrimaryRegion']));
        const newPrimary = async (more: object = {}) =>
          present((await kms.createKey({ MultiRegion: true, Policy, ...more })).KeyMetadata?.KeyId);
        const replicate = (KeyId: string, tag: string, more: object = {}) =>
          user.send('ReplicateKey', {
            KeyId,
            ReplicaRegion: there,
            Tags: [{ TagKey: 'case', TagValue: tag }],
            ...more,
          });
        const [KeyId, macKey] = [
          await newPrimary(),
          await newPrimary({ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' }),
        ];
        // The request is about the primary key: what is said first, and on record, is what of it is refused.
        const others = await newPrimary({ Policy: policy(rootMayAll) });
        const othersArn = `arn:aws:kms:${here}:000000000000:key/${others}`;
        for (const refused of ['there', 'primary'])
          expect(await replicate(others, refused), refused).toEqual({
            ok: false,
            ...identityDenied(userArn, 'ReplicateKey', othersArn),
          });
        expect(auditLines(instance.dir).at(-1)).toMatchObject({
          ...{ eventName: 'ReplicateKey', errorCode: 'AccessDeniedException', resources: [{ ARN: othersArn }] },
        });
        const unknown = `mrk-${'0'.repeat(32)}`;
        expect(await replicate(unknown, 'primary')).toMatchObject({ name: 'NotFoundException' });
        for (const refused of ['here', 'no multi-Region keys', 'HMAC', 'primary'])
          expect(await replicate(KeyId, refused), refused).toMatchObject({ name: 'AccessDeniedException' });
        const create = (members: object) =>
          user.send('CreateKey', { Tags: [{ TagKey: 'case', TagValue: 'primary' }], ...members });
        expect(await create({})).toMatchObject({ name: 'AccessDeniedException' });
        expect(await create({ MultiRegion: true })).toMatchObject({ ok: true });
        // Its own lockout check is about the Region in which the policy is put, too.
        const onlyThere = { ...allow('*', '*'), Condition: { StringEquals: { 'aws:RequestedRegion': there } } };
        expect(await replicate(KeyId, 'there', { Policy: policy(onlyThere) })).toMatchObject({ ok: true });
        expect(await replicate(macKey, 'HMAC')).toMatchObject({ ok: true });
        // The replica's policy of this operation is asked about the replica's Region as well.
        const notThere = { ...deny('*', 'kms:UpdatePrimaryRegion'), Condition: onlyThere.Condition };
        const kept = await newPrimary();
        await kms.replicateKey({ KeyId: kept, ReplicaRegion: there, Policy: policy(rootMayAll, notThere) });
        expect((await refusal(kms.updatePrimaryRegion({ KeyId: kept, PrimaryRegion: there }))).name).toBe(
          'AccessDeniedException',
        );
        await kms.updatePrimaryRegion({ KeyId, PrimaryRegion: there });
        await user.stop();
      },
    );
  },
  'softhsm2',
  { regions: [there, third], tcp: true, policies },
);
