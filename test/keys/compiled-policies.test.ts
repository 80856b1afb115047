import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { decide } from '../../src/authorization/decide.ts';
import { type ConditionValues, noContext } from '../../src/authorization/language/condition-vocabulary.ts';
import { unbounded } from '../../src/authorization/language/work-budget.ts';
import { CompiledPolicies, type KeptPolicy } from '../../src/keys/compiled-policies.ts';
import { operationNames } from '../../src/kms/operation-names.ts';
import { alice, allow, bob, compile, deny, keyArn, policy, realm } from '../authorization/policies.ts';

const maxBytes = 4 * 1024 * 1024;
const documentOf = (number: number) => policy(allow(alice, `kms:Number${number}`));

test('Keys with the same document share one compiled policy, and those with others have their own', () => {
  const policies = new CompiledPolicies(compile, maxBytes);
  const [ours, theirs] = [policy(allow(alice, 'kms:*')), policy(allow(bob, 'kms:*'))];
  const kept = policies.get(ours);
  expect(policies.get(`${ours}`)).toBe(kept);
  expect(policies.get(theirs)).not.toBe(kept);
  expect(policies.get(theirs).statements[0]?.principals.named).toEqual(new Set([bob]));
  // The same meaning in another spelling is another document.
  expect(policies.get(`${ours} `)).not.toBe(kept);
});

test('A document that is no policy is refused each time', () => {
  const policies = new CompiledPolicies(compile, maxBytes);
  for (let times = 0; times < 2; times++) {
    expect(() => policies.get('{}')).toThrow(expect.objectContaining({ name: 'MalformedPolicyDocumentException' }));
  }
});

test('The policy that is asked again and again stays compiled, and the others are compiled anew when they had to make room', () => {
  let compilations = 0;
  const policies = new CompiledPolicies((document) => {
    compilations++;
    return compile(document);
  }, maxBytes);
  const often = policies.get(documentOf(0));
  const others = Array.from({ length: 1000 }, (_, index) => policies.get(documentOf(index + 1)));
  expect(compilations).toBe(1001);
  for (const other of others) {
    expect(often.statements).toHaveLength(1);
    expect(isAllowed(other, 'kms:Number0')).toBe(false);
  }
  // All but the first few hundred had to be compiled again, and `often` at most once.
  const before = compilations;
  for (const other of others.slice(-100)) expect(other.statements).toHaveLength(1);
  expect(often.statements).toHaveLength(1);
  expect(compilations).toBe(before);
  expect(policies.bytes).toBeLessThanOrEqual(maxBytes);
});

test('The compiled policy of a key that is in memory no more takes no memory, unless other keys have it too', () => {
  const policies = new CompiledPolicies(compile, maxBytes);
  const shared = policies.get(documentOf(0));
  expect(policies.get(documentOf(0))).toBe(shared);
  const before = policies.bytes;
  const own = policies.get(documentOf(1));
  expect(policies.bytes).toBeGreaterThan(before);
  for (const policy of [own, shared, undefined]) policies.left(policy);
  expect(policies.bytes).toBe(before);
  // Whoever holds it still, goes on with it.
  expect(own.statements).toHaveLength(1);
});

test('A compiled policy that nobody holds is collected with what is young, as all that requests leave is', () => {
  // As a daemon runs (`cli/daemon-process.ts`): else V8 may have learned meanwhile to make some of it old at once.
  setFlagsFromString('--no-allocation-site-pretenuring');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options?: { readonly type: 'minor' }) => void;
  const documents = Array.from({ length: 500 }, (_, index) => documentOf(index));
  const compileAll = () => {
    for (const document of documents) compile(document);
  };
  compileAll();
  collect();
  // What V8 makes of the code meanwhile is in the memory too, and is made once.
  const grown = Array.from({ length: 3 }, () => {
    const before = process.memoryUsage().heapUsed;
    compileAll();
    collect({ type: 'minor' });
    collect({ type: 'minor' });
    return (process.memoryUsage().heapUsed - before) / documents.length;
  });
  expect(Math.min(...grown)).toBeLessThan(1000);
});

