import { expect, test } from 'vitest';
import type { KeyState } from '../../src/operations/keys/key-metadata.ts';
import { assertEnabled } from '../../src/pipeline/key-state.ts';

const arn = 'arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab';

test('a key that is enabled can be used', () => {
  expect(() => assertEnabled(arn, 'Enabled')).not.toThrow();
});

test.each<[KeyState, string, string]>([
  ['Disabled', 'DisabledException', `${arn} is disabled.`],
  ['PendingDeletion', 'KMSInvalidStateException', `${arn} is pending deletion.`],
  ['PendingImport', 'KMSInvalidStateException', `${arn} is pending import.`],
  ['Unavailable', 'KMSInvalidStateException', `${arn} is unavailable.`],
])('a key in the state %s is refused with %s and in the words of AWS', (state, name, message) => {
  expect(() => assertEnabled(arn, state)).toThrow(expect.objectContaining({ name, message }));
});
