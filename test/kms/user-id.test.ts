import { expect, test } from 'vitest';
import { type PrincipalArn, parsePrincipalArn, userIdOf } from '../../src/kms/names.ts';

const principal = (text: string): PrincipalArn => {
  const arn = parsePrincipalArn(text);
  if (arn === undefined) throw new Error(`${text} is not the ARN of a principal`);
  return arn;
};
const accountId = '000000000000';
const iam = `arn:aws:iam::${accountId}`;
const role = principal(`${iam}:role/ops/batch`);

test.each([
  ['the root', { arn: principal(`${iam}:root`), accountId }, accountId],
  ['a user', { arn: principal(`${iam}:user/unix/alice`), accountId }, `${iam}:user/unix/alice`],
  [
    'a session',
    { arn: principal(`arn:aws:sts::${accountId}:assumed-role/batch/eve`), accountId, role },
    `${iam}:role/ops/batch:eve`,
  ],
])('the unique id of %s is as in AWS, with ARNs where AWS has ids', (_, caller, expected) => {
  expect(userIdOf(caller)).toBe(expected);
});
