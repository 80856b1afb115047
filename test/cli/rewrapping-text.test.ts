import { expect, test } from 'vitest';
import { rewrappingText } from '../../src/cli/requests/rewrapping-text.ts';

test('of keys that wait to be wrapped anew it is said how many do, and for what', () => {
  const keys = [
    { state: 'Active', backingKeys: 3 },
    { state: 'Active', backingKeys: 5 },
  ];
  const told = (waiting: object | null) =>
    rewrappingText({ name: 'annex', domainKeys: keys, rewrapping: { rewrapped: 5, because: null, waiting } });
  const head =
    'the key store `annex`: 3 backing keys are wrapped under former domain keys; 5 were wrapped anew since the daemon started';
  expect(told(null)).toBe(head);
  expect(told({ backingKeys: 2, because: 'another HSM is away' })).toBe(
    `${head}; 2 wait, and are tried again by themselves: another HSM is away`,
  );
});
