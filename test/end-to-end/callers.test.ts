/** Other Unix users: the kernel says who calls, and the key policy says what that user may do. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { account, aliasArn, keyArn, rootArn, unixUserArn, unknownKeyId } from './support/arns.ts';
import { bootTimeoutMs, describeDaemon, newKey, present } from './support/daemon.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import {
  accessDenied,
  deniedByCiphertext,
  identityDenied,
  keyNotFound,
  lockedOut,
  refusal,
} from './support/refusals.ts';
import { runsAsRoot, sayIfNotRoot, UnixClient, unixUsers } from './support/unix-users.ts';

const nobody = unixUserArn('nobody');
const daemonUser = unixUserArn('daemon');
const Plaintext = Buffer.from('whose is it');

sayIfNotRoot('Unix users as callers');
describe.skipIf(!runsAsRoot)('Unix users', () => {
  describeDaemon('as callers', (daemon) => {
    const clients: Record<keyof typeof unixUsers, UnixClient> = Object.create(null);
    beforeAll(async () => {
      for (const [name, user] of Object.entries(unixUsers)) {
        clients[name as keyof typeof unixUsers] = await UnixClient.start(daemon().socket, user);
      }
    }, bootTimeoutMs);
    afterAll(async () => {
      for (const client of Object.values(clients)) await client.stop();
    });

    test('a user whom the key policy names may do what it says and nothing else', async () => {
      const { kms } = daemon();
      const key = await newKey(kms, policy(rootMayAll, allow(nobody, ['kms:Encrypt', 'kms:DescribeKey'])));
      const made = await clients.nobody.send('Encrypt', { KeyId: key.id, Plaintext });
      expect(made).toMatchObject({ ok: true, output: { KeyId: key.arn } });
      expect(await clients.nobody.send('DescribeKey', { KeyId: key.id })).toMatchObject({ ok: true });

      const CiphertextBlob = made.ok ? made.output['CiphertextBlob'] : undefined;
      expect(await clients.nobody.send('Decrypt', { CiphertextBlob })).toEqual({
        ok: false,
        ...deniedByCiphertext(nobody, 'Decrypt', 'identity policies'),
      });
      expect(
        await clients.nobody.send('PutKeyPolicy', { KeyId: key.id, Policy: policy(allow(nobody, 'kms:*')) }),
      ).toEqual({
        ok: false,
        ...identityDenied(nobody, 'PutKeyPolicy', key.arn),
      });
      const opened = await kms.decrypt({ CiphertextBlob: CiphertextBlob as Uint8Array });
      expect(Buffer.from(present(opened.Plaintext))).toEqual(Plaintext);
    });

    test('what one user may, another may not', async () => {
      const key = await newKey(daemon().kms, policy(allow(nobody, 'kms:*')));
      expect(await clients.nobody.send('Encrypt', { KeyId: key.id, Plaintext })).toMatchObject({ ok: true });
      expect(await clients.daemon.send('Encrypt', { KeyId: key.id, Plaintext })).toEqual({
        ok: false,
        ...accessDenied(daemonUser, 'Encrypt', key.arn, 'not-allowed'),
      });
    });

    test('a default key policy lets no user in: it delegates to the account, where nothing allows', async () => {
      const key = await newKey(daemon().kms);
      expect(await clients.nobody.send('DescribeKey', { KeyId: key.id })).toEqual({
        ok: false,
        ...identityDenied(nobody, 'DescribeKey', key.arn),
      });
    });

    test('a user who is revoked while his own policies wait does not take the permission back', async () => {
      const { kms } = daemon();
      const his = policy(rootMayAll, allow(nobody, ['kms:PutKeyPolicy', 'kms:Encrypt']));
      const revoked = policy(rootMayAll);
      for (let round = 0; round < 8; round++) {
        const key = await newKey(kms, his);
        const put = () => clients.nobody.send('PutKeyPolicy', { KeyId: key.id, Policy: his });
        const waiting = Array.from({ length: 15 }, put);
        await kms.putKeyPolicy({ KeyId: key.id, Policy: revoked });
        await Promise.all(waiting);
        expect(JSON.parse(present((await kms.getKeyPolicy({ KeyId: key.id })).Policy))).toEqual(JSON.parse(revoked));
        expect(await put()).toEqual({ ok: false, ...identityDenied(nobody, 'PutKeyPolicy', key.arn) });
      }
    });

    test('an explicit deny wins over every allow', async () => {
      const document = policy(rootMayAll, allow('*', 'kms:*'), deny(nobody, 'kms:Decrypt'));
      const key = await newKey(daemon().kms, document);
      const made = await clients.nobody.send('Encrypt', { KeyId: key.id, Plaintext });
      const CiphertextBlob = made.ok ? made.output['CiphertextBlob'] : undefined;
      expect(await clients.nobody.send('Decrypt', { CiphertextBlob })).toEqual({
        ok: false,
        ...deniedByCiphertext(nobody, 'Decrypt', 'key policy'),
      });
      expect(await clients['www-data'].send('Decrypt', { CiphertextBlob })).toMatchObject({ ok: true });
    });

    test('a user without a name is named by number', async () => {
      const principal = `arn:aws:iam::${account}:user/unix/uid=54321`;
      const key = await newKey(daemon().kms, policy(rootMayAll, allow(principal, 'kms:Encrypt')));
      expect(await clients.nameless.send('Encrypt', { KeyId: key.id, Plaintext })).toMatchObject({ ok: true });
      expect(await clients.nameless.send('DescribeKey', { KeyId: key.id })).toEqual({
        ok: false,
        ...identityDenied(principal, 'DescribeKey', key.arn),
      });
    });

    test('a user with a name cannot be meant by its number', async () => {
      const key = await newKey(
        daemon().kms,
        policy(rootMayAll, allow(`arn:aws:iam::${account}:user/unix/uid=65534`, 'kms:*')),
      );
      expect(await clients.nobody.send('DescribeKey', { KeyId: key.id })).toMatchObject({ ok: false });
    });

    test.each([
      ['CreateKey', {}, '*'],
      ['ListKeys', {}, '*'],
      ['ListAliases', {}, '*'],
      ['GenerateRandom', { NumberOfBytes: 16 }, '*'],
    ] as const)('%s, which no key policy can give, is the account root alone', async (operation, input, resource) => {
      expect(await clients.nobody.send(operation, input)).toEqual({
        ok: false,
        ...identityDenied(nobody, operation, resource),
      });
    });

    test('the operations on aliases need the alias and the key, and a key policy can give the key alone', async () => {
      const { kms } = daemon();
      const key = await newKey(kms, policy(rootMayAll, allow(nobody, 'kms:*')));
      await kms.createAlias({ AliasName: 'alias/of-root', TargetKeyId: key.id });
      for (const [operation, AliasName] of [
        ['CreateAlias', 'alias/of-nobody'],
        ['UpdateAlias', 'alias/of-root'],
        ['DeleteAlias', 'alias/of-root'],
      ] as const) {
        expect(await clients.nobody.send(operation, { AliasName, TargetKeyId: key.id })).toEqual({
          ok: false,
          ...identityDenied(nobody, operation, aliasArn(AliasName)),
        });
      }
      expect((await kms.listAliases({ KeyId: key.id })).Aliases).toHaveLength(1);
    });

    test('ReEncrypt needs both of its permissions', async () => {
      const { kms } = daemon();
      const from = await newKey(kms, policy(rootMayAll, allow(nobody, ['kms:Encrypt', 'kms:ReEncryptFrom'])));
      const to = await newKey(kms, policy(rootMayAll, allow(nobody, 'kms:ReEncryptTo')));
      const made = await kms.encrypt({ KeyId: from.id, Plaintext });
      const CiphertextBlob = made.CiphertextBlob;
      expect(await clients.nobody.send('ReEncrypt', { CiphertextBlob, DestinationKeyId: to.id })).toMatchObject({
        ok: true,
      });
      expect(await clients.nobody.send('ReEncrypt', { CiphertextBlob, DestinationKeyId: from.id })).toEqual({
        ok: false,
        ...identityDenied(nobody, 'ReEncryptTo', from.arn),
      });
    });

    test('a denial through an alias names the key, not the alias', async () => {
      const { kms } = daemon();
      const key = await newKey(kms, policy(rootMayAll));
      await kms.createAlias({ AliasName: 'alias/denied', TargetKeyId: key.id });
      const told = await clients.nobody.send('Encrypt', { KeyId: 'alias/denied', Plaintext });
      expect(told).toMatchObject({ ok: false, name: 'AccessDeniedException' });
      expect(told.ok ? '' : told.message).toContain(key.arn);
    });

    test('a user who may not even describe keys hears of keys that are not there what everybody hears', async () => {
      expect(await clients.nobody.send('DescribeKey', { KeyId: unknownKeyId })).toEqual({
        ok: false,
        ...keyNotFound(keyArn(unknownKeyId)),
      });
    });

    test('a user who may put the policy of a key cannot lock itself out by mistake, and can go on purpose', async () => {
      const { kms } = daemon();
      const key = await newKey(kms, policy(rootMayAll, allow(nobody, ['kms:PutKeyPolicy', 'kms:GetKeyPolicy'])));
      const withoutMe = { KeyId: key.id, Policy: policy(rootMayAll) };
      expect(await clients.nobody.send('PutKeyPolicy', withoutMe)).toEqual({ ok: false, ...lockedOut });
      const bypassing = { ...withoutMe, BypassPolicyLockoutSafetyCheck: true };
      expect(await clients.nobody.send('PutKeyPolicy', bypassing)).toMatchObject({ ok: true });
      expect(await clients.nobody.send('GetKeyPolicy', { KeyId: key.id })).toMatchObject({
        ok: false,
        name: 'AccessDeniedException',
      });
    });

    test('the root of the machine is bound by key policies like everybody else', async () => {
      const { kms } = daemon();
      const key = await newKey(kms, policy(allow(nobody, 'kms:*')));
      expect(await refusal(kms.describeKey({ KeyId: key.id }))).toEqual(
        accessDenied(rootArn, 'DescribeKey', key.arn, 'not-allowed'),
      );
      expect(await clients.nobody.send('DescribeKey', { KeyId: key.id })).toMatchObject({ ok: true });
    });

    test('credentials that a client sends over the socket change nothing about who it is', async () => {
      const key = await newKey(daemon().kms, policy(allow(nobody, 'kms:*')));
      // The SDK signs every request of this client with an access key that does not exist.
      expect(await clients.daemon.send('DescribeKey', { KeyId: key.id })).toEqual({
        ok: false,
        ...accessDenied(daemonUser, 'DescribeKey', key.arn, 'not-allowed'),
      });
    });
  });
});
