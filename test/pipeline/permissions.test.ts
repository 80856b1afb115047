/**
 * What gives a user each permission of each operation: the key policy, a grant, or an identity policy, written to
 * `permissions.txt`, which is reviewed like code. It is drawn from the table of operations, so that a new operation or
 * another need is a change of that file; `test/end-to-end/access-matrix.txt` shows the same through the socket.
 */

import { expect, test } from 'vitest';
import { decide } from '../../src/authorization/decide.ts';
import type { CompiledPolicy } from '../../src/authorization/language/compiled-policy.ts';
import { noContext } from '../../src/authorization/language/condition-vocabulary.ts';
import { compileIdentityPolicy } from '../../src/authorization/language/policy-document.ts';
import { parsePolicyJson } from '../../src/authorization/language/policy-json.ts';
import { findOperation, operations } from '../../src/operations/table.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { alice, allow, compile, deny, keyArn, policy, realm, root } from '../authorization/policies.ts';

interface Mechanism {
  readonly name: string;
  readonly keyPolicy: CompiledPolicy;
  readonly identityPolicies: readonly CompiledPolicy[];
  readonly hasGrant: boolean;
}

const identity = (Effect: 'Allow' | 'Deny'): CompiledPolicy => {
  const document = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect, Action: 'kms:*', Resource: '*' }] });
  return compileIdentityPolicy(parsePolicyJson(document), 'all.json', realm, conditionVocabulary);
};
const delegating = compile(policy(allow(root, 'kms:*')));
const silent = compile(policy(allow(root, 'kms:PutKeyPolicy', 'arn:aws:kms:us-east-1:000000000000:key/another')));

const mechanism = (name: string, more: Partial<Mechanism>): Mechanism => ({
  name,
  keyPolicy: silent,
  identityPolicies: [],
  hasGrant: false,
  ...more,
});
const mechanisms: readonly Mechanism[] = [
  mechanism('nothing', { keyPolicy: delegating }),
  mechanism('key policy', { keyPolicy: compile(policy(allow(alice, 'kms:*'))) }),
  mechanism('grant', { hasGrant: true }),
  mechanism('identity, delegated', { keyPolicy: delegating, identityPolicies: [identity('Allow')] }),
  mechanism('identity alone', { identityPolicies: [identity('Allow')] }),
  mechanism('all, key policy denies', {
    keyPolicy: compile(policy(allow(alice, 'kms:*'), deny(alice, 'kms:*'))),
    identityPolicies: [identity('Allow')],
    hasGrant: true,
  }),
  mechanism('all, identity denies', {
    keyPolicy: compile(policy(allow(alice, 'kms:*'))),
    identityPolicies: [identity('Allow'), identity('Deny')],
    hasGrant: true,
  }),
];

interface Need {
  readonly action: string;
  readonly grant?: string;
  readonly anyState?: boolean;
  /** Retiring a grant is not the key policy's to give. */
  readonly retires?: unknown;
}

function verdict(
  { action, grant, retires }: Need,
  isOnKey: boolean,
  { keyPolicy, identityPolicies, hasGrant }: Mechanism,
): string {
  const decision = decide({
    principal: alice,
    accountId: realm.account,
    action,
    resource: isOnKey ? keyArn : '*',
    keyPolicy: isOnKey && retires === undefined ? keyPolicy : undefined,
    identityPolicies,
    context: noContext,
    findGrant: () => (hasGrant && grant !== undefined && isOnKey ? { grantId: 'g' } : undefined),
  });
  return decision.allowed ? 'yes' : decision.by.startsWith('denied') ? 'denied' : '-';
}

test('what gives which permission is as it was reviewed', async () => {
  const column = (text: string): string => text.padEnd(24);
  const rows = Object.keys(operations).flatMap((name) => {
    const { resources = [], keys = {} } = findOperation(name)?.needs ?? {};
    const row = (need: Need, isOnKey: boolean): string =>
      [
        name.padEnd(36),
        need.action.padEnd(40),
        (isOnKey ? (need.anyState === true ? 'key, any state' : 'key, enabled') : 'no key').padEnd(16),
        ...mechanisms.map((each) => column(verdict(need, isOnKey, each))),
      ]
        .join('')
        .trimEnd();
    return [
      ...resources.map((need) => row(need, false)),
      ...Object.values(keys).map((need) => row(need as Need, true)),
    ];
  });
  const head = [
    'operation'.padEnd(36),
    'permission'.padEnd(40),
    'on'.padEnd(16),
    ...mechanisms.map(({ name }) => column(name)),
  ];
  await expect(`${[head.join('').trimEnd(), ...rows].join('\n')}\n`).toMatchFileSnapshot('./permissions.txt');
});

test('every operation needs a permission', () => {
  const without = Object.keys(operations).filter((name) => {
    const { resources = [], keys = {} } = findOperation(name)?.needs ?? {};
    return resources.length + Object.keys(keys).length === 0;
  });
  expect(without).toEqual([]);
});
