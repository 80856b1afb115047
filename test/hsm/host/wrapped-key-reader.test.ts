/** What the host reads of the field of a wrapped key is what is in that field, whatever it has read before. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { WrappedKeyReader } from '../../../src/hsm/host/token/wrapped-key-reader.ts';
import { parseWrappedKeyField, wrappedKeyField } from '../../../src/hsm/wrapped-key.ts';
import { newBackingKeyId } from '../../../src/kms/names.ts';

const bytes = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength, size: 'max' }).map((array) => Buffer.from(array));
/** Few of each, so that heads return, and differ in one thing. */
const fields = fc
  .record({
    domainKeyId: fc.constantFrom(newBackingKeyId(), newBackingKeyId()),
    keySpec: fc.constantFrom('SYMMETRIC_DEFAULT', 'HMAC_256', 'HMAC_384'),
    keyUsage: fc.constantFrom('ENCRYPT_DECRYPT', 'GENERATE_VERIFY_MAC'),
    publicKey: fc.option(bytes(1, 40)),
    blob: bytes(1, 60),
  })
  .map((outline) => wrappedKeyField(newBackingKeyId(), outline));
const cutFields = fc.tuple(fields, fc.nat()).map(([field, at]) => field.subarray(0, at % field.length));

function readAlone(field: Buffer) {
  const parsed = parseWrappedKeyField(field);
  return parsed && { ...parsed, domainKeyName: parsed.domainKeyId.toString('latin1') };
}

test('each of many fields says what it says alone', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fields, cutFields), { minLength: 2, maxLength: 30 }), (many) => {
      const reader = new WrappedKeyReader();
      for (const field of many) expect(reader.read(field)).toEqual(readAlone(field));
    }),
  );
});

test('a field with the head of the one before and no blob says nothing', () => {
  const outline = {
    domainKeyId: newBackingKeyId(),
    keySpec: 'SYMMETRIC_DEFAULT',
    keyUsage: 'ENCRYPT_DECRYPT',
  } as const;
  const field = wrappedKeyField(newBackingKeyId(), { ...outline, publicKey: null, blob: Buffer.from([1]) });
  const reader = new WrappedKeyReader();
  expect(reader.read(field)?.blob).toEqual(Buffer.from([1]));
  expect(reader.read(field.subarray(0, -1))).toBeUndefined();
});

test('what was read outlives the memory that the field was in', () => {
  const domainKeyId = newBackingKeyId();
  const outline = { domainKeyId, keySpec: 'HMAC_256', keyUsage: 'GENERATE_VERIFY_MAC', publicKey: null } as const;
  const field = wrappedKeyField(newBackingKeyId(), { ...outline, blob: Buffer.from([1, 2]) });
  const passing = Buffer.from(field);
  const reader = new WrappedKeyReader();
  reader.read(passing);
  passing.fill(0);
  expect(reader.read(field)).toEqual(readAlone(field));
});
