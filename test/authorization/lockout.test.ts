import { expect, test } from 'vitest';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import { assertNoLockout } from '../../src/authorization/lockout.ts';
import { KmsError } from '../../src/kms/errors.ts';
import { alice, allow, ask, bob, deny, otherKeyArn, policy, realm, root } from './policies.ts';

const lockedOut = new KmsError(
  'MalformedPolicyDocumentException',
  'The new key policy will not allow you to update the key policy in the future.',
);

const check = (document: string, arn: typeof alice) => () => assertNoLockout(ask(document, arn, 'kms:PutKeyPolicy'));

test.each([
  ['the default policy put by the root', root, defaultKeyPolicy(realm)],
  ['an author who names himself', alice, policy(allow(alice, 'kms:PutKeyPolicy'))],
  ['an author who lets everybody put policies', alice, policy(allow('*', 'kms:Put*'))],
])('%s is not locked out', (_, who, document) => {
  expect(check(document, who)).not.toThrow();
});

test.each([
  ['an author who forgets himself', alice, policy(allow(bob, 'kms:*'))],
  ['a root who forgets the account', root, policy(allow(alice, 'kms:*'))],
  ['an author who may do all but put policies', alice, policy(allow(alice, ['kms:Get*', 'kms:Encrypt']))],
  ['an author who denies himself', alice, policy(allow(alice, 'kms:*'), deny(alice, 'kms:PutKeyPolicy'))],
  ['a root who denies everybody', root, policy(allow(root, 'kms:*'), deny('*', 'kms:*'))],
  ['an author who names another key', alice, policy(allow(alice, 'kms:*', otherKeyArn))],
  ['an author who gives the key to the account, which allows him nothing', alice, defaultKeyPolicy(realm)],
])('%s is told so', (_, who, document) => {
  expect(check(document, who)).toThrow(lockedOut);
});
