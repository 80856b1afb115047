import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { alice, allow, compile, keyArn, policy, refusalOf } from './policies.ts';

const statement = allow(alice, 'kms:Encrypt');
/** A document of one statement, of which some elements are others; `undefined` leaves one out. */
const having = (elements: object): string => policy({ ...statement, ...elements });
const variable = ['$', '{aws:username}'].join('');
const invalidPrincipals = 'Policy contains a statement with one or more invalid principals.';

describe('a document is taken', () => {
  test.each([
    ['in the version of 2012', JSON.stringify({ Version: '2012-10-17', Statement: [statement] })],
    ['in the version of 2008', JSON.stringify({ Version: '2008-10-17', Statement: [statement] })],
    ['without a version', JSON.stringify({ Statement: [statement] })],
    [
      'with an Id and a Sid of several words',
      JSON.stringify({ Id: 'my key', Statement: [{ Sid: 'a b', ...statement }] }),
    ],
    ['with one statement that stands without brackets', JSON.stringify({ Statement: statement })],
    ['with space around everything', ` \r\n\t${JSON.stringify({ Statement: [statement] }, null, '\t')}\n `],
    ['with escapes in its strings', policy(statement).replace('kms:Encrypt', '\\u006bms:\\u0045ncrypt')],
    [
      'with a variable in the version that has none',
      `{"Statement": ${JSON.stringify(allow(alice, 'kms:*', `arn:aws:kms:::${variable}`))}}`,
    ],
    ['of as many bytes as a request can have', policy(statement).padEnd(131_072)],
    [
      'naming every kind of principal that there can be',
      having({
        Principal: {
          AWS: [
            '*',
            '111122223333',
            'arn:aws:iam::111122223333:root',
            'arn:aws:iam::111122223333:user/division/sub/Bob=x,@y.z',
            'arn:aws:iam::111122223333:role/service-role/batch',
            'arn:aws:sts::111122223333:assumed-role/batch/session-1',
            'arn:aws:sts::111122223333:federated-user/eve',
          ],
          Service: 'ec2.amazonaws.com',
        },
      }),
    ],
  ])('%s', (_, document) => {
    expect(compile(document).statements).toHaveLength(1);
  });
});

