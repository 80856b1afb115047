import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeMarker, pageEnd } from '../../src/operations/declaration/pages.ts';

describe('a marker', () => {
  it('says after which entry the next page begins', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), (name) => {
        const wellFormed = name.toWellFormed();
        const { NextMarker } = pageEnd('ListKeys', { names: [wellFormed], truncated: true });
        expect(decodeMarker('ListKeys', NextMarker)).toBe(wellFormed);
      }),
    );
  });

  it('is absent at the end of a list', () => {
    expect(pageEnd('ListKeys', { names: ['a'], truncated: false })).toEqual({ Truncated: false });
  });

  it('of one list is refused by another', () => {
    const { NextMarker } = pageEnd('ListKeys', { names: ['a'], truncated: true });
    expect(() => decodeMarker('ListAliases:', NextMarker)).toThrow(
      expect.objectContaining({ name: 'InvalidMarkerException', message: 'Could not deserialize marker' }),
    );
  });

  it('that nobody gave out is refused', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(() => decodeMarker('ListKeys', text)).toThrow(
          expect.objectContaining({ name: 'InvalidMarkerException' }),
        );
      }),
    );
  });
});
