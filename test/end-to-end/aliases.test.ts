/** CreateAlias, UpdateAlias, DeleteAlias, and what an alias means where a key is asked for. */

import { beforeAll, expect, test } from 'vitest';
import { aliasArn, keyArn, rootArn, unknownKeyId } from './support/arns.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { deny, policy, rootMayAll } from './support/policies.ts';
import {
  accessDenied,
  aliasNotFound,
  aliasOfAlias,
  invalid,
  invalidKeyId,
  keyNotFound,
  problem,
  refusal,
  refused,
} from './support/refusals.ts';
import { call, errorIn } from './support/wire.ts';

describeDaemon('Aliases', (daemon) => {
  let first: { readonly id: string; readonly arn: string };
  let second: { readonly id: string; readonly arn: string };
  beforeAll(async () => {
    first = await newKey(daemon().kms);
    second = await newKey(daemon().kms);
  });

  const targetOf = async (aliasName: string): Promise<string | undefined> =>
    (await daemon().kms.listAliases({ Limit: 100 })).Aliases?.find((alias) => alias.AliasName === aliasName)
      ?.TargetKeyId;

  test.each([
    'alias/a',
    'alias/Payments_2026-01',
    'alias/team/app/key',
    'alias/aws',
    'alias/awsome/key',
    `alias/${'n'.repeat(250)}`,
  ])('the alias %s names its key until it is deleted', async (AliasName) => {
    const { kms } = daemon();
    await kms.createAlias({ AliasName, TargetKeyId: first.id });
    expect((await kms.describeKey({ KeyId: AliasName })).KeyMetadata?.KeyId).toBe(first.id);
    expect((await kms.describeKey({ KeyId: aliasArn(AliasName) })).KeyMetadata?.KeyId).toBe(first.id);
    await kms.deleteAlias({ AliasName });
    expect(await refusal(kms.describeKey({ KeyId: AliasName }))).toEqual(aliasNotFound(aliasArn(AliasName)));
    expect(await targetOf(AliasName)).toBeUndefined();
  });

  test('the target may be given as key ARN, and is listed as key id', async () => {
    await daemon().kms.createAlias({ AliasName: 'alias/by-arn', TargetKeyId: first.arn });
    expect(await targetOf('alias/by-arn')).toBe(first.id);
  });

  test('aliases that differ in case are different aliases', async () => {
    const { kms } = daemon();
    await kms.createAlias({ AliasName: 'alias/case', TargetKeyId: first.id });
    await kms.createAlias({ AliasName: 'alias/CASE', TargetKeyId: second.id });
    expect([await targetOf('alias/case'), await targetOf('alias/CASE')]).toEqual([first.id, second.id]);
  });

  test('an alias can be made once, also by many callers at the same time', async () => {
    const AliasName = 'alias/once';
    const outcomes = await Promise.allSettled(
      Array.from({ length: 16 }, () => daemon().kms.createAlias({ AliasName, TargetKeyId: first.id })),
    );
    expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
    expect(await refusal(daemon().kms.createAlias({ AliasName, TargetKeyId: second.id }))).toEqual(
      refused('AlreadyExistsException', `An alias with the name ${aliasArn(AliasName)} already exists`),
    );
    expect(await targetOf(AliasName)).toBe(first.id);
  });

  test('UpdateAlias moves an alias: new encryptions use the new key, old ciphertexts still decrypt', async () => {
    const { kms } = daemon();
    const AliasName = 'alias/moves';
    const Plaintext = Buffer.from('before the move');
    await kms.createAlias({ AliasName, TargetKeyId: first.id });
    const old = await kms.encrypt({ KeyId: AliasName, Plaintext });
    expect(old.KeyId).toBe(first.arn);

    await kms.updateAlias({ AliasName, TargetKeyId: second.arn });
    expect((await kms.encrypt({ KeyId: AliasName, Plaintext })).KeyId).toBe(second.arn);
    const decrypted = await kms.decrypt({ CiphertextBlob: present(old.CiphertextBlob) });
    expect(Buffer.from(present(decrypted.Plaintext))).toEqual(Plaintext);
    expect((await refusal(kms.decrypt({ KeyId: AliasName, CiphertextBlob: present(old.CiphertextBlob) }))).name).toBe(
      'IncorrectKeyException',
    );
  });

  test('UpdateAlias keeps the date of creation and renews the date of the last update', async () => {
    const { kms } = daemon();
    const AliasName = 'alias/dated';
    await kms.createAlias({ AliasName, TargetKeyId: first.id });
    const dates = async () => {
      const { Aliases } = await kms.listAliases({ Limit: 100 });
      const alias = present(Aliases?.find((candidate) => candidate.AliasName === AliasName));
      return { created: present(alias.CreationDate).getTime(), updated: present(alias.LastUpdatedDate).getTime() };
    };
    const made = await dates();
    expect(made.updated).toBe(made.created);
    while (Date.now() <= made.created + 1) await new Promise((resolve) => setTimeout(resolve, 2));
    await kms.updateAlias({ AliasName, TargetKeyId: second.id });
    const moved = await dates();
    expect(moved.created).toBe(made.created);
    expect(moved.updated).toBeGreaterThan(made.updated);
  });

  test('an alias can be made again after it was deleted, for another key', async () => {
    const { kms } = daemon();
    const AliasName = 'alias/again';
    await kms.createAlias({ AliasName, TargetKeyId: first.id });
    await kms.deleteAlias({ AliasName });
    await kms.createAlias({ AliasName, TargetKeyId: second.id });
    expect(await targetOf(AliasName)).toBe(second.id);
  });

  test('the operations on aliases answer with an empty body', async () => {
    const { socket } = daemon();
    for (const [operation, body] of [
      ['CreateAlias', { AliasName: 'alias/quiet', TargetKeyId: first.id }],
      ['UpdateAlias', { AliasName: 'alias/quiet', TargetKeyId: second.id }],
      ['DeleteAlias', { AliasName: 'alias/quiet' }],
    ] as const) {
      const answer = await call(socket, operation, body);
      expect(answer.status).toBe(200);
      expect(['', '{}']).toContain(answer.body);
    }
  });

  test.each(['UpdateAlias', 'DeleteAlias'])('%s of an alias that is not there says which', async (operation) => {
    const answer = await call(daemon().socket, operation, { AliasName: 'alias/nowhere', TargetKeyId: first.id });
    expect(answer.status).toBe(400);
    expect(errorIn(answer)).toEqual(aliasNotFound(aliasArn('alias/nowhere')));
  });

  const noPrefix = refused(
    'ValidationException',
    'Alias must start with the prefix "alias/". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html',
  );
  const colon = refused('ValidationException', 'alias/with:colon contains invalid characters for an alias');
  const pattern = (name: string) =>
    invalid(
      `Value '${name}' at 'aliasName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$`,
    );
  test.each([
    ['no prefix', 'payments', noPrefix],
    ['a prefix in capitals', 'ALIAS/payments', noPrefix],
    ['a colon', 'alias/with:colon', colon],
    ['a space', 'alias/with space', pattern('alias/with space')],
    ['a dot', 'alias/with.dot', pattern('alias/with.dot')],
    ['an umlaut', 'alias/schlüssel', pattern('alias/schlüssel')],
    ['a line feed at its end', 'alias/line\n', pattern('alias/line\n')],
    [
      '257 characters',
      `alias/${'n'.repeat(251)}`,
      invalid(problem.tooLong(`alias/${'n'.repeat(251)}`, 'aliasName', 256)),
    ],
  ])('CreateAlias refuses a name with %s', async (_, AliasName, told) => {
    expect(await refusal(daemon().kms.createAlias({ AliasName, TargetKeyId: first.id }))).toEqual(told);
    expect(await targetOf(AliasName)).toBeUndefined();
  });

  test('CreateAlias refuses an empty name in both of the ways in which it is wrong', async () => {
    const told = await refusal(daemon().kms.createAlias({ AliasName: '', TargetKeyId: first.id }));
    expect(told.name).toBe('ValidationException');
    expect(told.message).toContain(problem.tooShort('', 'aliasName', 1));
  });

  test.each(['alias/', 'alias/aws/s3', 'alias/aws/'])('CreateAlias refuses the name %s', async (AliasName) => {
    const told = await refusal(daemon().kms.createAlias({ AliasName, TargetKeyId: first.id }));
    expect(told.name).toMatch(/^(ValidationException|InvalidAliasNameException|NotAuthorizedException)$/);
    expect(await targetOf(AliasName)).toBeUndefined();
  });

  test.each(['CreateAlias', 'UpdateAlias'])(
    '%s wants a key that is there, named by key id or key ARN',
    async (operation) => {
      const { kms, socket } = daemon();
      const AliasName = `alias/target-of-${operation}`;
      if (operation === 'UpdateAlias') await kms.createAlias({ AliasName, TargetKeyId: first.id });
      const told = async (TargetKeyId: unknown) => errorIn(await call(socket, operation, { AliasName, TargetKeyId }));
      await kms.createAlias({ AliasName: `alias/other-of-${operation}`, TargetKeyId: second.id });

      expect(await told(unknownKeyId)).toEqual(keyNotFound(keyArn(unknownKeyId)));
      expect(await told(keyArn(unknownKeyId))).toEqual(keyNotFound(keyArn(unknownKeyId)));
      expect(await told('not-a-key')).toEqual(invalidKeyId('not-a-key'));
      expect(await told('')).toEqual(invalid(problem.tooShort('', 'targetKeyId', 1)));
      expect(await told(null)).toEqual(invalid(problem.missing('targetKeyId')));
      expect(await told(`alias/other-of-${operation}`)).toEqual(aliasOfAlias);
      expect(await told(aliasArn(`alias/other-of-${operation}`))).toEqual(aliasOfAlias);
      expect(await targetOf(AliasName)).toBe(operation === 'UpdateAlias' ? first.id : undefined);
    },
  );

  test('an alias is made, moved and deleted only with the permission of every key that it concerns', async () => {
    const { kms } = daemon();
    const closed = await newKey(kms);
    const onClosed = { AliasName: 'alias/on-closed', TargetKeyId: closed.id };
    const onOpen = { AliasName: 'alias/on-open', TargetKeyId: first.id };
    await kms.createAlias(onClosed);
    await kms.createAlias(onOpen);
    await kms.putKeyPolicy({ KeyId: closed.id, Policy: policy(rootMayAll, deny(rootArn, 'kms:*Alias')) });
    const denied = (operation: string) => accessDenied(rootArn, operation, closed.arn, 'denied');

    const another = { ...onClosed, AliasName: 'alias/another-on-closed' };
    expect(await refusal(kms.createAlias(another))).toEqual(denied('CreateAlias'));
    expect(await refusal(kms.deleteAlias({ AliasName: onClosed.AliasName }))).toEqual(denied('DeleteAlias'));
    expect(await refusal(kms.updateAlias({ ...onClosed, TargetKeyId: first.id }))).toEqual(denied('UpdateAlias'));
    expect(await refusal(kms.updateAlias({ ...onOpen, TargetKeyId: closed.id }))).toEqual(denied('UpdateAlias'));
    expect([await targetOf(onClosed.AliasName), await targetOf(onOpen.AliasName)]).toEqual([closed.id, first.id]);
    expect(await targetOf(another.AliasName)).toBeUndefined();
  });

  test('a key can have many aliases, and loses none of them with another', async () => {
    const { kms } = daemon();
    const { id } = await newKey(kms);
    for (const name of ['x', 'y', 'z']) await kms.createAlias({ AliasName: `alias/many/${name}`, TargetKeyId: id });
    await kms.deleteAlias({ AliasName: 'alias/many/y' });
    const { Aliases } = await kms.listAliases({ KeyId: id });
    expect(Aliases?.map((alias) => alias.AliasName)).toEqual(['alias/many/x', 'alias/many/z']);
  });

  test('DeleteAlias leaves the key and its ciphertexts alone', async () => {
    const { kms } = daemon();
    await kms.createAlias({ AliasName: 'alias/short-lived', TargetKeyId: first.id });
    const { CiphertextBlob } = await kms.encrypt({ KeyId: 'alias/short-lived', Plaintext: Buffer.from('kept') });
    await kms.deleteAlias({ AliasName: 'alias/short-lived' });
    const { Plaintext } = await kms.decrypt({ CiphertextBlob: present(CiphertextBlob) });
    expect(Buffer.from(present(Plaintext)).toString()).toBe('kept');
  });
});
