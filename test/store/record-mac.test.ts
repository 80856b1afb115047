import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toColumns } from '../../src/store/record-columns.ts';
import { canonicalRecord, isMacEqual, newestFormat, recordFormats } from '../../src/store/record-mac.ts';
import { arbitraryPut } from './arbitrary-records.ts';
import { type AnyPut, addedAny, examples, testMac } from './records.ts';

const canonical = ({ put, record }: AnyPut): string =>
  canonicalRecord(put, toColumns(put, record), newestFormat(recordFormats[put])).toString('hex');

describe('the canonical form of a record', () => {
  test('is, byte by byte, what its documentation says', () => {
    const hex = (text: string): string => Buffer.from(text).toString('hex');
    expect(canonical(addedAny('alias', examples.alias))).toBe(
      [
        `0000001a${hex('drawbridge/metadata-record')}`,
        '00000002',
        `00000005${hex('alias')}`,
        '00000006',
        `00000009${hex('aliasName')}010000000d${hex('alias/payroll')}`,
        `0000000b${hex('createdAtMs')}020000018bcfe56800`,
        `00000005${hex('keyId')}0100000024${hex('11111111-2222-3333-4444-555555555555')}`,
        `00000006${hex('region')}0100000009${hex('us-east-1')}`,
        `0000000b${hex('updatedAtMs')}020000018bcfe56801`,
        `00000007${hex('version')}020000000000000001`,
      ].join(''),
    );
  });

  test('is never shared by two different records, of one kind or of two', { timeout: 170_000 }, () => {
    fc.assert(
      fc.property(arbitraryPut, arbitraryPut, (one, other) => {
        expect(canonical(one) === canonical(other)).toBe(JSON.stringify(one) === JSON.stringify(other));
      }),
      { numRuns: 500 },
    );
  });

  test('changes when one text moves a character to its neighbour', () => {
    const form = (a: string, b: string): Buffer => canonicalRecord('keyPolicy', { a, b }, 1);
    expect(form('xy', 'z')).not.toEqual(form('x', 'yz'));
    expect(form('1', '')).not.toEqual(canonicalRecord('keyPolicy', { a: 1, b: '' }, 1));
  });

  test('does not depend on the order in which the members are listed', () => {
    expect(canonicalRecord('alias', { a: '1', b: 2 }, 1)).toEqual(canonicalRecord('alias', { b: 2, a: '1' }, 1));
  });

  test.each([['a lone surrogate', 'broken \ud800 text', 'a text with a lone surrogate cannot be kept']])(
    'does not exist for %s',
    (_what, description, message) => {
      expect(() => toColumns('key', { ...examples.key, description })).toThrow(new TypeError(message));
    },
  );

  test.each([-1, 0.5, 2 ** 53, Number.NaN])('does not exist for the time %d', (createdAtMs) => {
    expect(() => toColumns('key', { ...examples.key, createdAtMs })).toThrow(
      new TypeError(`${createdAtMs} is not a number the store can keep`),
    );
  });
});

describe('the comparison of MACs', () => {
  test('takes the stored digits as they are written, and nothing else', async () => {
    const mac = await testMac(Buffer.from('data'));
    const digits = mac.toString('hex');
    expect(isMacEqual(mac, digits)).toBe(true);
    for (const other of [
      digits.toUpperCase(),
      digits.slice(2),
      `${digits}00`,
      '',
      null,
      0n,
      mac,
      digits.replace(/^./, 'x'),
    ]) {
      expect(isMacEqual(mac, other)).toBe(false);
    }
  });

  test('takes nothing for a digit that another comparison left', () => {
    const mac = Buffer.alloc(32, 0xa5);
    const digits = mac.toString('hex');
    expect(isMacEqual(mac, digits)).toBe(true);
    expect(isMacEqual(mac, `${digits.slice(0, 63)}\u00e9`)).toBe(false);
    expect(isMacEqual(mac, `${digits.slice(0, 62)}\ud83d\ude00`)).toBe(false);
    expect(isMacEqual(mac, `\u00e9${digits.slice(0, 63)}`)).toBe(false);
  });
});
