/** EnableKey, DisableKey, ScheduleKeyDeletion, CancelKeyDeletion, UpdateKeyDescription and GetKeyRotationStatus, one key at a time. */

import type { KeyMetadata, KeySpec, KeyUsageType } from '@aws-sdk/client-kms';
import { expect, test } from 'vitest';
import { account, aliasArn, keyArn, region, unknownKeyId } from './support/arns.ts';
import { describeDaemon, newKey, newKeyOf, present, type TokenName } from './support/daemon.ts';
import { newGrant } from './support/grants.ts';
import {
  aliasesNotSupported,
  heard,
  invalid,
  invalidKeyId,
  keyNotFound,
  problem,
  refusal,
  refused,
} from './support/refusals.ts';
import { call, errorIn } from './support/wire.ts';

const dayMs = 24 * 60 * 60 * 1000;
const pendingDeletion = (arn: string) => refused('KMSInvalidStateException', `${arn} is pending deletion.`);
const notPendingDeletion = (arn: string) => refused('KMSInvalidStateException', `${arn} is not pending deletion.`);

const ofOneKey: readonly (readonly [operation: string, body: object])[] = [
  ['EnableKey', {}],
  ['DisableKey', {}],
  ['UpdateKeyDescription', { Description: 'x' }],
  ['TagResource', { Tags: [{ TagKey: 'a', TagValue: '1' }] }],
  ['UntagResource', { TagKeys: ['a'] }],
  ['ListResourceTags', {}],
  ['GetKeyRotationStatus', {}],
  ['EnableKeyRotation', { RotationPeriodInDays: 90 }],
  ['DisableKeyRotation', {}],
  ['RotateKeyOnDemand', {}],
  ['ListKeyRotations', {}],
  ['ScheduleKeyDeletion', { PendingWindowInDays: 7 }],
  ['CancelKeyDeletion', {}],
];