describe('a document is refused, with the place and the reason:', () => {
  test.each([
    ['nothing', '', 'This policy contains invalid Json: line 1, column 1: expected a value.'],
    ['a word', 'policy', 'This policy contains invalid Json: line 1, column 1: expected a value.'],
    ['a list', '[]', 'Policy: it must be an object.'],
    ['a string', '"x"', 'Policy: it must be an object.'],
    ['null', 'null', 'Policy: it must be an object.'],
    ['no statement', '{}', 'Policy: the element Statement is missing.'],
    ['an empty list of statements', '{"Statement": []}', 'Statement: it must have at least one statement.'],
    ['a statement that is a string', '{"Statement": ["x"]}', 'Statement[0]: it must be an object.'],
    ['a statement that is null', '{"Statement": null}', 'Statement[0]: it must be an object.'],
    ['an empty statement', '{"Statement": [{}]}', 'Statement[0]: the element Effect is missing.'],
    [
      'a mistake in the second statement',
      policy(statement, { ...statement, Effect: 'allow' }),
      'Statement[1].Effect: it must be "Allow" or "Deny".',
    ],
    [
      'a version of the future',
      '{"Version": "2030-01-01", "Statement": []}',
      'Version: it must be "2012-10-17" or "2008-10-17".',
    ],
    [
      'a version that is null',
      '{"Version": null, "Statement": []}',
      'Version: it must be "2012-10-17" or "2008-10-17".',
    ],
    ['an Id that is a number', '{"Id": 1, "Statement": []}', 'Id: it must be a string.'],
    ['an Id that is null', '{"Id": null, "Statement": []}', 'Id: it must be a string.'],
    ['an unknown element', '{"Statements": []}', 'Policy: "Statements" is not an element of a policy.'],
    ['an element in the wrong case', '{"statement": []}', 'Policy: "statement" is not an element of a policy.'],
    ['__proto__', '{"__proto__": {"Statement": []}}', 'Policy: "__proto__" is not an element of a policy.'],
    [
      '__proto__ in a statement',
      policy(statement).replace('"Effect"', '"__proto__":{},"Effect"'),
      'Statement[0]: "__proto__" is not an element of a statement.',
    ],
    [
      'constructor in a statement',
      having({ constructor: 1 }),
      'Statement[0]: "constructor" is not an element of a statement.',
    ],
    ['toString in a statement', having({ toString: 1 }), 'Statement[0]: "toString" is not an element of a statement.'],
    ['a Sid that is a list', having({ Sid: [] }), 'Statement[0].Sid: it must be a string.'],
    ['a Sid that is null', having({ Sid: null }), 'Statement[0].Sid: it must be a string.'],
    ['no Effect', having({ Effect: undefined }), 'Statement[0]: the element Effect is missing.'],
    ['an Effect in lower case', having({ Effect: 'deny' }), 'Statement[0].Effect: it must be "Allow" or "Deny".'],
    ['an Effect that is null', having({ Effect: null }), 'Statement[0].Effect: it must be "Allow" or "Deny".'],
    ['no Principal', having({ Principal: undefined }), 'Statement[0]: the element Principal is missing.'],
    ...['Principal', 'Action', 'Resource'].map((name) => [
      `both ${name} and Not${name}`,
      having({ [`Not${name}`]: '*' }),
      `Statement[0]: it cannot have both ${name} and Not${name}.`,
    ]),
    [
      'NotPrincipal with Allow',
      having({ Principal: undefined, NotPrincipal: { AWS: alice } }),
      'Statement[0]: NotPrincipal can only be used with the effect Deny: with Allow it would let in everybody else.',
    ],
    [
      'a mistake in NotAction',
      having({ Action: undefined, NotAction: 'Decrypt' }),
      'Statement[0].NotAction: "Decrypt" is not an action such as "kms:Encrypt", "kms:*" or "*".',
    ],
    [
      'a mistake in NotResource',
      having({ Resource: undefined, NotResource: 'key' }),
      'Statement[0].NotResource: Resource "key" must be in ARN format or "*".',
    ],
    ['an Action that is empty', having({ Action: [] }), 'Statement[0].Action: it must have at least one value.'],
    [
      'an Action that is a number',
      having({ Action: 7 }),
      'Statement[0].Action: it must be a string or a list of strings.',
    ],
    [
      'an Action that is an object',
      having({ Action: {} }),
      'Statement[0].Action: it must be a string or a list of strings.',
    ],
    [
      'an Action among which is a list',
      having({ Action: ['kms:*', []] }),
      'Statement[0].Action[1]: it must be a string.',
    ],
    [
      'an Action without its service',
      having({ Action: 'Encrypt' }),
      'Statement[0].Action: "Encrypt" is not an action such as "kms:Encrypt", "kms:*" or "*".',
    ],
    [
      'an Action that is an empty string',
      having({ Action: '' }),
      'Statement[0].Action: "" is not an action such as "kms:Encrypt", "kms:*" or "*".',
    ],
    [
      'an Action with a space',
      having({ Action: 'kms:Encrypt ' }),
      'Statement[0].Action: "kms:Encrypt " is not an action such as "kms:Encrypt", "kms:*" or "*".',
    ],
    ['a Resource that is empty', having({ Resource: [] }), 'Statement[0].Resource: it must have at least one value.'],
    [
      'a Resource that is true',
      having({ Resource: true }),
      'Statement[0].Resource: it must be a string or a list of strings.',
    ],
    [
      'a Resource that is a key id',
      having({ Resource: '1234abcd' }),
      'Statement[0].Resource: Resource "1234abcd" must be in ARN format or "*".',
    ],
    [
      'a Resource that is long and no ARN, which is not repeated in full',
      having({ Resource: 'x'.repeat(30_000) }),
      `Statement[0].Resource: Resource "${'x'.repeat(100)}…" must be in ARN format or "*".`,
    ],
    [
      'a Principal that is an ARN',
      having({ Principal: alice }),
      'Statement[0].Principal: it must be "*" or an object such as {"AWS": "…"}.',
    ],
    ['a Principal that is a list', having({ Principal: ['*'] }), 'Statement[0].Principal: it must be an object.'],
    ['a Principal that is null', having({ Principal: null }), 'Statement[0].Principal: it must be an object.'],
    [
      'a Principal that is empty',
      having({ Principal: {} }),
      'Statement[0].Principal: it must name at least one principal.',
    ],
    [
      'no AWS principal in the list',
      having({ Principal: { AWS: [] } }),
      'Statement[0].Principal.AWS: it must have at least one value.',
    ],
    [
      'a kind of principal that is not evaluated',
      having({ Principal: { Federated: 'cognito-identity.amazonaws.com' } }),
      'Statement[0].Principal: "Federated" is not a kind of principal that a policy can name here.',
    ],
    ...[
      'arn:aws:iam::000000000000:user/*',
      'arn:aws:iam::000000000000:user/unix/al?ce',
      'arn:aws:iam::000000000000:user/*/alice',
      'arn:aws:iam::*:root',
      'arn:aws:iam::000000000000:group/admins',
      'arn:aws:iam::000000000000:user/',
      'arn:aws:iam::000000000000:root/x',
      'arn:aws:iam::0000:root',
      'arn:aws-cn:iam::000000000000:root',
      'arn:aws:sts::000000000000:assumed-role/batch',
      ' arn:aws:iam::000000000000:root',
      'AIDAEXAMPLEUNIQUEID',
      '12345678901',
      'alice',
      '',
    ].map((name) => [
      `the AWS principal ${JSON.stringify(name)}`,
      having({ Principal: { AWS: ['*', name] } }),
      `Statement[0].Principal.AWS: ${invalidPrincipals}`,
    ]),
    [
      'the service principal "*"',
      having({ Principal: { Service: '*' } }),
      `Statement[0].Principal.Service: ${invalidPrincipals}`,
    ],
    [
      'one byte more than 131,072',
      policy(statement).padEnd(131_073),
      'Policy: it must not be larger than 131072 bytes.',
    ],
    [
      '131,072 characters that are more bytes',
      policy({ Sid: 'é', ...statement }).padEnd(131_072),
      'Policy: it must not be larger than 131072 bytes.',
    ],
  ])('%s', (_, document, message) => {
    expect(refusalOf(document ?? '')).toBe(message);
  });
});

