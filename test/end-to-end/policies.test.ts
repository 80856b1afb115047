/** GetKeyPolicy, PutKeyPolicy and ListKeyPolicies: what is kept, what is refused, and the lockout check. */

import { expect, test } from 'vitest';
import { aliasArn, keyArn, rootArn, unixUserArn, unknownKeyId } from './support/arns.ts';
import { describeDaemon, newKey, present } from './support/daemon.ts';
import { allow, deny, policy, rootMayAll } from './support/policies.ts';
import {
  accessDenied,
  aliasesNotSupported,
  invalid,
  invalidKeyId,
  keyNotFound,
  lockedOut,
  problem,
  refusal,
  refused,
} from './support/refusals.ts';
import { call, errorIn } from './support/wire.ts';

const nobody = unixUserArn('nobody');
const malformed = 'MalformedPolicyDocumentException';

describeDaemon('Key policies', (daemon) => {
  const policyOf = async (KeyId: string): Promise<string> =>
    present((await daemon().kms.getKeyPolicy({ KeyId, PolicyName: 'default' })).Policy);

  test('a policy is given back as it was put, in the layout of AWS', async () => {
    const { kms } = daemon();
    const { id, arn } = await newKey(kms);
    const document = `  {\r\n\t"Statement": [ ${JSON.stringify(rootMayAll)} ] ,\n "Id":"für ÿ","Version":"2012-10-17"}  `;
    await kms.putKeyPolicy({ KeyId: id, Policy: document });
    const laidOut = [
      '{',
      '  "Version" : "2012-10-17",',
      '  "Id" : "für ÿ",',
      '  "Statement" : [ {',
      '    "Effect" : "Allow",',
      '    "Principal" : {',
      `      "AWS" : ${JSON.stringify(rootArn)}`,
      '    },',
      '    "Action" : "kms:*",',
      '    "Resource" : "*"',
      '  } ]',
      '}',
    ].join('\n');
    for (const KeyId of [id, arn]) expect(await policyOf(KeyId)).toBe(laidOut);
  });

  test('the one policy is named default, whether the name is given or not', async () => {
    const { kms } = daemon();
    const { id } = await newKey(kms);
    await kms.putKeyPolicy({ KeyId: id, PolicyName: 'default', Policy: policy(rootMayAll) });
    for (const input of [{ KeyId: id }, { KeyId: id, PolicyName: 'default' }]) {
      const { Policy, PolicyName } = await kms.getKeyPolicy(input);
      expect(PolicyName).toBe('default');
      expect(JSON.parse(present(Policy))).toEqual(JSON.parse(policy(rootMayAll)));
    }
  });

  test('another policy name is refused', async () => {
    const { kms } = daemon();
    const { id } = await newKey(kms);
    expect(await refusal(kms.getKeyPolicy({ KeyId: id, PolicyName: 'second' }))).toEqual(
      refused('NotFoundException', 'No such policy exists'),
    );
    const told = await refusal(kms.putKeyPolicy({ KeyId: id, PolicyName: 'second', Policy: policy(rootMayAll) }));
    expect(told.name).toMatch(/^(UnsupportedOperation|NotFound|Validation)Exception$/);
    expect((await refusal(kms.getKeyPolicy({ KeyId: id, PolicyName: 'no spaces' }))).name).toBe('ValidationException');
  });

  test('PutKeyPolicy answers with an empty body', async () => {
    const { id } = await newKey(daemon().kms);
    const answer = await call(daemon().socket, 'PutKeyPolicy', { KeyId: id, Policy: policy(rootMayAll) });
    expect(answer.status).toBe(200);
    expect(['', '{}']).toContain(answer.body);
  });

  const statement = (changes: object) => ({ ...allow(nobody, 'kms:Encrypt'), ...changes });
  const without = (member: string) => {
    const copy: Record<string, unknown> = { ...allow(nobody, 'kms:Encrypt') };
    delete copy[member];
    return copy;
  };
  test.each<[string, string]>([
    ['text', 'let me in'],
    ['half of a document', policy(rootMayAll).slice(0, -1)],
    ['two documents', policy(rootMayAll).repeat(2)],
    ['null', 'null'],
    ['a list', '[]'],
    ['a string', '"policy"'],
    ['an empty object', '{}'],
    ['no statement', JSON.stringify({ Version: '2012-10-17' })],
    ['an empty list of statements', JSON.stringify({ Version: '2012-10-17', Statement: [] })],
    ['a statement that is a string', JSON.stringify({ Version: '2012-10-17', Statement: 'Allow' })],
    ['a statement that is null', JSON.stringify({ Version: '2012-10-17', Statement: [rootMayAll, null] })],
    ['a version that does not exist', JSON.stringify({ Version: '2024-01-01', Statement: [rootMayAll] })],
    ['a member that does not exist', JSON.stringify({ Version: '2012-10-17', Statement: [rootMayAll], Owner: 'me' })],
    ['a statement with a member that does not exist', policy(rootMayAll, statement({ Reason: 'because' }))],
    ['a statement without an effect', policy(rootMayAll, without('Effect'))],
    ['an effect in small letters', policy(rootMayAll, statement({ Effect: 'allow' }))],
    ['a statement without a principal', policy(rootMayAll, without('Principal'))],
    ['an empty principal', policy(rootMayAll, statement({ Principal: {} }))],
    ['a principal that is no ARN', policy(rootMayAll, statement({ Principal: { AWS: 'nobody' } }))],
    [
      'a principal with a wildcard in its name',
      policy(rootMayAll, statement({ Principal: { AWS: `${nobody.slice(0, -1)}*` } })),
    ],
    ['an action that is a number', policy(rootMayAll, statement({ Action: 7 }))],
    ['a resource that is an object', policy(rootMayAll, statement({ Resource: {} }))],
    [
      'a condition key that KMS does not have',
      policy(rootMayAll, statement({ Condition: { Bool: { 'kms:Owner': true } } })),
    ],
    ['an operator that there is not', policy(rootMayAll, statement({ Condition: { Equals: { 'kms:KeySpec': 'x' } } }))],
    ['NotPrincipal with Allow', policy(rootMayAll, { ...without('Principal'), NotPrincipal: { AWS: nobody } })],
    ['Action and NotAction', policy(rootMayAll, statement({ NotAction: 'kms:Decrypt' }))],
    ['one member twice', `{"Version":"2012-10-17","Statement":[${JSON.stringify(rootMayAll)}],"Statement":[]}`],
  ])('PutKeyPolicy refuses %s and keeps the policy that was in force', async (_, document) => {
    const { kms } = daemon();
    const { id } = await newKey(kms, policy(rootMayAll));
    const told = await refusal(kms.putKeyPolicy({ KeyId: id, Policy: document }));
    expect(told.name).toBe(malformed);
    expect(told.message.length).toBeGreaterThan(0);
    expect(JSON.parse(await policyOf(id))).toEqual(JSON.parse(policy(rootMayAll)));
  });

  test.each(['Action', 'Resource'])('a statement without %s is taken and has no effect', async (member) => {
    const { kms } = daemon();
    const { id } = await newKey(kms);
    const silent: Record<string, unknown> = { ...deny(rootArn, 'kms:*') };
    delete silent[member];
    await kms.putKeyPolicy({ KeyId: id, Policy: policy(rootMayAll, silent) });
    await kms.describeKey({ KeyId: id });
  });

  test.each([
    ['one statement that is no list', JSON.stringify({ Version: '2012-10-17', Statement: rootMayAll })],
    ['the older version', JSON.stringify({ Version: '2008-10-17', Statement: [rootMayAll] })],
    ['no version', JSON.stringify({ Statement: [rootMayAll] })],
    ['a Sid and an Id', JSON.stringify({ Version: '2012-10-17', Id: 'i', Statement: [{ Sid: 's 1', ...rootMayAll }] })],
    ['the account by its number', policy({ ...rootMayAll, Principal: { AWS: '000000000000' } })],
    ['everybody as a string', policy({ ...rootMayAll, Principal: '*' })],
    ['everybody as an AWS principal', policy({ ...rootMayAll, Principal: { AWS: '*' } })],
    ['lists of one', policy({ ...rootMayAll, Principal: { AWS: [rootArn] }, Action: ['kms:*'], Resource: ['*'] })],
    ['an action with wildcards', policy({ ...rootMayAll, Action: ['kms:Pu?Key*', 'kms:Get*'] })],
    ['actions in any case', policy({ ...rootMayAll, Action: ['KMS:putkeypolicy', 'kms:GETKEYPOLICY'] })],
  ])('PutKeyPolicy takes %s', async (_, document) => {
    const { kms } = daemon();
    const { id } = await newKey(kms);
    await kms.putKeyPolicy({ KeyId: id, Policy: document });
    expect(JSON.parse(await policyOf(id))).toEqual(JSON.parse(document));
  });

  test('characters beyond Latin-1 are refused', async () => {
    const { id } = await newKey(daemon().kms);
    const document = JSON.stringify({ Version: '2012-10-17', Statement: [{ Sid: '漢字', ...rootMayAll }] });
    const told = await refusal(daemon().kms.putKeyPolicy({ KeyId: id, Policy: document }));
    expect(told.name).toBe('ValidationException');
    expect(told.message).toMatch(
      / at 'policy' failed to satisfy constraint: Member must satisfy regular expression pattern: /,
    );
  });

  const padded = (bytes: number): string => policy(rootMayAll).padEnd(bytes, ' ');
  test('a policy of 32,768 bytes is kept', async () => {
    const { kms } = daemon();
    const { id } = await newKey(kms);
    await kms.putKeyPolicy({ KeyId: id, Policy: padded(32_768) });
    expect(JSON.parse(await policyOf(id))).toEqual(JSON.parse(padded(32_768)));
  });

  test.each([
    ['PutKeyPolicy', 32_769],
    ['PutKeyPolicy', 131_072],
    ['CreateKey', 32_769],
  ] as const)('%s refuses a policy of %i bytes as exceeding a limit', async (operation, bytes) => {
    const { kms, socket } = daemon();
    const { id } = await newKey(kms);
    const member = operation === 'CreateKey' ? {} : { KeyId: id };
    const answer = await call(socket, operation, { ...member, Policy: padded(bytes) });
    expect(answer.status).toBe(400);
    expect(errorIn(answer).name).toBe('LimitExceededException');
  });

  test('the size of a policy is counted in bytes, not in characters', async () => {
    const { id } = await newKey(daemon().kms);
    const document = JSON.stringify({ Version: '2012-10-17', Id: 'ÿ'.repeat(16_400), Statement: [rootMayAll] });
    const told = await refusal(daemon().kms.putKeyPolicy({ KeyId: id, Policy: document }));
    expect(told.name).toBe('LimitExceededException');
  });

  test('an empty and a missing policy are refused by name', async () => {
    const { kms, socket } = daemon();
    const { id } = await newKey(kms);
    const empty = errorIn(await call(socket, 'PutKeyPolicy', { KeyId: id, Policy: '' }));
    expect(empty.name).toBe('ValidationException');
    expect(empty.message).toContain(problem.tooShort('', 'policy', 1));
    expect(errorIn(await call(socket, 'PutKeyPolicy', { KeyId: id }))).toEqual(invalid(problem.missing('policy')));
  });

  test.each([
    ['allows nobody to change it', policy(allow(nobody, 'kms:*'))],
    ['allows the caller everything but to change it', policy(allow(rootArn, ['kms:Encrypt', 'kms:Get*']))],
    ['denies the caller', policy(rootMayAll, deny(rootArn, 'kms:PutKeyPolicy'))],
    ['denies everybody', policy(rootMayAll, deny('*', 'kms:*'))],
    ['speaks of another key alone', policy(allow(rootArn, 'kms:*', keyArn(unknownKeyId)))],
  ])('a policy that %s is refused, unless the safety check is bypassed', async (_, document) => {
    const { kms } = daemon();
    const { id, arn } = await newKey(kms);
    const before = await policyOf(id);
    expect(await refusal(kms.putKeyPolicy({ KeyId: id, Policy: document }))).toEqual(lockedOut);
    expect(
      await refusal(kms.putKeyPolicy({ KeyId: id, Policy: document, BypassPolicyLockoutSafetyCheck: false })),
    ).toEqual(lockedOut);
    expect(await policyOf(id)).toBe(before);

    await kms.putKeyPolicy({ KeyId: id, Policy: document, BypassPolicyLockoutSafetyCheck: true });
    const told = await refusal(kms.putKeyPolicy({ KeyId: id, Policy: policy(rootMayAll) }));
    expect(told).toEqual(
      accessDenied(rootArn, 'PutKeyPolicy', arn, document.includes('Deny') ? 'denied' : 'not-allowed'),
    );
  });

  test('bypassing the safety check does not bypass the syntax', async () => {
    const { id } = await newKey(daemon().kms);
    const told = await refusal(
      daemon().kms.putKeyPolicy({ KeyId: id, Policy: '{}', BypassPolicyLockoutSafetyCheck: true }),
    );
    expect(told.name).toBe(malformed);
  });

  test('a policy decides from the next request on', async () => {
    const { kms } = daemon();
    const { id, arn } = await newKey(kms);
    const Plaintext = Buffer.from('now or never');
    await kms.encrypt({ KeyId: id, Plaintext });
    await kms.putKeyPolicy({ KeyId: id, Policy: policy(rootMayAll, deny(rootArn, 'kms:Encrypt')) });
    expect(await refusal(kms.encrypt({ KeyId: id, Plaintext }))).toEqual(
      accessDenied(rootArn, 'Encrypt', arn, 'denied'),
    );
    await kms.putKeyPolicy({ KeyId: id, Policy: policy(rootMayAll) });
    await kms.encrypt({ KeyId: id, Plaintext });
  });

  test('many callers who put policies at once leave one of the acknowledged policies whole', async () => {
    const { kms } = daemon();
    const { id } = await newKey(kms);
    const documents = Array.from({ length: 24 }, (_, index) =>
      JSON.stringify({
        Version: '2012-10-17',
        Id: `writer-${index}-${'x'.repeat(index * 50)}`,
        Statement: [rootMayAll],
      }),
    );
    const outcomes = await Promise.allSettled(documents.map((Policy) => kms.putKeyPolicy({ KeyId: id, Policy })));
    const acknowledged = documents.filter((_, index) => outcomes[index]?.status === 'fulfilled');
    const kept = JSON.stringify(JSON.parse(await policyOf(id)));
    expect(acknowledged.map((each) => JSON.stringify(JSON.parse(each)))).toContain(kept);
    for (const outcome of outcomes) {
      // A policy that was judged by one that is no longer in force is not put; its author is told to look again.
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ name: 'KMSInvalidStateException' });
    }
  });

  test.each(['GetKeyPolicy', 'PutKeyPolicy', 'ListKeyPolicies'])(
    '%s takes key id and key ARN, and no alias',
    async (operation) => {
      const { kms, socket } = daemon();
      const { id } = await newKey(kms);
      const AliasName = `alias/of-${operation}`;
      await kms.createAlias({ AliasName, TargetKeyId: id });
      const told = async (KeyId: string) =>
        errorIn(await call(socket, operation, { KeyId, Policy: policy(rootMayAll) }));
      expect(await told(AliasName)).toEqual(aliasesNotSupported);
      expect(await told(aliasArn(AliasName))).toEqual(aliasesNotSupported);
      expect(await told(unknownKeyId)).toEqual(keyNotFound(keyArn(unknownKeyId)));
      expect(await told('not-a-key')).toEqual(invalidKeyId('not-a-key'));
    },
  );
});
