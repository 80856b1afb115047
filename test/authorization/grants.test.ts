import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decide } from '../../src/authorization/decide.ts';
import {
  findAllowingGrant,
  findRetirement,
  type GrantUse,
  isAllowedBy,
  isWithin,
} from '../../src/authorization/grant-decision.ts';
import { noContext } from '../../src/authorization/language/condition-vocabulary.ts';
import { compileIdentityPolicy } from '../../src/authorization/language/policy-document.ts';
import { parsePolicyJson } from '../../src/authorization/language/policy-json.ts';
import { stepsPerGrant, tooMuchWork } from '../../src/authorization/language/work-budget.ts';
import { KeyGrants } from '../../src/keys/grants/key-grants.ts';
import { foldCase } from '../../src/kms/case-folding.ts';
import { foldPairs, stepsToFoldPairs } from '../../src/kms/context-pairs.ts';
import {
  type EncryptionContextPairs,
  type GrantConstraints,
  type GrantId,
  type GrantOperation,
  type GrantPrincipal,
  type GrantTerms,
  newGrantId,
} from '../../src/kms/grant-terms.ts';
import type { KeyId, PrincipalArn } from '../../src/kms/names.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import type { GrantRecord } from '../../src/store/records/records.ts';
import { allow, compile, keyArn, policy, realm } from './policies.ts';

const accountId = '000000000000';
const alice = `arn:aws:iam::${accountId}:user/alice`;
const bob = `arn:aws:iam::${accountId}:user/bob`;
const role = `arn:aws:iam::${accountId}:role/reader`;
const session = `arn:aws:sts::${accountId}:assumed-role/reader/host`;
const root = `arn:aws:iam::${accountId}:root`;
const sourceArn = `arn:aws:s3:::bucket`;

function record(terms: Partial<GrantRecord>): GrantRecord {
  return {
    region: 'us-east-1',
    version: 1,
    grantId: newGrantId(),
    keyId: '11111111-2222-3333-4444-555555555555' as KeyId,
    name: '',
    grantee: alice as GrantPrincipal,
    retiring: null,
    issuingAccount: accountId,
    operations: ['Encrypt'],
    constraints: {},
    createdAtMs: 0,
    ...terms,
  };
}
const example = record({});
const grantee = (principal: string, ofRole?: string) => ({
  principal: principal as PrincipalArn,
  role: ofRole as PrincipalArn | undefined,
  accountId,
});
const keyGrants = (...records: readonly GrantRecord[]): KeyGrants => {
  const grants = new KeyGrants();
  for (const each of records) grants.add(each);
  return grants;
};

/** Few names and values, so that contexts meet each other, also in names that differ in case alone. */
const pairs: fc.Arbitrary<EncryptionContextPairs> = fc.dictionary(
  fc.constantFrom('a', 'A', 'b', 'σ', 'ς', '__proto__', '__Proto__', 'toString'),
  fc.constantFrom('', '1', '2'),
  { maxKeys: 3, noNullPrototype: false },
);
const constraints: fc.Arbitrary<GrantConstraints> = fc.oneof(
  { weight: 2, arbitrary: fc.constant({}) },
  { weight: 4, arbitrary: fc.record({ EncryptionContextEquals: pairs }) },
  { weight: 4, arbitrary: fc.record({ EncryptionContextSubset: pairs }) },
  { weight: 1, arbitrary: fc.record({ EncryptionContextSubset: pairs, SourceArn: fc.constant(sourceArn) }) },
);
const operations = fc.subarray<GrantOperation>(['Encrypt', 'Decrypt', 'CreateGrant', 'DescribeKey', 'RetireGrant'], {
  minLength: 1,
});
const terms: fc.Arbitrary<GrantTerms> = fc.record({ operations, constraints });
const use: fc.Arbitrary<GrantUse> = fc.record({
  operation: fc.constantFrom<GrantOperation>('Encrypt', 'Decrypt', 'CreateGrant', 'DescribeKey', 'Sign'),
  encryptionContext: fc.option(pairs, { nil: undefined }),
  newGrant: fc.option(terms, { nil: undefined }),
});

