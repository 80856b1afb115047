import { expect, test } from 'vitest';
import { alice, allow, ask, bob, compile, deny, keyArn, otherKeyArn, policy } from './policies.ts';

const arnOf = (number: number): string =>
  `arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-${number.toString().padStart(12, '0')}`;

test('What a policy says of an action is looked up once for all keys that share it, however many they are', () => {
  const shared = compile(policy(allow(alice, 'kms:*'), deny(bob, 'kms:Encrypt')));
  const first = shared.applicableTo('kms:Encrypt', keyArn);
  const { bytes } = shared;
  for (let number = 0; number < 5000; number++) expect(shared.applicableTo('kms:Encrypt', arnOf(number))).toBe(first);
  expect(shared.bytes).toBe(bytes);
});

test('Statements about some keys are for these alone, and keys about which the same is said share it', () => {
  const document = policy(allow(alice, 'kms:*'), deny(alice, 'kms:Encrypt', otherKeyArn));
  const shared = compile(document);
  const ofMany = shared.applicableTo('kms:Encrypt', arnOf(1));
  for (let number = 2; number < 5000; number++) expect(shared.applicableTo('kms:Encrypt', arnOf(number))).toBe(ofMany);
  expect(shared.applicableTo('kms:Encrypt', otherKeyArn)).not.toBe(ofMany);
  expect(shared.bytes).toBeLessThanOrEqual(shared.maxBytes);
  for (const [resource, isAllowed] of [
    [keyArn, true],
    [otherKeyArn, false],
    [arnOf(1), true],
  ] as const)
    expect(ask(document, alice, 'kms:Encrypt', resource).allowed).toBe(isAllowed);
});

test('A policy that takes some keys out says so of these alone, whichever was asked about first', () => {
  const document = policy({
    ...{ Effect: 'Allow', Principal: { AWS: alice }, Action: 'kms:Encrypt' },
    NotResource: [otherKeyArn, `${arnOf(7).slice(0, -1)}*`],
  });
  const shared = compile(document);
  const [out, within] = [shared.applicableTo('kms:Encrypt', otherKeyArn), shared.applicableTo('kms:Encrypt', keyArn)];
  expect(out).not.toBe(within);
  expect(shared.applicableTo('kms:Encrypt', arnOf(7))).toBe(out);
  expect(ask(document, alice, 'kms:Encrypt', keyArn).allowed).toBe(true);
  expect(ask(document, alice, 'kms:Encrypt', otherKeyArn).allowed).toBe(false);
  expect(ask(document, alice, 'kms:Encrypt', arnOf(3)).allowed).toBe(false);
});