for (const token of ['softhsm2', 'nss'] as const satisfies readonly TokenName[]) {
  describeDaemon(
    `The life of a key in ${token}`,
    (daemon) => {
      const metadataOf = async (KeyId: string): Promise<KeyMetadata> =>
        present((await daemon().kms.describeKey({ KeyId })).KeyMetadata);
      const told = async (operation: string, body: object) => errorIn(await call(daemon().socket, operation, body));

      test('a disabled key is described as disabled, and an enabled one again as it was', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        const before = await metadataOf(key.id);
        const { $metadata, ...nothing } = await kms.disableKey({ KeyId: key.id });
        expect(nothing).toEqual({});
        expect(await metadataOf(key.id)).toEqual({ ...before, Enabled: false, KeyState: 'Disabled' });
        await kms.enableKey({ KeyId: key.arn });
        expect(await metadataOf(key.id)).toEqual(before);
      });

      test('to enable an enabled key and to disable a disabled one is no error', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await kms.enableKey({ KeyId: key.id });
        expect((await metadataOf(key.id)).KeyState).toBe('Enabled');
        await kms.disableKey({ KeyId: key.id });
        await kms.disableKey({ KeyId: key.arn });
        expect((await metadataOf(key.id)).KeyState).toBe('Disabled');
      });

      test.each([
        ['of 7 days', 7, 7],
        ['of 30 days', 30, 30],
        ['of 30 days when none is given', undefined, 30],
      ])('a deletion is scheduled with a waiting period %s', async (_, PendingWindowInDays, days) => {
        const { kms } = daemon();
        const key = await newKey(kms);
        const before = await metadataOf(key.id);
        const earliest = Date.now() + days * dayMs;
        const { $metadata, ...scheduled } = await kms.scheduleKeyDeletion({ KeyId: key.id, PendingWindowInDays });
        const latest = Date.now() + days * dayMs;
        const DeletionDate = present(scheduled.DeletionDate);
        expect(scheduled).toEqual({
          KeyId: key.arn,
          DeletionDate,
          KeyState: 'PendingDeletion',
          PendingWindowInDays: days,
        });
        expect(DeletionDate.getTime()).toBeGreaterThanOrEqual(earliest - 1);
        expect(DeletionDate.getTime()).toBeLessThanOrEqual(latest);
        expect(await metadataOf(key.arn)).toEqual({
          ...before,
          Enabled: false,
          KeyState: 'PendingDeletion',
          DeletionDate,
        });
      });

      test('a cancelled deletion leaves the key disabled, with no date, and its ARN is answered', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        const before = await metadataOf(key.id);
        for (const KeyId of [key.id, key.arn]) {
          await kms.scheduleKeyDeletion({ KeyId });
          const { $metadata, ...cancelled } = await kms.cancelKeyDeletion({ KeyId });
          expect(cancelled).toEqual({ KeyId: key.arn });
          expect(await metadataOf(key.id)).toEqual({ ...before, Enabled: false, KeyState: 'Disabled' });
        }
        await kms.enableKey({ KeyId: key.id });
        expect(await metadataOf(key.id)).toEqual(before);
      });

      test('a deletion cannot be scheduled twice, nor its date be moved', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await kms.scheduleKeyDeletion({ KeyId: key.id, PendingWindowInDays: 20 });
        const { DeletionDate } = await metadataOf(key.id);
        const again = kms.scheduleKeyDeletion({ KeyId: key.id, PendingWindowInDays: 7 });
        expect(await refusal(again)).toEqual(pendingDeletion(key.arn));
        expect((await metadataOf(key.id)).DeletionDate).toEqual(DeletionDate);
      });

      test('only a deletion that is pending can be cancelled', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        expect(await refusal(kms.cancelKeyDeletion({ KeyId: key.id }))).toEqual(notPendingDeletion(key.arn));
        await kms.disableKey({ KeyId: key.id });
        expect(await refusal(kms.cancelKeyDeletion({ KeyId: key.id }))).toEqual(notPendingDeletion(key.arn));
        expect((await metadataOf(key.id)).KeyState).toBe('Disabled');
      });

      test.each([
        ['other words', 'another one'],
        ['no words', ''],
        ['any Unicode', 'ünïcödé 🔑 \u0000 "quoted" \\ \n 日本語'],
        ['8,192 characters', 'd'.repeat(8192)],
      ])('a key is described anew with %s, and nothing else about it changes', async (_, Description) => {
        const { kms } = daemon();
        const key = await newKey(kms);
        const before = await metadataOf(key.id);
        const { $metadata, ...nothing } = await kms.updateKeyDescription({ KeyId: key.id, Description });
        expect(nothing).toEqual({});
        expect(await metadataOf(key.id)).toEqual({ ...before, Description });
      });

      test('a disabled key can be described anew and stays disabled', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await kms.disableKey({ KeyId: key.id });
        await kms.updateKeyDescription({ KeyId: key.id, Description: 'resting' });
        expect(await metadataOf(key.id)).toMatchObject({ Description: 'resting', KeyState: 'Disabled' });
      });

      test('a description is at most 8,192 characters long', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        const Description = 'd'.repeat(8193);
        expect(await refusal(kms.updateKeyDescription({ KeyId: key.id, Description }))).toEqual(
          invalid(problem.tooLong(Description, 'description', 8192)),
        );
        expect((await metadataOf(key.id)).Description).toBe('');
      });

      test('no key is rotated by itself unless somebody enables it: neither of those that could be, nor of those that cannot', async () => {
        const { kms } = daemon();
        const kinds: readonly (readonly [KeySpec, KeyUsageType])[] = [
          ['SYMMETRIC_DEFAULT', 'ENCRYPT_DECRYPT'],
          ['ECC_NIST_P256', 'SIGN_VERIFY'],
          ['RSA_2048', 'SIGN_VERIFY'],
          ['RSA_2048', 'ENCRYPT_DECRYPT'],
          ['HMAC_256', 'GENERATE_VERIFY_MAC'],
        ];
        for (const [spec, usage] of kinds) {
          const key = await newKeyOf(kms, spec, usage);
          const status = async () => {
            const { $metadata, ...members } = await kms.getKeyRotationStatus({ KeyId: key.arn });
            return members;
          };
          const off = { KeyId: key.arn, KeyRotationEnabled: false };
          expect(await status()).toEqual(off);
          await kms.disableKey({ KeyId: key.id });
          expect(await status()).toEqual(off);
          await kms.scheduleKeyDeletion({ KeyId: key.id });
          expect(await status()).toEqual(off);
        }
      });

      test('pairs and HMAC keys are disabled, deleted and brought back as any key is', async () => {
        const { kms } = daemon();
        const signing = await newKeyOf(kms, 'ECC_NIST_P256', 'SIGN_VERIFY');
        const mac = await newKeyOf(kms, 'HMAC_256', 'GENERATE_VERIFY_MAC');
        const Message = Buffer.from('m');
        const uses = () => [
          kms.sign({ KeyId: signing.id, Message, SigningAlgorithm: 'ECDSA_SHA_256' }),
          kms.getPublicKey({ KeyId: signing.id }),
          kms.generateMac({ KeyId: mac.id, Message, MacAlgorithm: 'HMAC_SHA_256' }),
        ];
        for (const { id } of [signing, mac]) await kms.disableKey({ KeyId: id });
        for (const use of heard(uses())) expect((await refusal(use)).name).toBe('DisabledException');
        for (const { id } of [signing, mac]) await kms.scheduleKeyDeletion({ KeyId: id });
        for (const use of heard(uses())) expect((await refusal(use)).name).toBe('KMSInvalidStateException');
        for (const { id } of [signing, mac]) await kms.cancelKeyDeletion({ KeyId: id });
        for (const { id } of [signing, mac]) await kms.enableKey({ KeyId: id });
        await Promise.all(uses());
      });

      if (token === 'nss') return; // What follows is about requests, not about keys.

      test.each([
        [1, 'PendingWindowInDays must be between 7 and 30'],
        [6, 'PendingWindowInDays must be between 7 and 30'],
        [31, 'PendingWindowInDays must be between 7 and 30'],
        [365, 'PendingWindowInDays must be between 7 and 30'],
      ])('a waiting period of %d days is refused, and nothing changes', async (PendingWindowInDays, message) => {
        const { kms } = daemon();
        const key = await newKey(kms);
        expect(await refusal(kms.scheduleKeyDeletion({ KeyId: key.id, PendingWindowInDays }))).toEqual(
          refused('ValidationException', message),
        );
        expect((await metadataOf(key.id)).KeyState).toBe('Enabled');
      });

      test.each([
        [0, invalid(problem.tooSmall(0, 'pendingWindowInDays', 1))],
        [-7, invalid(problem.tooSmall(-7, 'pendingWindowInDays', 1))],
        [366, invalid(problem.tooLarge(366, 'pendingWindowInDays', 365))],
      ])('a waiting period of %d days is outside of what the member can be', async (PendingWindowInDays, expected) => {
        const key = await newKey(daemon().kms);
        expect(await told('ScheduleKeyDeletion', { KeyId: key.id, PendingWindowInDays })).toEqual(expected);
      });

      test.each([1.5, '7', true, [7], {}, 7e99])(
        'a waiting period of %j is no integer',
        async (PendingWindowInDays) => {
          const key = await newKey(daemon().kms);
          const { name } = await told('ScheduleKeyDeletion', { KeyId: key.id, PendingWindowInDays });
          expect(name).toBe('SerializationException');
          expect((await metadataOf(key.id)).KeyState).toBe('Enabled');
        },
      );

      test.each(ofOneKey)('%s wants a key id or a key ARN of this place', async (operation, body) => {
        const { kms } = daemon();
        const key = await newKey(kms);
        const AliasName = `alias/life/${operation}`;
        await kms.createAlias({ AliasName, TargetKeyId: key.id });
        const elsewhere = `arn:aws:kms:${region}:111122223333:key/${key.id}`;
        for (const [KeyId, expected] of [
          [AliasName, aliasesNotSupported],
          [aliasArn(AliasName), aliasesNotSupported],
          ['alias/not-there', aliasesNotSupported],
          [unknownKeyId, keyNotFound(keyArn(unknownKeyId))],
          [keyArn(unknownKeyId), keyNotFound(keyArn(unknownKeyId))],
          ['key', invalidKeyId('key')],
          [elsewhere, keyNotFound(elsewhere)],
          [`arn:aws:kms:eu-west-3:${account}:key/${key.id}`, refused('NotFoundException', 'Invalid arn eu-west-3')],
          ['arn:aws:s3:::bucket', refused('InvalidArnException', 'arn:aws:s3:::bucket is not a valid ARN')],
          ['', invalid(problem.tooShort('', 'keyId', 1))],
          [null, invalid(problem.missing('keyId'))],
        ] as const) {
          expect(await told(operation, { ...body, KeyId })).toEqual(expected);
        }
        for (const KeyId of [7, true, [key.id], { KeyId: key.id }]) {
          expect((await told(operation, { ...body, KeyId })).name).toBe('SerializationException');
        }
        expect(await metadataOf(key.id)).toMatchObject({ KeyState: 'Enabled', Description: '' });
      });

      test('what a request lacks is named', async () => {
        const key = await newKey(daemon().kms);
        expect(await told('UpdateKeyDescription', {})).toEqual(
          invalid(problem.missing('keyId'), problem.missing('description')),
        );
        expect(await told('UpdateKeyDescription', { KeyId: key.id })).toEqual(invalid(problem.missing('description')));
        expect(await told('TagResource', { KeyId: key.id })).toEqual(invalid(problem.missing('tags')));
        expect(await told('UntagResource', { KeyId: key.id })).toEqual(invalid(problem.missing('tagKeys')));
      });

      test('grants and aliases outlive what happens to their key', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await kms.createAlias({ AliasName: 'alias/outlives', TargetKeyId: key.id });
        const grant = await newGrant(kms, key.id, { Operations: ['Decrypt'] });
        for (const step of [
          () => kms.disableKey({ KeyId: key.id }),
          () => kms.scheduleKeyDeletion({ KeyId: key.id }),
          () => kms.cancelKeyDeletion({ KeyId: key.id }),
          () => kms.enableKey({ KeyId: key.id }),
        ]) {
          await step();
          expect((await kms.listAliases({ KeyId: key.id })).Aliases?.map(({ AliasName }) => AliasName)).toEqual([
            'alias/outlives',
          ]);
          expect((await kms.listGrants({ KeyId: key.id })).Grants?.map(({ GrantId }) => GrantId)).toEqual([grant.id]);
          expect((await kms.describeKey({ KeyId: 'alias/outlives' })).KeyMetadata?.KeyId).toBe(key.id);
        }
      });
    },
    token,
  );
}