describe('what a grant allows', () => {
  const it = { department: 'IT' };
  const equals = (context: EncryptionContextPairs): GrantConstraints => ({ EncryptionContextEquals: context });
  const subset = (context: EncryptionContextPairs): GrantConstraints => ({ EncryptionContextSubset: context });

  test.each<[string, GrantConstraints, EncryptionContextPairs | undefined, boolean]>([
    ['no constraint, no context', {}, undefined, true],
    ['no constraint, some context', {}, it, true],
    ['the exact context', equals(it), it, true],
    ['one pair more than the exact context', equals(it), { ...it, a: '' }, false],
    ['one pair less than the exact context', equals({ ...it, a: '' }), it, false],
    ['an empty exact context and none', equals({}), undefined, true],
    ['an empty exact context and one', equals({}), it, false],
    ['the pairs and more', subset(it), { ...it, a: '' }, true],
    ['another value', subset(it), { department: 'it' }, false],
    ['no pairs asked for', subset({}), undefined, true],
    ['a name that every object has', subset({ toString: 'x' }), undefined, false],
    ['the name in another case', subset(it), { Department: 'IT' }, true],
    ['the exact context in another case', equals(it), { DEPARTMENT: 'IT' }, true],
    ['the name in another case, and another value', equals(it), { DEPARTMENT: 'it' }, false],
    ['a name in another case that is no letter of ASCII', equals({ Größe: 'x' }), { GRÖßE: 'x' }, true],
    ['the name twice, with the value', subset(it), { ...it, Department: 'IT' }, true],
    ['the name twice, with another value too', subset(it), { ...it, Department: 'HR' }, false],
    ['the name twice, the value under the other spelling', subset(it), { department: 'HR', Department: 'IT' }, false],
    ['the name twice for an exact context', equals(it), { ...it, Department: 'IT' }, false],
    ['the name once, asked for twice', subset({ ...it, Department: 'IT' }), it, false],
    ['the name twice, as it is asked for', equals({ a: '1', A: '2' }), { A: '2', a: '1' }, true],
    ['the name twice, with values exchanged', equals({ a: '1', A: '2' }), { a: '2', A: '1' }, false],
    ['the name twice, with values exchanged, and more', subset({ a: '1', A: '2' }), { a: '2', A: '1', b: '' }, false],
    ['the name in a third case', subset({ ab: '1', AB: '2' }), { ab: '1', AB: '2', Ab: '1' }, false],
    ['a resource of a service', { SourceArn: sourceArn }, it, false],
  ])('%s: %j %j %s', (_, constraint, encryptionContext, isAllowed) => {
    const grant = { operations: ['Encrypt' as const], constraints: constraint };
    expect(isAllowedBy(grant, { operation: 'Encrypt', encryptionContext })).toBe(isAllowed);
    expect(isAllowedBy(grant, { operation: 'Decrypt', encryptionContext })).toBe(false);
  });

  test.each<[string, GrantTerms['constraints'], GrantTerms['constraints'], boolean]>([
    ['the same pairs', subset(it), subset(it), true],
    ['more pairs', subset({ ...it, a: '' }), subset(it), true],
    ['fewer pairs', subset({}), subset(it), false],
    ['no constraint', {}, subset(it), false],
    ['an exact context with the pairs', equals({ ...it, a: '' }), subset(it), true],
    ['an exact context without them', equals({ a: '' }), subset(it), false],
    ['pairs for an exact context', subset(it), equals(it), false],
    ['the same exact context', equals(it), equals(it), true],
    ['another exact context', equals({ ...it, a: '' }), equals(it), false],
    ['no constraint for an exact context', {}, equals(it), false],
    ['a constraint where there was none', equals(it), {}, true],
    ['the pairs in another case', subset({ Department: 'IT' }), subset(it), true],
    ['an exact context in another case', equals({ Department: 'IT' }), equals(it), true],
    ['pairs that ask for both of two cases', subset({ ...it, Department: 'IT' }), subset(it), true],
    ['pairs with another value in another case', subset({ ...it, Department: 'HR' }), subset(it), false],
    ['pairs for those in two cases', subset(it), subset({ ...it, Department: 'HR' }), false],
    ['another resource', { SourceArn: 'arn:aws:s3:::other' }, { SourceArn: sourceArn }, false],
    ['no resource', subset(it), { ...subset(it), SourceArn: sourceArn }, false],
    ['a resource where there was none', { ...subset(it), SourceArn: sourceArn }, subset(it), true],
  ])('of a grant that is made with it, %s: %j under %j is within: %s', (_, inner, outer, isIn) => {
    const same: readonly GrantOperation[] = ['Encrypt', 'CreateGrant'];
    expect(isWithin({ operations: same, constraints: inner }, { operations: same, constraints: outer })).toBe(isIn);
    expect(
      isWithin({ operations: [...same, 'Decrypt'], constraints: inner }, { operations: same, constraints: outer }),
    ).toBe(false);
  });

  test('never exceeds its operations or its constraints', () => {
    fc.assert(
      fc.property(terms, use, (grant, wanted) => {
        if (!isAllowedBy(grant, wanted)) return;
        expect(grant.operations).toContain(wanted.operation);
        expect(grant.constraints.SourceArn).toBeUndefined();
        if (!['Encrypt', 'Decrypt'].includes(wanted.operation)) return;
        const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = grant.constraints;
        const asked = Object.entries(exact ?? some ?? {});
        const context = Object.entries(wanted.encryptionContext ?? {});
        const spellings = (pairs: typeof asked, name: string) =>
          pairs.filter(([each]) => foldCase(each) === foldCase(name));
        for (const [name, value] of asked) {
          const others = spellings(asked, name);
          const there = spellings(context, name);
          // All that the request says of the name is what the constraint says of it.
          if (others.length === 1) expect(new Set(there.map(([, each]) => each))).toEqual(new Set([value]));
          else expect(new Map(there)).toEqual(new Map(others));
        }
        if (exact !== undefined) expect(context.length).toBe(asked.length);
      }),
      { numRuns: 2_000 },
    );
  });

  test('is never more in a grant that was made with another grant, down to the last one of a chain', () => {
    let tried = 0;
    fc.assert(
      fc.property(fc.array(terms, { minLength: 2, maxLength: 5 }), use, ([first, ...made], wanted) => {
        let parent = first as GrantTerms;
        for (const child of made) {
          if (isAllowedBy(parent, { operation: 'CreateGrant', newGrant: child })) parent = child;
        }
        if (parent === first || !isAllowedBy(parent, wanted)) return;
        tried++;
        expect(isAllowedBy(first as GrantTerms, wanted)).toBe(true);
      }),
      { numRuns: 5_000 },
    );
    expect(tried).toBeGreaterThan(0);
  });

  test('is CreateGrant for nobody who does not say what he would make', () => {
    expect(isAllowedBy({ operations: ['CreateGrant'], constraints: {} }, { operation: 'CreateGrant' })).toBe(false);
  });
});

