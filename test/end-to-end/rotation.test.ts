/** EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKeyOnDemand and ListKeyRotations, as AWS documents them. */

import { type KeySpec, type KeyUsageType, type KMS, paginateListKeyRotations } from '@aws-sdk/client-kms';
import { expect, test } from 'vitest';
import { describeDaemon, newKey, newKeyOf, present, type TokenName } from './support/daemon.ts';
import { newGrant } from './support/grants.ts';
import { invalid, problem, refusal, refused } from './support/refusals.ts';
import { call, errorIn } from './support/wire.ts';

const dayMs = 24 * 60 * 60 * 1000;
const testTimeoutMs = 120_000;
const Plaintext = Buffer.from('attack at dawn');
/** AWS sends the name alone. */
const notForThisKind = refused('UnsupportedOperationException', '');
const disabled = (arn: string) => refused('DisabledException', `${arn} is disabled.`);
const pendingDeletion = (arn: string) => refused('KMSInvalidStateException', `${arn} is pending deletion.`);

const others: readonly (readonly [KeySpec, KeyUsageType])[] = [
  ['RSA_2048', 'SIGN_VERIFY'],
  ['RSA_2048', 'ENCRYPT_DECRYPT'],
  ['ECC_NIST_P256', 'SIGN_VERIFY'],
  ['HMAC_256', 'GENERATE_VERIFY_MAC'],
];

/** Each of the four that are for keys that can rotate alone. */
const ofRotatableKeys: Readonly<Record<string, (kms: KMS, KeyId: string) => Promise<unknown>>> = {
  EnableKeyRotation: (kms, KeyId) => kms.enableKeyRotation({ KeyId }),
  DisableKeyRotation: (kms, KeyId) => kms.disableKeyRotation({ KeyId }),
  RotateKeyOnDemand: (kms, KeyId) => kms.rotateKeyOnDemand({ KeyId }),
};

