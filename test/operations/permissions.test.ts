/**
 * Holds what every operation needs to what AWS documents: the actions, what they are permissions on, the condition keys that
 * policies may use with them, and which of them a grant can give. `test/vectors/README.md` says where that comes from.
 */

import { describe, expect, test } from 'vitest';
import { grantOperationNames } from '../../src/kms/grant-terms.ts';
import { keyUsages } from '../../src/kms/key-specs.ts';
import { operationNames } from '../../src/kms/operation-names.ts';
import { findOperation, operations } from '../../src/operations/find-operation.ts';
import { conditionKeys } from '../../src/pipeline/condition-key-table.ts';
import { alice, realm } from '../authorization/policies.ts';
import { documentedPermission, documentedPermissions, operationOfAction } from './documented-permissions.ts';

const vector = 'test/vectors/kms-developer-guide/permissions.txt';

const retiresByGrantAlone =
  'a request to retire has no context and no constraints; the grant decides, and a policy that names them is not met';
/** Where a need is otherwise than AWS documents it, in the words of the failure, with the reason. */
const deviations: Readonly<Record<string, string>> = {
  'RetireGrant.needs.keys.key: declare `kms:EncryptionContext` in conditions': retiresByGrantAlone,
  'RetireGrant.needs.keys.key: declare `kms:EncryptionContextKeys` in conditions': retiresByGrantAlone,
  'RetireGrant.needs.keys.key: declare `kms:GrantConstraintType` in conditions': retiresByGrantAlone,
};

const needs = operations.flatMap(({ name, needs: { resources = [], keys = {} } }) => [
  ...resources.map((need, index) => ({ operation: name, place: `needs.resources[${index}]`, need, isOnKey: false })),
  ...Object.entries(keys).map(([key, need]) => ({ operation: name, place: `needs.keys.${key}`, need, isOnKey: true })),
]);
const ofOperation = (operation: string) => needs.filter((each) => each.operation === operation);

/** Without the global ones, which every request has: what stands of them in a need is for people. */
const ownConditions = (conditions: readonly string[] = []): readonly string[] =>
  conditions.filter((name) => !name.startsWith('aws:')).toSorted();

/** What there is in one list and not in the other, as sentences. */
function conditionFaults(place: string, action: string, conditions: readonly string[] | undefined): readonly string[] {
  const documented = documentedPermission(action).conditions;
  const declared = ownConditions(conditions);
  return [
    ...documented
      .filter((name) => !declared.includes(name))
      .map((name) => `${place}: declare \`${name}\` in conditions`),
    ...declared
      .filter((name) => !documented.includes(name))
      .map(
        (name) => `${place}: conditions has \`${name}\`, and ${vector} has it not for ${action}: take it out of one`,
      ),
  ];
}

function grantFaults(place: string, action: string, grant: string | undefined): readonly string[] {
  const name = action.slice('kms:'.length);
  const expected = grantOperationNames.find((each) => each === name);
  if (grant === expected) return [];
  const instead = expected === undefined ? 'no grant gives it, leave `grant` out' : `declare \`grant: '${expected}'\``;
  return [`${place}: ${action} has grant \`${grant}\`: ${instead}`];
}

/** What a need without a key is about. */
const resourceOf = (resource: string | undefined): string => (resource?.includes(':alias/') ? 'alias' : '*');

/** Of the operation's own actions: is each asked for all that it is a permission on, and nothing else? */
function resourceFaults(operation: string): readonly string[] {
  const own = documentedPermissions.filter(({ action }) => operationOfAction(action) === operation);
  const request = { AliasName: 'alias/any', RetiringPrincipal: alice };
  return own.flatMap(({ action, resources }) => {
    const asked = ofOperation(operation)
      .filter(({ need }) => need.action === action)
      // Safe: such a need looks at the realm alone.
      .map(({ need }) => ('resource' in need ? resourceOf(need.resource(request, { realm } as never)) : 'key'));
    return [
      ...resources
        .filter((resource) => !asked.includes(resource))
        .map(
          (resource) =>
            `${operation}: ${action} on ${resource === '*' ? 'no resource' : `the ${resource}`} is not asked for: declare it in needs.${resource === 'key' ? 'keys' : 'resources'}`,
        ),
      ...asked
        .filter((resource) => !resources.includes(resource))
        .map((resource) => `${operation}: ${action} is no permission on ${resource}, says ${vector}`),
    ];
  });
}

