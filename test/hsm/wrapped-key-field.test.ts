import fc from 'fast-check';
import { expect, test } from 'vitest';
import { keptName, parseWrappedKeyField, wrappedKeyField } from '../../src/hsm/wrapped-key.ts';
import { keySpecNames } from '../../src/kms/key-specs.ts';
import { newBackingKeyId } from '../../src/kms/names.ts';

const bytes = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength, size: 'max' }).map((array) => Buffer.from(array));
const outlines = fc.record({
  domainKeyId: fc.constant(newBackingKeyId()),
  keySpec: fc.constantFrom(...keySpecNames),
  keyUsage: fc.constantFrom('ENCRYPT_DECRYPT', 'SIGN_VERIFY', 'GENERATE_VERIFY_MAC'),
  publicKey: fc.option(bytes(1, 600)),
  blob: bytes(1, 3000),
});

test('a field says what the key was that it was made of', () => {
  const id = newBackingKeyId();
  fc.assert(
    fc.property(outlines, (outline) => {
      const field = wrappedKeyField(id, outline);
      const { domainKeyId, publicKey, ...rest } = outline;
      expect(parseWrappedKeyField(field)).toEqual({
        domainKeyId: Buffer.from(domainKeyId, 'hex'),
        publicKey: publicKey ?? Buffer.alloc(0),
        ...rest,
      });
      expect(keptName(field)).toBe(Buffer.from(id, 'hex').toString('latin1'));
    }),
  );
});

test('bytes that are no such field say nothing, or have a blob that is within them', () => {
  fc.assert(
    fc.property(outlines, fc.nat(), bytes(0, 80), (outline, cutAt, others) => {
      const field = wrappedKeyField(newBackingKeyId(), outline);
      const withoutBlob = field.length - outline.blob.length;
      expect(parseWrappedKeyField(field.subarray(0, cutAt % (withoutBlob + 1)))).toBeUndefined();
      const parsed = parseWrappedKeyField(others);
      if (parsed !== undefined) expect(parsed.blob).toEqual(others.subarray(-parsed.blob.length));
    }),
  );
});
