import { expect, test } from 'vitest';
import { CompiledPolicies } from '../../src/keys/compiled-policies.ts';
import { alice, allow, bob, compile, policy } from '../authorization/policies.ts';

const documentOf = (number: number) => policy(allow(alice, `kms:Number${number}`));

test('Keys with the same document share one compiled policy, and those with others have their own', () => {
  const policies = new CompiledPolicies(compile);
  const [ours, theirs] = [policy(allow(alice, 'kms:*')), policy(allow(bob, 'kms:*'))];
  const compiled = policies.get(ours);
  expect(policies.get(`${ours}`)).toBe(compiled);
  expect(policies.get(theirs)).not.toBe(compiled);
  expect(policies.get(theirs).statements[0]?.principals.named).toEqual(new Set([bob]));
  // The same meaning in another spelling is another document.
  expect(policies.get(`${ours} `)).not.toBe(compiled);
});

test('A document that is no policy is refused each time', () => {
  const policies = new CompiledPolicies(compile);
  for (let times = 0; times < 2; times++) {
    expect(() => policies.get('{}')).toThrow(expect.objectContaining({ name: 'MalformedPolicyDocumentException' }));
  }
});

test('The policy that is asked for again and again is remembered, and of the others no more than the last', () => {
  let compilations = 0;
  const policies = new CompiledPolicies((document) => {
    compilations++;
    return compile(document);
  });
  for (let number = 1; number <= 1000; number++) {
    policies.get(documentOf(0));
    policies.get(documentOf(number));
  }
  expect(compilations).toBe(1001);
  policies.get(documentOf(1000));
  expect(compilations).toBe(1001);
  policies.get(documentOf(1));
  expect(compilations).toBe(1002);
});