describe('As AWS documents it', () => {
  test('every operation asks for its own actions on what they are permissions on, and names their condition keys and grants', () => {
    const faults = [
      ...operations.flatMap(({ name }) => resourceFaults(name)),
      ...needs.flatMap(({ operation, place, need }) => [
        ...conditionFaults(`${operation}.${place}`, need.action, need.conditions),
        ...grantFaults(`${operation}.${place}`, need.action, need.grant),
      ]),
    ];
    expect(faults).toEqual(Object.keys(deviations));
  });

  test('every action that a grant can give is the grant of a need, if its operation is built', () => {
    const given = new Set(needs.flatMap(({ need }) => need.grant ?? []));
    const missing = grantOperationNames.filter(
      (name) => findOperation(operationOfAction(`kms:${name}`)) !== undefined && !given.has(name),
    );
    expect(missing).toEqual([]);
  });

  test('an operation asks for actions of another one only where it does that as well', () => {
    const others = needs.filter(({ operation, need }) => operationOfAction(need.action) !== operation);
    expect(others.map(({ operation, need }) => `${operation}: ${need.action}`)).toEqual([
      'CreateKey: kms:TagResource',
      'ReplicateKey: kms:CreateKey',
      'ReplicateKey: kms:TagResource',
    ]);
  });

  test('an operation whose request has to name a key asks for a permission on a key', () => {
    const silent = operations.filter(({ request, needs: { keys = {} } }) => {
      const member = request.members?.['KeyId'];
      return member !== undefined && !('optional' in member) && Object.keys(keys).length === 0;
    });
    expect(silent.map(({ name }) => `${name}: its request requires KeyId: declare a need in needs.keys`)).toEqual([]);
  });

  test('an operation that uses a key for something says which usage the key has to have, and which algorithm', () => {
    const silent = needs.flatMap(({ operation, place, need }) => {
      const isAlgorithm = need.conditions?.some((name) => /^kms:(?!Wrapping)\w+Algorithm$/.test(name)) === true;
      return isAlgorithm && (need.usage === undefined || need.algorithm === undefined)
        ? [`${operation}.${place}: declare \`usage\` (one of ${keyUsages.join(', ')}) and \`algorithm\``]
        : [];
    });
    expect(silent).toEqual([]);
  });
});

describe('The vector of permissions', () => {
  test('has one row for each action', () => {
    const actions = operationNames.flatMap((name) =>
      name === 'ReEncrypt' ? ['kms:ReEncryptFrom', 'kms:ReEncryptTo'] : [`kms:${name}`],
    );
    expect(documentedPermissions.map(({ action }) => action)).toEqual(actions);
  });

  test.each(documentedPermissions)('has of $action only what there is', ({ action, resources, source, conditions }) => {
    expect(['page', 'older', 'comment', 'like']).toContain(source);
    expect([['*'], ['key'], ['alias', 'key']]).toContainEqual(resources);
    expect(new Set(conditions).size).toBe(conditions.length);
    const wrong = conditions.filter((name) => {
      const on = conditionKeys.find((key) => key.name === name)?.on;
      return on !== 'declared' && !(on === 'key' && action === 'kms:CreateKey');
    });
    expect(
      wrong.map((name) => `\`${name}\` is no key that is declared, says src/pipeline/condition-key-table.ts`),
    ).toEqual([]);
  });
});