for (const token of ['softhsm2', 'nss'] as const satisfies readonly TokenName[]) {
  describeDaemon(
    `Rotation in ${token}`,
    (daemon) => {
      const statusOf = async (KeyId: string) => {
        const { $metadata, ...status } = await daemon().kms.getKeyRotationStatus({ KeyId });
        return status;
      };
      const currentMaterialOf = async (KeyId: string): Promise<string> =>
        present((await daemon().kms.describeKey({ KeyId })).KeyMetadata?.CurrentKeyMaterialId);
      const rotationsOf = async (KeyId: string, all = false) =>
        present(
          (
            await daemon().kms.listKeyRotations({
              KeyId,
              IncludeKeyMaterial: all ? 'ALL_KEY_MATERIAL' : 'ROTATIONS_ONLY',
            })
          ).Rotations,
        );

      test('a key that is rotated on demand encrypts with new material and opens what the old one encrypted', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        const before = present((await kms.describeKey({ KeyId: key.id })).KeyMetadata);
        const old = await kms.encrypt({ KeyId: key.id, Plaintext });
        const from = Date.now();
        for (const KeyId of [key.id, key.arn]) {
          const { $metadata, ...answer } = await kms.rotateKeyOnDemand({ KeyId });
          expect(answer).toEqual({ KeyId: key.arn });
        }
        const after = present((await kms.describeKey({ KeyId: key.id })).KeyMetadata);
        expect(after).toEqual({ ...before, CurrentKeyMaterialId: after.CurrentKeyMaterialId });
        const [first, second, third] = await rotationsOf(key.id, true);
        expect(first).toEqual({
          KeyId: key.id,
          KeyMaterialId: before.CurrentKeyMaterialId,
          KeyMaterialState: 'NON_CURRENT',
        });
        expect(second).toMatchObject({ KeyMaterialState: 'NON_CURRENT', RotationType: 'ON_DEMAND' });
        const RotationDate = present(third?.RotationDate);
        expect(third).toEqual({
          KeyId: key.id,
          KeyMaterialId: after.CurrentKeyMaterialId,
          KeyMaterialState: 'CURRENT',
          RotationDate,
          RotationType: 'ON_DEMAND',
        });
        expect(RotationDate.getTime()).toBeGreaterThanOrEqual(from - 1);
        expect(RotationDate.getTime()).toBeLessThanOrEqual(Date.now());
        expect(await rotationsOf(key.id)).toEqual([second, third]);

        const opened = await kms.decrypt({ CiphertextBlob: present(old.CiphertextBlob) });
        expect([Buffer.from(present(opened.Plaintext)), opened.KeyMaterialId]).toEqual([
          Plaintext,
          before.CurrentKeyMaterialId,
        ]);
        const made = await kms.encrypt({ KeyId: key.id, Plaintext });
        expect((await kms.decrypt({ CiphertextBlob: present(made.CiphertextBlob) })).KeyMaterialId).toBe(
          after.CurrentKeyMaterialId,
        );
        expect((await kms.generateDataKey({ KeyId: key.id, KeySpec: 'AES_256' })).KeyMaterialId).toBe(
          after.CurrentKeyMaterialId,
        );
        const moved = await kms.reEncrypt({ CiphertextBlob: present(old.CiphertextBlob), DestinationKeyId: key.id });
        expect([moved.SourceKeyMaterialId, moved.DestinationKeyMaterialId]).toEqual([
          before.CurrentKeyMaterialId,
          after.CurrentKeyMaterialId,
        ]);
      });

      test('a key keeps its policy, aliases, grants and tags over a rotation', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await kms.createAlias({ AliasName: 'alias/rotated', TargetKeyId: key.id });
        await newGrant(kms, key.id, { Operations: ['Decrypt'] });
        await kms.tagResource({ KeyId: key.id, Tags: [{ TagKey: 'a', TagValue: '1' }] });
        const seen = async () => [
          (await kms.getKeyPolicy({ KeyId: key.id })).Policy,
          (await kms.listAliases({ KeyId: key.id })).Aliases,
          (await kms.listGrants({ KeyId: key.id })).Grants,
          (await kms.listResourceTags({ KeyId: key.id })).Tags,
        ];
        const before = await seen();
        await kms.rotateKeyOnDemand({ KeyId: key.id });
        expect(await seen()).toEqual(before);
      });

      test(
        'no request fails while 16 callers encrypt and decrypt and the key is rotated under them',
        async () => {
          const { kms } = daemon();
          const key = await newKey(kms);
          const first = await kms.encrypt({ KeyId: key.id, Plaintext });
          const known = [present(first.CiphertextBlob)];
          let isOver = false;
          const callers = Array.from({ length: 16 }, async (_, caller) => {
            let asked = 0;
            for (let step = 0; !isOver || step === 0; step++, asked++) {
              const CiphertextBlob = present(known[(caller + step) % known.length]);
              const [made, opened] = await Promise.all([
                kms.encrypt({ KeyId: key.id, Plaintext }),
                kms.decrypt({ CiphertextBlob }),
              ]);
              expect(Buffer.from(present(opened.Plaintext))).toEqual(Plaintext);
              if (known.length < 500) known.push(present(made.CiphertextBlob));
            }
            return asked;
          });
          const rotations = 5;
          for (let count = 0; count < rotations; count++) await kms.rotateKeyOnDemand({ KeyId: key.id });
          isOver = true;
          for (const asked of await Promise.all(callers)) expect(asked).toBeGreaterThan(0);
          const materials = new Set<string>();
          for (const CiphertextBlob of known) {
            materials.add(present((await kms.decrypt({ CiphertextBlob })).KeyMaterialId));
          }
          expect(materials.size).toBeGreaterThan(1);
          expect(await rotationsOf(key.id)).toHaveLength(rotations);
        },
        testTimeoutMs,
      );

      test('rotations of one key that are demanded at once are made one after the other', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await Promise.all(Array.from({ length: 4 }, () => kms.rotateKeyOnDemand({ KeyId: key.id })));
        const all = await rotationsOf(key.id, true);
        expect(new Set(all.map(({ KeyMaterialId }) => KeyMaterialId)).size).toBe(5);
        expect(all.map(({ KeyMaterialState }) => KeyMaterialState === 'CURRENT')).toEqual([
          ...Array(4).fill(false),
          true,
        ]);
        expect(await currentMaterialOf(key.id)).toBe(all[4]?.KeyMaterialId);
      });

      test('automatic rotation is enabled, told and disabled', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        expect(await statusOf(key.id)).toEqual({ KeyId: key.arn, KeyRotationEnabled: false });
        const from = Date.now();
        const { $metadata, ...nothing } = await kms.enableKeyRotation({ KeyId: key.arn });
        expect(nothing).toEqual({});
        const { NextRotationDate, ...status } = await statusOf(key.arn);
        expect(status).toEqual({ KeyId: key.arn, KeyRotationEnabled: true, RotationPeriodInDays: 365 });
        const next = present(NextRotationDate).getTime();
        expect(next).toBeGreaterThanOrEqual(from - 1 + 365 * dayMs);
        expect(next).toBeLessThanOrEqual(Date.now() + 365 * dayMs);
        await kms.disableKeyRotation({ KeyId: key.id });
        expect(await statusOf(key.id)).toEqual({ KeyId: key.arn, KeyRotationEnabled: false });
        await kms.disableKeyRotation({ KeyId: key.id });
      });

      if (token === 'nss') return; // What follows is about requests, not about material.

      test.each([90, 91, 365, 2559, 2560])('a period of %d days is taken, and can be changed', async (days) => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await kms.enableKeyRotation({ KeyId: key.id, RotationPeriodInDays: 100 });
        const from = Date.now();
        await kms.enableKeyRotation({ KeyId: key.id, RotationPeriodInDays: days });
        const { NextRotationDate, RotationPeriodInDays } = await statusOf(key.id);
        expect(RotationPeriodInDays).toBe(days);
        const next = present(NextRotationDate).getTime();
        expect(next).toBeGreaterThanOrEqual(from - 1 + days * dayMs);
        expect(next).toBeLessThanOrEqual(Date.now() + days * dayMs);
        // Without one it is 365, of a key that had another one too.
        await kms.enableKeyRotation({ KeyId: key.id });
        expect((await statusOf(key.id)).RotationPeriodInDays).toBe(365);
      });

      test('to enable what is enabled, with the same period, does not put the rotation off', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await kms.enableKeyRotation({ KeyId: key.id });
        const before = await statusOf(key.id);
        await kms.enableKeyRotation({ KeyId: key.id, RotationPeriodInDays: 365 });
        expect(await statusOf(key.id)).toEqual(before);
      });

      test.each([
        [89, invalid(problem.tooSmall(89, 'rotationPeriodInDays', 90))],
        [0, invalid(problem.tooSmall(0, 'rotationPeriodInDays', 90))],
        [-365, invalid(problem.tooSmall(-365, 'rotationPeriodInDays', 90))],
        [2561, invalid(problem.tooLarge(2561, 'rotationPeriodInDays', 2560))],
      ])('a period of %d days is refused, and nothing changes', async (RotationPeriodInDays, expected) => {
        const { kms } = daemon();
        const key = await newKey(kms);
        expect(await refusal(kms.enableKeyRotation({ KeyId: key.id, RotationPeriodInDays }))).toEqual(expected);
        expect(await statusOf(key.id)).toEqual({ KeyId: key.arn, KeyRotationEnabled: false });
      });

      test.each([90.5, '90', true, [90], {}])('a period of %j is no integer', async (RotationPeriodInDays) => {
        const { kms, socket } = daemon();
        const key = await newKey(kms);
        const answer = await call(socket, 'EnableKeyRotation', { KeyId: key.id, RotationPeriodInDays });
        expect(errorIn(answer).name).toBe('SerializationException');
      });

      test('a rotation on demand changes nothing about the date of the automatic one', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await kms.enableKeyRotation({ KeyId: key.id });
        const before = await statusOf(key.id);
        await kms.rotateKeyOnDemand({ KeyId: key.id });
        expect(await statusOf(key.id)).toEqual(before);
      });

      test('a key that is disabled keeps its status and takes no change of it, and goes on where it was', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await kms.enableKeyRotation({ KeyId: key.id, RotationPeriodInDays: 90 });
        const before = await statusOf(key.id);
        await kms.disableKey({ KeyId: key.id });
        expect(await statusOf(key.id)).toEqual(before);
        for (const ask of Object.values(ofRotatableKeys)) {
          expect(await refusal(ask(kms, key.id))).toEqual(disabled(key.arn));
        }
        await kms.enableKey({ KeyId: key.id });
        expect(await statusOf(key.id)).toEqual(before);
      });

      test('a key that is pending deletion tells false, and its status is back when the deletion is cancelled', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        await kms.enableKeyRotation({ KeyId: key.id, RotationPeriodInDays: 90 });
        const before = await statusOf(key.id);
        await kms.scheduleKeyDeletion({ KeyId: key.id });
        expect(await statusOf(key.id)).toEqual({ KeyId: key.arn, KeyRotationEnabled: false });
        for (const ask of Object.values(ofRotatableKeys)) {
          expect(await refusal(ask(kms, key.id))).toEqual(pendingDeletion(key.arn));
        }
        await kms.cancelKeyDeletion({ KeyId: key.id });
        expect(await statusOf(key.id)).toEqual(before);
      });

      test.each(others)(
        'a key of %s for %s cannot rotate, and one that is disabled is told that first',
        async (spec, usage) => {
          const { kms } = daemon();
          const key = await newKeyOf(kms, spec, usage);
          for (const ask of Object.values(ofRotatableKeys))
            expect(await refusal(ask(kms, key.id))).toEqual(notForThisKind);
          expect(await refusal(kms.listKeyRotations({ KeyId: key.id }))).toEqual(notForThisKind);
          await kms.disableKey({ KeyId: key.id });
          for (const ask of Object.values(ofRotatableKeys))
            expect(await refusal(ask(kms, key.id))).toEqual(disabled(key.arn));
          expect(await refusal(kms.listKeyRotations({ KeyId: key.id }))).toEqual(notForThisKind);
        },
      );

      test(
        'a key is rotated on demand 25 times in its life, and pages of its rotations hold each once, oldest first',
        async () => {
          const { kms } = daemon();
          const key = await newKey(kms);
          const seen = [await currentMaterialOf(key.id)];
          for (let count = 0; count < 25; count++) {
            await kms.rotateKeyOnDemand({ KeyId: key.id });
            seen.push(await currentMaterialOf(key.id));
          }
          const limit = refused(
            'LimitExceededException',
            `The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: ${key.arn}`,
          );
          expect(await refusal(kms.rotateKeyOnDemand({ KeyId: key.id }))).toEqual(limit);
          const atOnce = await Promise.all([1, 2].map(() => refusal(kms.rotateKeyOnDemand({ KeyId: key.arn }))));
          expect(atOnce).toEqual([limit, limit]);

          const pages: string[][] = [];
          for await (const page of paginateListKeyRotations(
            { client: kms, pageSize: 10 },
            { KeyId: key.id, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' },
          )) {
            pages.push(present(page.Rotations).map(({ KeyMaterialId }) => present(KeyMaterialId)));
          }
          expect(pages.map(({ length }) => length)).toEqual([10, 10, 6]);
          expect(pages.flat()).toEqual(seen);
          const dates = (await rotationsOf(key.id)).map(({ RotationDate }) => present(RotationDate).getTime());
          expect(dates).toHaveLength(25);
          expect(dates).toEqual(dates.toSorted((one, other) => one - other));
          // The date of the automatic one can still be set: it counts against nothing.
          await kms.enableKeyRotation({ KeyId: key.id });
        },
        testTimeoutMs,
      );

      test('a page goes on where it ended though the key is rotated in between', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        for (let count = 0; count < 3; count++) await kms.rotateKeyOnDemand({ KeyId: key.id });
        const first = await kms.listKeyRotations({ KeyId: key.id, Limit: 2 });
        expect([first.Rotations?.length, first.Truncated]).toEqual([2, true]);
        await kms.rotateKeyOnDemand({ KeyId: key.id });
        const rest = await kms.listKeyRotations({ KeyId: key.id, Marker: present(first.NextMarker) });
        expect(rest.Truncated).toBe(false);
        const seen = [...present(first.Rotations), ...present(rest.Rotations)].map(
          ({ KeyMaterialId }) => KeyMaterialId,
        );
        expect(seen).toEqual((await rotationsOf(key.id)).map(({ KeyMaterialId }) => KeyMaterialId));
        const other = await newKey(kms);
        const elsewhere = kms.listKeyRotations({ KeyId: other.id, Marker: present(first.NextMarker) });
        expect((await refusal(elsewhere)).name).toBe('InvalidMarkerException');
      });

      test('a key that was never rotated has no rotations, and one material', async () => {
        const { kms } = daemon();
        const key = await newKey(kms);
        const { $metadata, ...answer } = await kms.listKeyRotations({ KeyId: key.id });
        expect(answer).toEqual({ Rotations: [], Truncated: false });
        expect(await rotationsOf(key.id, true)).toEqual([
          { KeyId: key.id, KeyMaterialId: await currentMaterialOf(key.id), KeyMaterialState: 'CURRENT' },
        ]);
        const answered = await call(daemon().socket, 'ListKeyRotations', { KeyId: key.id, IncludeKeyMaterial: 'ALL' });
        expect(errorIn(answered).name).toBe('ValidationException');
      });
    },
    token,
  );
}
