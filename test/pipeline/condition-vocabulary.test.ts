/** The names of condition keys, as policies write them. */

import { expect, test } from 'vitest';
import { conditionKeys, conditionVocabulary } from '../../src/pipeline/condition-key-table.ts';

test('no name is there twice, in any case', () => {
  expect(new Set(conditionKeys.map(({ name }) => name.toLowerCase())).size).toBe(conditionKeys.length);
});

test.each([
  ['kms:keyspec', 'kms:KeySpec', undefined],
  ['KMS:EncryptionContext:aws:s3:arn', 'kms:EncryptionContext', 'aws:s3:arn'],
  ['aws:ResourceTag/Cost/Center', 'aws:ResourceTag', 'Cost/Center'],
  ['kms:RecipientAttestation:PCR1', 'kms:RecipientAttestation', 'PCR1'],
])('%s is the key %s with the parameter %s', (text, name, parameter) => {
  const key = conditionVocabulary(text);
  expect({ name: key?.name, parameter: key?.parameter }).toEqual({ name, parameter });
});

test.each(['kms:EncryptionContext', 'kms:EncryptionContext/a', 'kms:KeySpec:x', 'aws:ResourceTag:x', 'kms:', 'x', ''])(
  '%j is no key',
  (name) => {
    expect(conditionVocabulary(name)).toBeUndefined();
  },
);
