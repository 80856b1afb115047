/** To whom identity policies are attached, and how a set of files is refused. */

import { describe, expect, test } from 'vitest';
import { IdentityPolicyError, parseIdentityPolicies } from '../../src/authorization/identity-policies.ts';
import type { Caller } from '../../src/identity/caller.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { alice, bob, principal, realm, root } from './policies.ts';

const statement = { Sid: 'One', Effect: 'Allow', Action: 'kms:ListKeys', Resource: '*' };
const having = (elements: object): object => ({ Version: '2012-10-17', Statement: [{ ...statement, ...elements }] });
const file = (name: string, AttachedTo: unknown, PolicyDocument: unknown = having({})) => ({
  name,
  text: JSON.stringify({ AttachedTo, PolicyDocument }),
});
const idOfGroup = (name: string): number | undefined => ({ operators: 500, backup: 600 })[name];
const parse = (...files: readonly { readonly name: string; readonly text: string }[]) =>
  parseIdentityPolicies(files, { realm, vocabulary: conditionVocabulary, idOfGroup });

const role = principal('arn:aws:iam::000000000000:role/ops/batch');
const session = principal('arn:aws:sts::000000000000:assumed-role/batch/alice');
const peer = (gid: number, ...groups: number[]) => ({ kind: 'unix', uid: 7, gid, pid: 7, groups }) as const;
const signed = { kind: 'sigv4', accessKeyId: 'AKIAEXAMPLE', sourceIp: '127.0.0.1' } as const;
const caller = (more: Partial<Caller>): Caller => ({
  type: 'IAMUser',
  arn: alice,
  accountId: realm.account,
  proof: peer(1),
  ...more,
});

describe('attached are', () => {
  const policies = parse(
    file('alice.json', alice),
    file('both.json', [alice, bob, 'group:operators', alice]),
    file('operators.json', ['group:operators']),
    file('role.json', [role]),
    file('nobody.json', ['group:there-is-none']),
  );
  test.each<[string, Caller, readonly string[]]>([
    ['those of a user', caller({}), ['alice.json', 'both.json']],
    ['those of another user', caller({ arn: bob }), ['both.json']],
    ['those of his group', caller({ arn: bob, proof: peer(500) }), ['both.json', 'operators.json']],
    ['those of a supplementary group', caller({ proof: peer(1, 500) }), ['alice.json', 'both.json', 'operators.json']],
    ['those of a role, for a session of it', caller({ type: 'AssumedRole', role, arn: session }), ['role.json']],
    ['none of a group for who signs with a key of his own', caller({ arn: bob, proof: signed }), ['both.json']],
    [
      'those of the group of him who was given the key by the kernel’s word',
      caller({ arn: bob, proof: { ...signed, issuedTo: peer(500) } }),
      ['both.json', 'operators.json'],
    ],
    ['none for the root, whatever his group', caller({ type: 'Root', arn: root, proof: peer(500) }), []],
  ])('%s', (_, who, expected) => {
    const names = (): readonly unknown[] =>
      policies.attachedTo(who).map(({ statements }) => statements[0]?.reference.document);
    expect(names()).toEqual(expected);
    expect(names()).toEqual(expected);
  });

  test('none at all where a group cannot be looked up', () => {
    const failing = parseIdentityPolicies([file('a.json', 'group:operators')], {
      realm,
      vocabulary: conditionVocabulary,
      idOfGroup: () => {
        throw new Error('the user database does not answer');
      },
    });
    expect(() => failing.attachedTo(caller({}))).toThrow('the user database does not answer');
  });
});

describe('a file is refused:', () => {
  const forms =
    'is neither a user or role of this account such as "arn:aws:iam::000000000000:user/app", nor "group:NAME".';
  const foreign = 'arn:aws:iam::111122223333:user/x';
  const padded = (characters: number): object => {
    const length = characters - JSON.stringify({ Statement: [{ ...statement, Resource: '' }] }).length;
    return { Statement: [{ ...statement, Resource: 'arn:aws:kms:'.padEnd(length, 'x') }] };
  };

  test.each([
    ['no AttachedTo', file('a.json', undefined), 'AttachedTo: it must be a string or a list of strings.'],
    ['nobody to attach to', file('a.json', []), 'AttachedTo: it must have at least one value.'],
    ['the root', file('a.json', root), `AttachedTo: "${root}" ${forms}`],
    ['a user of another account', file('a.json', foreign), `AttachedTo: "${foreign}" ${forms}`],
    ['a session', file('a.json', session), `AttachedTo: "${session}" ${forms}`],
    ['a group without a name', file('a.json', 'group:'), 'AttachedTo: "group:" needs the name of a group.'],
    ['no document', file('a.json', alice, null), 'Policy: it must be an object.'],
    [
      'a further member',
      { name: 'a.json', text: JSON.stringify({ AttachedTo: alice, PolicyDocument: having({}), Comment: '' }) },
      'the file: "Comment" is not a member of it; it has AttachedTo and PolicyDocument.',
    ],
    [
      'a principal',
      file('a.json', alice, having({ Principal: '*' })),
      'Statement[0]: an identity policy has no element Principal: it is about those to whom it is attached.',
    ],
    ['no action', file('a.json', alice, having({ Action: undefined })), 'Statement[0]: the element Action is missing.'],
    [
      'no resource',
      file('a.json', alice, having({ Resource: undefined })),
      'Statement[0]: the element Resource is missing.',
    ],
    [
      'a Sid of several words',
      file('a.json', alice, having({ Sid: 'a b' })),
      'Statement[0].Sid: it must consist of letters and digits.',
    ],
    [
      'one Sid twice',
      file('a.json', alice, { Statement: [statement, statement] }),
      'Statement[1].Sid: "One" is there twice.',
    ],
    [
      '6,145 characters',
      file('a.json', alice, padded(6145)),
      'Policy: it must not be larger than 6144 characters without white space.',
    ],
  ])('%s', (_, given, message) => {
    expect(() => parse(given)).toThrow(new IdentityPolicyError(`a.json: ${message}`));
  });

  test('what costs too much', () => {
    const like = Array.from({ length: 500 }, (_, index) => `*${index}*`);
    const costly = having({ Condition: { StringLike: { 'kms:EncryptionContext:a': like } } });
    expect(() => parse(file('a.json', alice, costly))).toThrow(
      /^a.json: Statement\[0\] \("One"\): comparing it with the longest values that a request can have takes up to \d+ steps/,
    );
  });

  test('and all mistakes in all files are named at once', () => {
    expect(() => parse(file('a.json', []), file('b.json', alice), file('c.json', 'x'))).toThrow(
      new IdentityPolicyError(`a.json: AttachedTo: it must have at least one value.\nc.json: AttachedTo: "x" ${forms}`),
    );
  });

  test('6,144 characters and any amount of white space are taken', () => {
    const text = JSON.stringify({ AttachedTo: alice, PolicyDocument: padded(6144) }, null, 10);
    expect(() => parse({ name: 'a.json', text })).not.toThrow();
  });
});