function isAllowed(keyPolicy: KeptPolicy, action: string, context: ConditionValues = noContext): boolean {
  return decide({
    ...{
      principal: alice,
      accountId: realm.account,
      action,
      resource: keyArn,
      keyPolicy,
      identityPolicies: [],
      context,
    },
  }).allowed;
}

/** The longest documents of the dearest kinds; every key has its own. */
const dear = (kind: number, number: number): string => {
  const rest = allow(alice, 'kms:Encrypt');
  const texts = (make: (index: number) => string): string[] =>
    Array.from({ length: Math.floor(32_000 / (make(99_999).length + 3)) }, (_, index) => make(index));
  const like = (texts: readonly string[]) => ({
    ...deny(bob, '*'),
    Condition: { StringLike: { 'aws:UserAgent': texts } },
  });
  const statements: readonly object[] =
    [
      Array.from({ length: 500 }, () => ({ Effect: 'Deny', Principal: '*', NotAction: '*', Resource: '*' })),
      [
        {
          ...deny(
            texts((index) => `arn:aws:iam::000000000000:user/${index}`),
            'kms:Sign',
          ),
          Sid: 'names',
        },
      ],
      [like(texts((index) => `*${index.toString(36)}*`))],
      [like(texts((index) => `?${index.toString(36)}`))],
      [like(['?a'.repeat(15_900)])],
      [{ ...deny(bob, '*'), Condition: { ArnLike: { 'aws:PrincipalArn': texts((i) => `:::::${i.toString(36)}*`) } } }],
      Array.from({ length: 220 }, (_, index) => ({
        ...deny('*', `kms:${operationNames[index % operationNames.length]}`),
        Condition: { StringEquals: { 'aws:userid': [`${index}`, `x${index}`] } },
      })),
    ][kind] ?? [];
  return JSON.stringify({ Version: '2012-10-17', Id: `${number}`, Statement: [rest, ...statements] });
};
const kinds = 7;

/** What `make` leaves on the heap while what it gives is held. */
function heldBytes(make: () => unknown): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  const before = process.memoryUsage().heapUsed;
  const held = make();
  collect();
  const after = process.memoryUsage().heapUsed;
  // Held until here.
  if (held === undefined) throw new TypeError('nothing was made');
  return after - before;
}

const askAll = (policy: KeptPolicy): void => {
  for (const name of operationNames) isAllowed(policy, `kms:${name}`, { ...unbounded, valuesOf: () => ['?a?a1'] });
};

test.each(Array.from({ length: kinds }, (_, kind) => kind))(
  'What a policy of kind %d is said to take is no less than what it takes on the heap, also after it was asked everything',
  (kind) => {
    const documents = Array.from({ length: 3 }, (_, index) => dear(kind, index));
    expect(Math.max(...documents.map((document) => Buffer.byteLength(document)))).toBeLessThanOrEqual(32_768);
    const policies = () => new CompiledPolicies(compile, 1024 ** 3);
    const kept = policies();
    const keep = (from: CompiledPolicies) =>
      documents.map((document) => {
        const policy = from.get(document);
        askAll(policy);
        return policy;
      });
    // What V8 compiles meanwhile is on the heap as well: the least of several.
    const bytes = Math.min(...[policies(), policies(), kept].map((from) => heldBytes(() => keep(from))));
    expect(kept.bytes).toBeGreaterThan(bytes);
  },
);

test('The compiled policies of 300 keys with the longest documents stay within the budget, and those that made room decide as before', () => {
  const policies = new CompiledPolicies(compile, 16 * 1024 * 1024);
  const keys: KeptPolicy[] = [];
  const bytes = heldBytes(() => {
    for (let index = 0; index < 300; index++) {
      const key = policies.get(dear(index % kinds, index));
      keys.push(key);
      for (const name of ['Encrypt', 'Decrypt', 'Sign']) isAllowed(key, `kms:${name}`);
    }
    return keys;
  });
  expect(policies.bytes).toBeLessThanOrEqual(16 * 1024 * 1024);
  // The documents, and what is compiled.
  expect(bytes).toBeLessThan(300 * 33_000 + 16 * 1024 * 1024);
  for (const key of keys.slice(0, 2 * kinds)) {
    expect([isAllowed(key, 'kms:Encrypt'), isAllowed(key, 'kms:Decrypt')]).toEqual([true, false]);
  }
});
