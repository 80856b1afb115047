import fc from 'fast-check';
import { expect, test } from 'vitest';
import { layOutPolicy } from '../../src/authorization/language/policy-layout.ts';

test('a policy has the layout in which AWS KMS gives policies back', () => {
  const document =
    '{"Statement":[{"Resource":"*","Action":["kms:Encrypt","kms:Decrypt"],"Principal":{"AWS":"*"},"Effect":"Deny","Sid":"s",' +
    '"Condition":{"Bool":{"aws:SecureTransport":false},"NumericLessThan":{"kms:ScheduleKeyDeletionPendingWindowInDays":[7,1e2]}}},' +
    '{"Effect":"Allow","Condition":{},"NotAction":[]}],"Version":"2012-10-17"}';
  expect(layOutPolicy(document)).toBe(
    [
      '{',
      '  "Version" : "2012-10-17",',
      '  "Statement" : [ {',
      '    "Sid" : "s",',
      '    "Effect" : "Deny",',
      '    "Principal" : {',
      '      "AWS" : "*"',
      '    },',
      '    "Resource" : "*",',
      '    "Action" : [ "kms:Encrypt", "kms:Decrypt" ],',
      '    "Condition" : {',
      '      "Bool" : {',
      '        "aws:SecureTransport" : false',
      '      },',
      '      "NumericLessThan" : {',
      '        "kms:ScheduleKeyDeletionPendingWindowInDays" : [ 7, 1e2 ]',
      '      }',
      '    }',
      '  }, {',
      '    "Effect" : "Allow",',
      '    "Condition" : { },',
      '    "NotAction" : [ ]',
      '  } ]',
      '}',
    ].join('\n'),
  );
});

test('whatever the JSON, it is the same JSON, and laying it out again changes nothing', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
      const document = JSON.stringify(value);
      const laidOut = layOutPolicy(document);
      expect(JSON.parse(laidOut)).toEqual(JSON.parse(document));
      expect(layOutPolicy(laidOut)).toBe(laidOut);
    }),
  );
});

test('a number is given back as it was written, however many digits it has', () => {
  expect(layOutPolicy('{"n":12345678901234567890.10}')).toBe('{\n  "n" : 12345678901234567890.10\n}');
});
