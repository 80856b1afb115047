/** The forms of a KeyId: key id, key ARN, alias name and alias ARN, and the words for each form that names nothing. */

import { beforeAll, expect, test } from 'vitest';
import { account, aliasArn, keyArn, region, unknownKeyId } from './support/arns.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { examples, newSubject, onWire } from './support/examples.ts';
import { policy, rootMayAll } from './support/policies.ts';
import { aliasNotFound, invalid, invalidKeyId, keyNotFound, problem, refusal, refused } from './support/refusals.ts';
import { call, errorIn, json } from './support/wire.ts';

const plaintext = Buffer.from('x').toString('base64');
const acceptingAliases: readonly (readonly [operation: string, body: object])[] = [
  ['DescribeKey', {}],
  ['Encrypt', { Plaintext: plaintext }],
  ['GenerateDataKey', { KeySpec: 'AES_256' }],
  ['GenerateDataKeyWithoutPlaintext', { KeySpec: 'AES_256' }],
];
const noSubject = { made: Buffer.alloc(1), alias: 'alias/a', grantId: 'g' };
const header = `${'operation'.padEnd(37)}${'key id | key ARN'.padEnd(40)}alias | alias ARN`;
/** Examples that name a key. */
const aboutKeys = examples.filter(({ input }) => keyMembersOf(input({ ...noSubject, keyId: 'k' })).length > 0);

function keyMembersOf(input: Readonly<Record<string, unknown>>): readonly string[] {
  return Object.keys(input).filter((name) => input[name] === 'k');
}

