import fc from 'fast-check';
import { expect, test } from 'vitest';
import { passingSecretMemory } from '../../src/secrets/secret-memory.ts';

test('Memory for passing secrets is zero, is nobody else’s, and shares memory with nothing but such secrets', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 30, size: 'max' }), (lengths) => {
      const pieces = lengths.map((lengthBytes, index) => {
        const piece = passingSecretMemory(lengthBytes);
        expect(piece).toEqual(Buffer.alloc(lengthBytes));
        return piece.fill(index + 1);
      });
      for (const [index, piece] of pieces.entries()) {
        expect(piece.every((byte) => byte === index + 1)).toBe(true);
        expect(piece.buffer).not.toBe(Buffer.from('pool').buffer);
        piece.fill(0);
      }
    }),
  );
});
