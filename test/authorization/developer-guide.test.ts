/**
 * The example policies of the AWS KMS developer guide, statement by statement: each applies to the request that its page
 * describes, and not to one that differs from it in one thing (`test/vectors/README.md` says where they come from).
 *
 * An `Allow` has to allow and to let through nothing else; a `Deny`, beside a statement that allows everything, has to
 * refuse and to leave everything else allowed.
 */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { decide } from '../../src/authorization/decide.ts';
import { defaultKeyPolicy } from '../../src/authorization/default-key-policy.ts';
import type { CompiledPolicy } from '../../src/authorization/language/compiled-policy.ts';
import type { ConditionKey } from '../../src/authorization/language/condition-vocabulary.ts';
import { compileIdentityPolicy, parsePolicyDocument } from '../../src/authorization/language/policy-document.ts';
import { parsePolicyJson } from '../../src/authorization/language/policy-json.ts';
import { unbounded } from '../../src/authorization/language/work-budget.ts';
import type { Realm } from '../../src/kms/names.ts';
import { conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';
import { principal } from './policies.ts';

interface Request {
  readonly principal: string;
  readonly role?: string | null;
  readonly action: string;
  readonly resource: string;
  readonly context: Readonly<Record<string, readonly string[] | null>>;
}

interface Example {
  /** The page, and the line at which the example begins. */
  readonly source: string;
  readonly version?: string;
  readonly kind: 'key policy' | 'identity policy';
  readonly account: string;
  readonly statement: { readonly Effect: 'Allow' | 'Deny' };
  /** Absent where no caller of this daemon can be meant. */
  readonly applies?: Request;
  /** What is different from the request above, or a whole one. */
  readonly doesNotApply: readonly (Partial<Request> & { readonly why: string; readonly set?: Request['context'] })[];
}

const file = new URL('../vectors/kms-developer-guide/policies.jsonl', import.meta.url);
const examples = readFileSync(file, 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line) as Example);
const members = new Set(['source', 'version', 'kind', 'account', 'statement', 'applies', 'doesNotApply']);

function isAllowed({ kind, version, account, statement }: Example, request: Request): boolean {
  const realm: Realm = { region: 'us-west-2', account };
  const isDeny = statement.Effect === 'Deny';
  const everything = { Effect: 'Allow', Action: 'kms:*', Resource: '*' };
  const ofKey = { ...everything, Principal: '*' };
  const document = (allowAll: object): string =>
    JSON.stringify({
      ...(version === undefined ? {} : { Version: version }),
      Statement: isDeny ? [statement, allowAll] : [statement],
    });
  const isKey = request.resource.includes(':key/');
  const identityPolicies: CompiledPolicy[] =
    kind === 'key policy'
      ? []
      : [compileIdentityPolicy(parsePolicyJson(document(everything)), 'example.json', realm, conditionVocabulary)];
  const keyPolicy = kind === 'key policy' ? document(ofKey) : isKey ? defaultKeyPolicy(realm) : undefined;
  const values = new Map(Object.entries(request.context).map(([name, value]) => [name.toLowerCase(), value]));
  return decide({
    principal: principal(request.principal),
    role: request.role ? principal(request.role) : undefined,
    accountId: account,
    action: request.action,
    resource: request.resource,
    keyPolicy: keyPolicy === undefined ? undefined : parsePolicyDocument(keyPolicy, realm, conditionVocabulary),
    identityPolicies,
    context: {
      ...unbounded,
      valuesOf: ({ name, parameter }: ConditionKey) =>
        [':', '/', '']
          .map((separator) =>
            values.get(`${name}${parameter === undefined ? '' : separator + parameter}`.toLowerCase()),
          )
          .find((found) => found !== undefined) ?? undefined,
    },
  }).allowed;
}

describe.each(examples.map((example) => [example.source, example] as const))('the example at %s', (_, example) => {
  const { applies, doesNotApply, statement } = example;
  const whenApplied = statement.Effect === 'Allow';

  test('has no member that this test does not know', () => {
    expect(Object.keys(example).filter((name) => !members.has(name))).toEqual([]);
  });

  test.each(applies === undefined ? [] : [applies])(`${whenApplied ? 'allows' : 'denies'} $action`, (request) => {
    expect(isAllowed(example, request)).toBe(whenApplied);
  });

  test.each(doesNotApply.map((other) => [other.why, other] as const))('does not apply: %s', (_why, other) => {
    const { set, why, ...rest } = other;
    // Safe: where there is no request to differ from, the other one is whole.
    const request = { ...applies, ...rest, context: { ...applies?.context, ...rest.context, ...set } } as Request;
    expect(isAllowed(example, request)).toBe(!whenApplied);
  });
});

test('there are examples of every page that has any', () => {
  expect(examples.length).toBe(143);
  expect(new Set(examples.map(({ source }) => source.split(':')[0])).size).toBe(29);
});