describeDaemon('The forms of a KeyId', (daemon) => {
  let key: { readonly id: string; readonly arn: string };
  beforeAll(async () => {
    key = await newKey(daemon().kms);
    await daemon().kms.createAlias({ AliasName: 'alias/forms/of-a-key', TargetKeyId: key.id });
  });
  const told = async (operation: string, body: object) => errorIn(await call(daemon().socket, operation, body));

  test.each(acceptingAliases)('%s takes all four forms and answers with the key ARN', async (operation, body) => {
    for (const KeyId of [key.id, key.arn, 'alias/forms/of-a-key', aliasArn('alias/forms/of-a-key')]) {
      const answer = await call(daemon().socket, operation, { ...body, KeyId });
      expect(answer.status).toBe(200);
      const metadata = json(answer)['KeyMetadata'] as { readonly Arn?: string } | undefined;
      expect(metadata?.Arn ?? json(answer)['KeyId']).toBe(key.arn);
    }
  });

  test('which operation takes which form is as it was reviewed', async () => {
    const lines = aboutKeys.map(async (example) => {
      const forms = [0, 1, 2, 3].map(async (form) => {
        const subject = await newSubject(daemon().kms, example, policy(rootMayAll));
        const alias = `alias/forms/${example.operation}/${form}`;
        await daemon().kms.createAlias({ AliasName: alias, TargetKeyId: subject.keyId });
        const named = [subject.keyId, keyArn(subject.keyId), alias, aliasArn(alias)][form] ?? '';
        const answer = await call(
          daemon().socket,
          example.operation,
          onWire(example.input({ ...subject, keyId: named })),
        );
        const { name, message } = answer.status === 200 ? { name: 'taken', message: '' } : errorIn(answer);
        if (name === 'KMSInvalidStateException') return 'taken, wrong state';
        if (name === 'InvalidImportTokenException') return 'taken, wrong token';
        if (message.startsWith('WrappingAlgorithm ')) return 'taken, unsupported';
        if (message.endsWith(' is not a multi-region primary key.')) return 'taken, wrong key';
        return name === 'InvalidKeyUsageException' ? 'taken, wrong key' : `${name} ${message}`.trim();
      });
      const [keyId, arn, ...rest] = await Promise.all(forms);
      return [example.operation.padEnd(37), [keyId, arn].join(' | ').padEnd(40), rest.join(' | ')].join('');
    });
    const text = [header, ...(await Promise.all(lines))].join('\n');
    await expect(`${text}\n`).toMatchFileSnapshot('./key-id-forms.txt');
  });

  test.each(aboutKeys)('$operation says that a key which is not there does not exist', async (example) => {
    const subject = await newSubject(daemon().kms, example, policy(rootMayAll));
    for (const keyId of [unknownKeyId, keyArn(unknownKeyId)]) {
      const body = onWire(example.input({ ...subject, keyId }));
      expect(await told(example.operation, body)).toEqual(keyNotFound(keyArn(unknownKeyId)));
    }
  });

  test.each(acceptingAliases)('%s says that an alias which is not there is not found', async (operation, body) => {
    for (const KeyId of ['alias/not-there', aliasArn('alias/not-there')]) {
      expect(await told(operation, { ...body, KeyId })).toEqual(aliasNotFound(aliasArn('alias/not-there')));
    }
  });

  test.each([
    'key',
    'forms/of-a-key',
    '0',
    '*',
    ' ',
    '../../../etc/passwd',
    "' OR 1=1 --",
    '{"KeyId":true}',
    '__proto__',
    'constructor',
    'k'.repeat(2048),
    'schlüssel-🔑',
  ])('%j is no key id', async (KeyId) => {
    expect(await told('DescribeKey', { KeyId })).toEqual(invalidKeyId(KeyId));
  });

  test('a multi-Region key id is one of a key that is not there', async () => {
    const KeyId = `mrk-${'0123456789abcdef'.repeat(2)}`;
    expect(await told('DescribeKey', { KeyId })).toEqual(keyNotFound(keyArn(KeyId)));
  });

  test('a key id in capitals, in braces or with a blank is no key id', async () => {
    for (const KeyId of [
      key.id.toUpperCase(),
      `{${key.id}}`,
      ` ${key.id}`,
      `${key.id}\n`,
      key.id.replaceAll('-', ''),
    ]) {
      expect((await told('DescribeKey', { KeyId })).name).toBe('NotFoundException');
    }
  });

  test('an ARN of another Region is not valid here', async () => {
    for (const KeyId of [
      `arn:aws:kms:eu-west-3:${account}:key/${key.id}`,
      `arn:aws:kms:eu-west-3:${account}:alias/a`,
    ]) {
      expect(await told('DescribeKey', { KeyId })).toEqual(refused('NotFoundException', 'Invalid arn eu-west-3'));
    }
  });

  test('an ARN of another account names a key that is not there, even with the id of one that is', async () => {
    const KeyId = `arn:aws:kms:${region}:111122223333:key/${key.id}`;
    const { name, message } = await told('Encrypt', { KeyId, Plaintext: plaintext });
    expect(['NotFoundException', 'AccessDeniedException']).toContain(name);
    expect(message).toContain(KeyId);
  });

  test('an ARN of another partition names what is not there, even with the number of an account and the id of a key', async () => {
    for (const partition of ['aws-cn', 'aws-us-gov']) {
      const [ofKey, ofAlias] = [key.arn, aliasArn('alias/forms/of-a-key')].map((arn) => arn.replace('aws', partition));
      for (const [operation, body] of acceptingAliases) {
        expect(await told(operation, { ...body, KeyId: ofKey })).toEqual(keyNotFound(`${ofKey}`));
        expect(await told(operation, { ...body, KeyId: ofAlias })).toEqual(aliasNotFound(`${ofAlias}`));
      }
    }
    const { name } = await told('DescribeKey', { KeyId: key.arn.replace('aws', 'awsome') });
    expect(name).toBe('InvalidArnException');
  });

  test.each([
    `arn:aws:kms:${region}:${account}`,
    `arn:aws:kms:${region}:${account}:`,
    `arn:aws:kms:${region}:${account}:grant/x`,
    `arn:aws:s3:::bucket`,
    `arn:aws:iam::${account}:root`,
    'arn:',
    'arn:aws:kms',
  ])('%s is no ARN of a key', async (KeyId) => {
    const { name } = await told('DescribeKey', { KeyId });
    expect(['InvalidArnException', 'NotFoundException']).toContain(name);
  });

  test('a KeyId that is empty, too long or missing is refused by its length', async () => {
    const { kms } = daemon();
    expect(await refusal(kms.describeKey({ KeyId: '' }))).toEqual(invalid(problem.tooShort('', 'keyId', 1)));
    expect((await told('DescribeKey', { KeyId: 'k'.repeat(2049) })).message).toMatch(
      /^1 validation error detected: Value 'k{2049}' at 'keyId' failed to satisfy constraint: Member must have length less than or equal to 2048$/,
    );
    expect(await told('DescribeKey', { KeyId: null })).toEqual(invalid(problem.missing('keyId')));
  });

  test('a key id is not found by a part of it', async () => {
    const part = key.id.slice(0, 8);
    expect(await told('DescribeKey', { KeyId: part })).toEqual(invalidKeyId(part));
  });

  test('the alias that names a key is not part of the answer', async () => {
    const { KeyMetadata } = await daemon().kms.describeKey({ KeyId: 'alias/forms/of-a-key' });
    expect(JSON.stringify(present(KeyMetadata))).not.toContain('alias/');
  });
});
