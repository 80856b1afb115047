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

test('of one key it is said as of one', () => {
  const told = (progress: object) =>
    rewrappingText({
      name: 'annex',
      domainKeys: [
        { state: 'Active', backingKeys: 1 },
        { state: 'Active', backingKeys: 5 },
      ],
      rewrapping: { rewrapped: 1, because: null, waiting: null, ...progress },
    });
  const head = 'the key store `annex`: 1 backing key is wrapped under former domain keys';
  expect(told({ waiting: { backingKeys: 1, because: 'another HSM is away' } })).toBe(
    `${head}; 1 was wrapped anew since the daemon started; 1 waits, and is tried again by itself: another HSM is away`,
  );
  expect(told({ because: 'the token lets no key out' })).toBe(`${head}, and stays there: the token lets no key out`);
});
