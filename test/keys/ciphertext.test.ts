import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  additionalAuthenticatedData,
  encodeCiphertext,
  encodeEncryptionContext,
  overheadBytes,
  parseCiphertext,
} from '../../src/keys/use/ciphertext.ts';
import { digitsOfKeyId, parseBackingKeyId, parseKeyId } from '../../src/kms/names.ts';

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('the test made a name that is none');
  return value;
}

const keyIdDigits = digitsOfKeyId(known(parseKeyId('1234abcd-12ab-34cd-56ef-1234567890ab')));
const backingKeyId = known(parseBackingKeyId('00112233445566778899aabbccddeeff'));
const header = { keyIdDigits, backingKeyId };

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((value) => Buffer.from(value));
const blobs = fc.record({
  keyIdDigits: fc.uuid().map((id) => digitsOfKeyId(known(parseKeyId(id)))),
  backingKeyId: bytes(16).map((id) => known(parseBackingKeyId(id.toString('hex')))),
  iv: bytes(12),
  ciphertext: fc.uint8Array({ minLength: 16, maxLength: 200, size: 'max' }).map((value) => Buffer.from(value)),
});
const wellFormed = fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed());
const contexts = fc.dictionary(wellFormed, wellFormed, { maxKeys: 5 });

describe('the ciphertext blob', () => {
  it('has the documented bytes at the documented places', () => {
    const blob = encodeCiphertext(additionalAuthenticatedData(header, undefined), {
      iv: Buffer.alloc(12, 0xaa),
      ciphertext: Buffer.alloc(17, 0xbb),
    });
    expect(blob.toString('hex')).toBe(
      `01${'1234abcd12ab34cd56ef1234567890ab'}${'00112233445566778899aabbccddeeff'}01${'aa'.repeat(12)}${'bb'.repeat(17)}`,
    );
  });

  it('is at most 100 bytes longer than the plaintext', () => {
    expect(overheadBytes).toBe(62);
  });

  it('comes back from parsing as it was encoded', () => {
    fc.assert(
      fc.property(blobs, (blob) => {
        expect(parseCiphertext(encodeCiphertext(additionalAuthenticatedData(blob, undefined), blob))).toEqual(blob);
      }),
    );
  });

  it('is refused when it is shorter than header, IV and tag, whatever its bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: overheadBytes - 1 }), (short) => {
        expect(parseCiphertext(Buffer.from(short))).toBeUndefined();
      }),
    );
  });

  it.each([
    ['version', 0],
    ['algorithm', 33],
  ])('is refused with another %s', (_what, offset) => {
    const blob = encodeCiphertext(additionalAuthenticatedData(header, undefined), {
      iv: Buffer.alloc(12),
      ciphertext: Buffer.alloc(16),
    });
    blob[offset] = 2;
    expect(parseCiphertext(blob)).toBeUndefined();
  });

  it('never makes the parser throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300, size: 'max' }), (any) => void parseCiphertext(Buffer.from(any))),
    );
  });
});

describe('the additional authenticated data', () => {
  it('of the empty context is the tag, the header and a zero', () => {
    const aad = additionalAuthenticatedData(header, undefined);
    expect(aad.subarray(0, 27).toString('ascii')).toBe('drawbridge/kms-ciphertext/1');
    expect(aad.subarray(27).toString('hex')).toBe(
      '011234abcd12ab34cd56ef1234567890ab00112233445566778899aabbccddeeff0100000000',
    );
  });

  it('is the same for an absent and an empty context', () => {
    expect(encodeEncryptionContext(undefined)).toEqual(encodeEncryptionContext({}));
  });

  it('has the number of pairs, and each text with its length before it, in the order of the bytes of the keys', () => {
    const numbered = (number: number): Buffer => Buffer.from(number.toString(16).padStart(8, '0'), 'hex');
    const withLength = (text: string): Buffer => Buffer.concat([numbered(Buffer.from(text).length), Buffer.from(text)]);
    // The second kind has keys in which the order of UTF-16 is another one.
    const anyContext = fc.oneof(
      contexts,
      fc.dictionary(fc.constantFrom('\u{1f600}', '\uff5e', '\ud7ff', 'a', 'aa', '\u{1f600}a'), wellFormed),
    );
    fc.assert(
      fc.property(anyContext, (context) => {
        const pairs = Object.entries(context).sort(([left], [right]) =>
          Buffer.compare(Buffer.from(left), Buffer.from(right)),
        );
        expect(encodeEncryptionContext(context)).toEqual(
          Buffer.concat([numbered(pairs.length), ...pairs.flatMap((pair) => pair.map(withLength))]),
        );
      }),
    );
  });

  it('does not depend on the order in which pairs are written', () => {
    fc.assert(
      fc.property(contexts, (context) => {
        const reversed = Object.fromEntries(Object.entries(context).reverse());
        expect(encodeEncryptionContext(reversed)).toEqual(encodeEncryptionContext(context));
      }),
    );
  });

  it('differs for any two different contexts', () => {
    fc.assert(
      fc.property(contexts, contexts, (left, right) => {
        const sameContext =
          JSON.stringify(Object.entries(left).sort()) === JSON.stringify(Object.entries(right).sort());
        expect(encodeEncryptionContext(left).equals(encodeEncryptionContext(right))).toBe(sameContext);
      }),
    );
  });

  it.each([
    ['a boundary between key and value', { ab: 'c' }, { a: 'bc' }],
    ['a boundary between two pairs', { a: 'b', c: 'd' }, { a: 'bcd' }],
    ['an empty value', { a: '' }, {}],
    ['the case of a letter', { Purpose: 'x' }, { purpose: 'x' }],
    ['a composed and a decomposed letter', { é: 'x' }, { 'e\u0301': 'x' }],
    ['a key that looks like a prototype', JSON.parse('{"__proto__":"x"}'), {}],
  ])('tells apart %s', (_what, left, right) => {
    expect(encodeEncryptionContext(left).equals(encodeEncryptionContext(right))).toBe(false);
  });

  it('sorts keys by their UTF-8 bytes and not by UTF-16 code units', () => {
    // U+FF5E is before U+1F600 in UTF-8, and behind its first surrogate in UTF-16.
    const encoded = encodeEncryptionContext({ '\u{1f600}': '', '\uff5e': '' });
    expect(encoded.indexOf('\uff5e')).toBeLessThan(encoded.indexOf('\u{1f600}'));
  });
});
