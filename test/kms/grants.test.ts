import { expect, test } from 'vitest';
import {
  grantOperationNames,
  isOperationOf,
  isServicePrincipal,
  parseGrantId,
  parseGrantPrincipal,
  parseGrantPrincipalArn,
  takesEncryptionContext,
} from '../../src/kms/grant-terms.ts';
import { type KeyUsage, keySpecNames, keySpecRow } from '../../src/kms/key-specs.ts';

const kinds = keySpecNames.flatMap((keySpec) =>
  (Object.keys(keySpecRow(keySpec).usages) as KeyUsage[]).map((keyUsage) => ({ keySpec, keyUsage })),
);

test('which grant operation is valid for which kind of key is the reviewed table', async () => {
  const lines = kinds.map(({ keySpec, keyUsage }) => {
    const valid = grantOperationNames.filter((name) => isOperationOf(name, { keySpec, keyUsage }));
    return `${`${keySpec} ${keyUsage}`.padEnd(46)}${valid.join(' ')}`;
  });
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('./grant-operations.txt');
});

test('every grant operation is valid for some key, and there are 19', () => {
  expect(grantOperationNames).toHaveLength(19);
  for (const name of grantOperationNames) expect(kinds.some((kind) => isOperationOf(name, kind))).toBe(true);
});

test('only operations with an encryption context are bound by a constraint on it', () => {
  expect(grantOperationNames.filter(takesEncryptionContext)).toEqual([
    'Decrypt',
    'Encrypt',
    'GenerateDataKey',
    'GenerateDataKeyWithoutPlaintext',
    'ReEncryptFrom',
    'ReEncryptTo',
    'GenerateDataKeyPair',
    'GenerateDataKeyPairWithoutPlaintext',
  ]);
});

test.each<[string, boolean]>([
  ['arn:aws:iam::000000000000:root', true],
  ['arn:aws:iam::111122223333:user/unix/backup', true],
  ['arn:aws:iam::111122223333:role/keyUserRole', true],
  ['arn:aws:sts::111122223333:assumed-role/keyUserRole/session', true],
  ['arn:aws:sts::111122223333:federated-user/bob', true],
  ['arn:aws:iam::111122223333:user/*', false],
  ['arn:aws:iam::111122223333:group/all', false],
  ['arn:aws:iam::111122223333:role/', false],
  ['arn:aws:iam::11112222333:root', false],
  ['arn:aws:iam::111122223333:root\n', false],
  ['arn:aws:kms:us-east-1:111122223333:key/x', false],
  ['111122223333', false],
  ['*', false],
  ['', false],
])('%j can be a principal of a grant: %s', (text, isPrincipal) => {
  expect(parseGrantPrincipalArn(text)).toBe(isPrincipal ? text : undefined);
  expect(parseGrantPrincipal(text)).toBe(isPrincipal ? text : undefined);
});

test.each<[string, boolean]>([
  ['dynamodb.us-east-1.amazonaws.com', true],
  ['s3.amazonaws.com', true],
  ['s3', false],
  ['S3.amazonaws.com', false],
  ['s3..amazonaws.com', false],
])('%j can be a service principal of a grant: %s', (text, isService) => {
  const principal = parseGrantPrincipal(text);
  expect(principal).toBe(isService ? text : undefined);
  if (principal !== undefined) expect(isServicePrincipal(principal)).toBe(true);
});

test('the id of a grant is 64 lower-case hexadecimal digits', () => {
  const id = '0c237476b39f8bc44e45212e08498fbe3151305030726c0590dd8d3e9f3d6a60';
  expect(parseGrantId(id)).toBe(id);
  for (const wrong of [id.toUpperCase(), id.slice(1), `${id}0`, `${id}\n`, '']) {
    expect(parseGrantId(wrong)).toBeUndefined();
  }
});
