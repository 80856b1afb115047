import { expect, test } from 'vitest';
import { heldLines, whatFrees } from '../../src/cli/commands/domain/retired-keys.ts';

const key = { keyId: '1234abcd-12ab-34cd-56ef-1234567890ab', imported: false, keyUsage: 'ENCRYPT_DECRYPT' };
const ofRegions = { keyId: 'mrk-1234abcd12ab34cd56ef1234567890ab' };
const signing = { keyUsage: 'SIGN_VERIFY' };

test.each([
  [
    'a key that encrypts',
    {},
    'keys move --residency token; or ReEncrypt under another key what it has encrypted, and delete it',
  ],
  ['a key that encrypts nothing', signing, 'keys move --residency token; or delete it'],
  ['imported material', { imported: true }, 'keys move --residency token; or keys delete-material and keys import'],
  ['a multi-Region key', { ...ofRegions, ...signing }, 'delete it'],
  [
    'a multi-Region key with imported material',
    { ...ofRegions, imported: true },
    'keys delete-material and keys import',
  ],
])('what is said to free a former domain key of %s is what can be done with that', (_, members, said) => {
  const freed = (rewrapping: 'failed' | 'never') => whatFrees({ ...key, ...members, rewrapping });
  expect(freed('never')).toBe(said);
  expect(freed('failed')).toBe(
    `mend what keeps it from being wrapped anew (the log says what): it is tried again by itself; or ${said}`,
  );
});

test('keys that are wrapped anew by themselves are counted, and the others are named', () => {
  const held = (keyId: string, rewrapping: 'coming' | 'never') =>
    ({ ...key, region: 'eu-central-1', backingKeys: 2, keyId, rewrapping }) as const;
  const coming = ['one', 'two', 'three'].map((keyId) => held(keyId, 'coming'));
  expect(heldLines(6, coming)).toEqual(['nothing to do: 6 backing keys are wrapped anew in the background']);
  const [named, ...counted] = heldLines(9, [...coming, held('four', 'never')]);
  expect(named?.split('\n').map((line) => line.split(' ')[0])).toEqual(['REGION', 'eu-central-1']);
  expect(named).toContain('four');
  expect(counted).toEqual([
    'for others there is nothing to do: 6 backing keys are wrapped anew in the background',
    'and 1 more',
  ]);
});