describe('whatever the text, the document is taken or refused as malformed:', () => {
  const outcome = (text: string): void => {
    try {
      compile(text);
    } catch (error) {
      expect(error).toMatchObject({ name: 'MalformedPolicyDocumentException' });
    }
  };

  test('any text', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), outcome));
  });

  test('any JSON', () => {
    fc.assert(fc.property(fc.json({ maxDepth: 20 }), outcome));
  });

  test('any JSON in the shape of a policy', () => {
    const value = fc.jsonValue({ maxDepth: 3 });
    const elements = fc.dictionary(
      fc.constantFrom('Sid', 'Effect', 'Principal', 'Action', 'Resource', 'Condition', 'NotAction', '__proto__'),
      fc.oneof(value, fc.constantFrom('Allow', 'Deny', '*', 'kms:*', { AWS: alice }, { AWS: [] }, keyArn)),
    );
    fc.assert(
      fc.property(fc.array(elements, { maxLength: 3 }), (statements) => outcome(policy(...statements))),
      { numRuns: 1000 },
    );
  });

  test('a valid document with one character changed, cut or doubled', () => {
    const document = policy(statement);
    fc.assert(
      fc.property(fc.nat(document.length - 1), fc.string({ minLength: 0, maxLength: 2 }), (at, replacement) =>
        outcome(document.slice(0, at) + replacement + document.slice(at + 1)),
      ),
      { numRuns: 1000 },
    );
  });

  test.each([
    ['a hundred megabytes', ' '.repeat(100 * 1024 * 1024)],
    ['brackets that never close', '['.repeat(32_768)],
    ['objects in objects', '{"a":'.repeat(6000)],
    ['a string that never ends', `"${'\\\\'.repeat(16_000)}`],
    ['a string of quotes', '"'.repeat(32_768)],
    ['a number of 32,000 digits', `{"Version": ${'1'.repeat(32_000)}}`],
    ['ten thousand members', `{${Array.from({ length: 4000 }, (_, index) => `"${index}":1`).join()}}`],
  ])('%s', (_, text) => {
    outcome(text);
  });

  test.each([
    ['spaces after its name', `$${'{aws:username'}${' '.repeat(30_000)}`],
    ['spaces on both sides of its comma', `$${'{aws:username'}${' '.repeat(15_000)},${' '.repeat(15_000)}`],
    ['beginnings of others in it', `$${'{a'}`.repeat(10_000)],
  ])('a policy variable with many %s, a hundred times', (_, text) => {
    const document = policy({ ...allow(alice, 'kms:*'), Condition: { StringEquals: { 'aws:username': text } } });
    for (let time = 0; time < 100; time++) outcome(document);
  });
});
