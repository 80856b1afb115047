/** Policies that come with each request of a session: compiled once, and not kept without end. */

import { expect, test } from 'vitest';
import type { Caller } from '../../src/identity/caller.ts';
import { maxSessionPolicyBytes } from '../../src/kms/budgets.ts';
import { SessionPolicies } from '../../src/pipeline/session-policies.ts';
import { alice, principal, realm } from '../authorization/policies.ts';

const inSession = (policy?: string): Caller => ({
  type: 'AssumedRole',
  arn: principal('arn:aws:sts::000000000000:assumed-role/deploy/x'),
  role: principal('arn:aws:iam::000000000000:role/deploy'),
  accountId: realm.account,
  proof: {
    ...{ kind: 'sigv4', accessKeyId: 'ASIA', sourceIp: '127.0.0.1' },
    session: { by: alice, chain: [], ...(policy === undefined ? {} : { policy }) },
  },
});
const policyNamed = (sid: string): string =>
  JSON.stringify({ Version: '2012-10-17', Statement: { Sid: sid, Effect: 'Allow', Action: '*', Resource: '*' } });

test('nobody has one but a session that was given one', () => {
  const policies = new SessionPolicies(realm);
  expect(policies.of(inSession())).toBeUndefined();
  const proof = { kind: 'unix', uid: 0, gid: 0, pid: 1, groups: [] } as const;
  expect(policies.of({ type: 'Root', arn: alice, accountId: realm.account, proof })).toBeUndefined();
});

test('one that is seen again is the same, and thousands of others take no more than there is room for', () => {
  const policies = new SessionPolicies(realm);
  const first = policies.of(inSession(policyNamed('first')));
  for (let index = 0; index < 1000; index++) {
    policies.of(inSession(policyNamed(`s${index}`)));
    expect(policies.of(inSession(policyNamed('first')))).toBe(first);
    expect(policies.bytes).toBeLessThanOrEqual(maxSessionPolicyBytes);
  }
  const early = policies.of(inSession(policyNamed('s0')));
  expect(early?.statements[0]?.reference).toEqual({ index: 0, sid: 's0', kind: 'session policy' });
});