describe('the grants of a key', () => {
  test('allow whom they name: the caller, the role of his session, and the account as a delegation', () => {
    const [toAlice, toRole, toRoot] = [alice, role, root].map((name) => record({ grantee: name as GrantPrincipal }));
    const found = (grants: KeyGrants, who: ReturnType<typeof grantee>) =>
      findAllowingGrant(grants, who, { operation: 'Encrypt' });
    const all = keyGrants(...([toAlice, toRole, toRoot] as GrantRecord[]));
    expect(found(all, grantee(alice))).toEqual({ grantId: toAlice?.grantId });
    expect(found(all, grantee(session, role))).toEqual({ grantId: toRole?.grantId });
    expect(found(all, grantee(root))).toEqual({ grantId: toRoot?.grantId });
    expect(found(all, grantee(bob))).toEqual({ grantId: toRoot?.grantId, isDelegating: true });
    expect(found(keyGrants(toAlice as GrantRecord, toRole as GrantRecord), grantee(bob))).toBeUndefined();
    expect(findAllowingGrant(undefined, grantee(alice), { operation: 'Encrypt' })).toBeUndefined();
  });

  test('give by look-up what a search through all of them gives, whatever came and went', () => {
    const someGrant = fc.record({
      grantee: fc.constantFrom(alice, bob).map((name) => name as GrantPrincipal),
      operations,
      constraints,
      staysThere: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(someGrant, { maxLength: 30, size: 'max' }), use, (list, wanted) => {
        const records = list.map(({ staysThere, ...rest }) => ({ ...record(rest), staysThere }));
        const grants = keyGrants(...records);
        for (const each of records) if (!each.staysThere) grants.remove(each);
        const allowing = records.filter(
          (each) => each.staysThere && each.grantee === alice && isAllowedBy(each, wanted),
        );
        const found = findAllowingGrant(grants, grantee(alice), wanted);
        if (allowing.length === 0) expect(found).toBeUndefined();
        else expect(allowing.map(({ grantId }) => grantId)).toContain(found?.grantId);
      }),
      { numRuns: 2_000 },
    );
  });

  const context = { tenant: '49999', region: 'eu', kind: 'disk' };
  const filledWith = (count: number, terms: (index: number) => Partial<GrantRecord>): KeyGrants => {
    const grants = new KeyGrants();
    for (let index = 0; index < count; index++) {
      grants.add({ ...example, grantId: index.toString(16).padStart(64, '0') as GrantId, ...terms(index) });
    }
    return grants;
  };
  const mostLookedAt = (grants: KeyGrants): number =>
    Math.max(
      ...[context, undefined, { region: 'eu' }, { ...context, tenant: 'none' }].map(
        (asked) => [...grants.candidates(alice, 'Encrypt', foldPairs(asked ?? {}))].length,
      ),
    );

  test.each<[string, (index: number) => Partial<GrantRecord>]>([
    ['to others', (index) => ({ grantee: `arn:aws:iam::${accountId}:user/${index}` as GrantPrincipal })],
    ['for other operations', () => ({ operations: ['Decrypt', 'DescribeKey'] })],
    [
      'each for a context of its own',
      (index) => ({ constraints: { EncryptionContextEquals: { tenant: `${index}` } } }),
    ],
    ['for resources of services', (index) => ({ constraints: { SourceArn: `arn:aws:s3:::${index}` } })],
  ])('are thousands %s, and a request looks at one of them at most', (_, terms) => {
    expect(mostLookedAt(filledWith(5_000, terms))).toBeLessThanOrEqual(1);
  });

  test('are 50,000, each for a pair of its own beside common ones, and a request looks at four of them at most', () => {
    const grants = filledWith(50_000, (index) => ({
      constraints: { EncryptionContextSubset: { region: 'eu', kind: 'disk', tenant: `${index}` } },
    }));
    expect(grants.count).toBe(50_000);
    expect(mostLookedAt(grants)).toBeLessThanOrEqual(4);
    expect(findAllowingGrant(grants, grantee(alice), { operation: 'Encrypt', encryptionContext: context })).toEqual({
      grantId: (49_999).toString(16).padStart(64, '0'),
    });
  });
});

