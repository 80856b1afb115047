import { expect, test } from 'vitest';
import { whatFrees } from '../../src/cli/commands/domain/retired-keys.ts';

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
  const freed = (rewrapping: 'coming' | 'failed' | 'never') => whatFrees({ ...key, ...members, rewrapping });
  expect(freed('never')).toBe(said);
  expect(freed('coming')).toBe('nothing to do: it is wrapped anew in the background');
  expect(freed('failed')).toBe(
    `mend what keeps it from being wrapped anew (the log says what): it is tried again by itself; or ${said}`,
  );
});
