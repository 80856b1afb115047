/**
 * What gives a user each permission of each operation (the key policy, a grant, or an identity policy), and what happens then
 * in each state of the key, written to `permissions.txt`, which is reviewed like code. It is drawn from the tables of operations
 * and of key states, so that a new operation, another need or another answer is a change of that file;
 * `test/end-to-end/access-matrix.txt` shows the same through the socket.
 */

import { expect, test } from 'vitest';
import { decide } from '../../src/authorization/decide.ts';
import type { CompiledPolicy } from '../../src/authorization/language/compiled-policy.ts';
import { noContext } from '../../src/authorization/language/condition-vocabulary.ts';
import { compileIdentityPolicy } from '../../src/authorization/language/policy-document.ts';
import { parsePolicyJson } from '../../src/authorization/language/policy-json.ts';
import {
  type KeyOrigin,
  type KeyState,
  keyOrigins,
  keyStates,
  type StateGroup,
  stateGroups,
  stateRefusal,
} from '../../src/kms/key-states.ts';
import { operations } from '../../src/operations/find-operation.ts';
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
  const rows = operations.flatMap(({ name, needs: { resources = [], keys = {} } }) => {
    const row = (need: Need, states: StateGroup | undefined): string =>
      [
        name.padEnd(36),
        need.action.padEnd(40),
        (states ?? 'no key').padEnd(20),
        ...mechanisms.map((each) => column(verdict(need, states !== undefined, each))),
      ]
        .join('')
        .trimEnd();
    return [
      ...resources.map((need) => row(need, undefined)),
      ...Object.values(keys).map((need) => row(need as Need, need.states)),
    ];
  });
  const head = [
    'operation'.padEnd(36),
    'permission'.padEnd(40),
    'on key, as'.padEnd(20),
    ...mechanisms.map(({ name }) => column(name)),
  ];
  const permissions = [head.join('').trimEnd(), ...rows];
  await expect(`${[...permissions, '', ...answersByState()].join('\n')}\n`).toMatchFileSnapshot('./permissions.txt');
});

/** A line for each group, or for each of its origins that are answered alike, a column for each state; then the answers in full. */
function answersByState(): readonly string[] {
  const line = ([group = '', origins = '', ...cells]: readonly string[]): string =>
    [group.padEnd(20), origins.padEnd(44), ...cells.map((cell) => cell.padEnd(26))].join('').trimEnd();
  const inFull = new Set<string>();
  const cellOf = (group: StateGroup, state: KeyState, origin: KeyOrigin): string => {
    const refusal = stateRefusal(group, { arn: 'KEY', state, origin });
    if (refusal === undefined) return 'fine';
    const message = refusal.message.replace(origin, 'ORIGIN');
    inFull.add(`${refusal.name.padEnd(31)}${message}`);
    return message
      .replace('KEY is ', '')
      .replace(/KEY origin is ORIGIN .*/, 'wrong origin')
      .replace(/\.$/, '');
  };
  const lines = stateGroups.flatMap((group) => {
    const originsByCells = Map.groupBy(keyOrigins, (origin) =>
      JSON.stringify(keyStates.map((state) => cellOf(group, state, origin))),
    );
    return [...originsByCells].map(([cells, origins]) => {
      const alike = origins.length === keyOrigins.length ? 'any' : origins.join(', ');
      return line([group, alike, ...(JSON.parse(cells) as string[])]);
    });
  });
  return [line(['on key, as', 'of origin', ...keyStates]), ...lines, '', ...inFull];
}

test('every operation needs a permission', () => {
  const without = operations.filter(
    ({ needs: { resources = [], keys = {} } }) => resources.length + Object.keys(keys).length === 0,
  );
  expect(without.map(({ name }) => name)).toEqual([]);
});