describe('grants of somebody who wants to keep the daemon busy', () => {
  const long = 'x'.repeat(300);
  const ofEightPairs = (last: string): EncryptionContextPairs =>
    Object.fromEntries(Array.from({ length: 8 }, (_, index) => [`name${index}`, index === 7 ? last : long]));
  const grid = (index: number): EncryptionContextPairs => ({
    [`x${index % 15}`]: '',
    [`y${Math.floor(index / 15)}`]: '',
  });
  const row = Object.fromEntries(Array.from({ length: 15 }, (_, index) => [`x${index}`, '']));
  const other: GrantTerms = {
    operations: ['Decrypt'],
    constraints: { EncryptionContextEquals: ofEightPairs('other') },
  };
  const within = (maxSteps: number): ((steps: number) => void) => {
    let left = maxSteps;
    return (steps) => {
      left -= steps;
      if (left < 0) throw tooMuchWork();
    };
  };
  const filled = (count: number, terms: (index: number) => Partial<GrantRecord>): KeyGrants =>
    keyGrants(...Array.from({ length: count }, (_, index) => ({ ...record(terms(index)) })));

  test.each<[string, (index: number) => Partial<GrantRecord>, GrantUse]>([
    [
      'to make grants for other contexts',
      (index) => ({
        operations: ['CreateGrant', 'Decrypt'],
        constraints: { EncryptionContextEquals: ofEightPairs(`${index}`) },
      }),
      { operation: 'CreateGrant', newGrant: other },
    ],
    [
      'to make grants for other pairs',
      (index) => ({
        operations: ['CreateGrant', 'Decrypt'],
        constraints: { EncryptionContextSubset: ofEightPairs(`${index}`) },
      }),
      { operation: 'CreateGrant', newGrant: other },
    ],
    [
      'to make other grants',
      () => ({ operations: ['CreateGrant', 'Encrypt'] }),
      { operation: 'CreateGrant', newGrant: other },
    ],
    [
      'that say the same and do not apply',
      () => ({ constraints: { EncryptionContextSubset: { a: '', b: '' } } }),
      { operation: 'Encrypt', encryptionContext: { a: '' } },
    ],
  ])('%s cost a request a look at eight of them at most', (_, terms, wanted) => {
    const budget = { spend: within(8 * stepsPerGrant) };
    expect(findAllowingGrant(filled(500, terms), grantee(alice), wanted, budget)).toBeUndefined();
  });

  test('with long names of pairs cost as much as it takes to compare them', () => {
    const grants = filled(1, () => ({
      constraints: { EncryptionContextSubset: { a: '', ['\u{e4}'.repeat(200)]: '' } },
    }));
    const wanted = { operation: 'Encrypt', encryptionContext: { a: '' } } as const;
    const found = (maxSteps: number) => findAllowingGrant(grants, grantee(alice), wanted, { spend: within(maxSteps) });
    expect(() => found(2 * stepsPerGrant)).toThrow(tooMuchWork());
    expect(found(60 * stepsPerGrant)).toBeUndefined();
  });

  test('whose pairs the request has in part are looked at as long as its budget lasts', () => {
    const grants = filled(225, (index) => ({ constraints: { EncryptionContextSubset: grid(index) } }));
    const spend = within(20 * stepsPerGrant);
    const wanted = { operation: 'Encrypt', encryptionContext: row } as const;
    expect(() => findAllowingGrant(grants, grantee(alice), wanted, { spend })).toThrow(tooMuchWork());
    expect(findAllowingGrant(grants, grantee(bob), wanted, { spend: within(stepsToFoldPairs(row)) })).toBeUndefined();
  });
});

describe('a grant to the account', () => {
  const reader = compileIdentityPolicy(
    parsePolicyJson(policy({ Effect: 'Allow', Action: 'kms:Encrypt', Resource: '*' })),
    'reader.json',
    realm,
    conditionVocabulary,
  );
  test.each<[string, string, boolean, boolean]>([
    ['lets its root', root, false, true],
    ['delegates to an identity policy that allows', alice, true, true],
    ['lets nobody else without one', alice, false, false],
  ])('%s', (_, who, hasPolicy, isAllowed) => {
    const grant = record({ grantee: root as GrantPrincipal });
    const grants = keyGrants(grant);
    const decision = decide({
      principal: who as PrincipalArn,
      accountId,
      action: 'kms:Encrypt',
      resource: keyArn,
      keyPolicy: compile(policy(allow(bob, 'kms:*'))),
      identityPolicies: hasPolicy ? [reader] : [],
      context: noContext,
      findGrant: () => findAllowingGrant(grants, grantee(who), { operation: 'Encrypt' }),
    });
    expect(decision).toMatchObject(
      isAllowed
        ? { allowed: true, by: 'grant', grant: { grantId: grant.grantId } }
        : { allowed: false, by: 'not in key policy' },
    );
  });
});

describe('a grant is retired', () => {
  const retirable = record({ operations: ['Encrypt', 'RetireGrant'], retiring: bob as GrantPrincipal });
  test.each<[string, GrantRecord, ReturnType<typeof grantee>, boolean]>([
    ['by its retiring principal', retirable, grantee(bob), true],
    ['by its grantee, where it allows that', retirable, grantee(alice), true],
    ['not by its grantee, where it does not', record({}), grantee(alice), false],
    ['not by others', retirable, grantee(session, role), false],
    ['by a session of the retiring role', record({ retiring: role as GrantPrincipal }), grantee(session, role), true],
  ])('%s', (_, grant, who, isAllowed) => {
    expect(findRetirement(grant, who)).toEqual(isAllowed ? { grantId: grant.grantId } : undefined);
  });
});
