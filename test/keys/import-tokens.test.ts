/** Import tokens: what is read from one, and that nobody else makes one. */

import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ImportTokens } from '../../src/keys/import-tokens.ts';
import { digitsOfKeyId, newBackingKeyId, newKeyId } from '../../src/kms/names.ts';

const tokens = new ImportTokens(randomBytes(32));

test('a token says which key it is for, which wrapping key is meant, and until when', () => {
  const [keyId, wrappingKeyId, validToMs] = [newKeyId(), newBackingKeyId(), 1_800_000_000_123];
  const token = tokens.issue(keyId, wrappingKeyId, validToMs);
  expect(token).toHaveLength(73);
  expect(tokens.read(token)).toEqual({ keyIdDigits: digitsOfKeyId(keyId), wrappingKeyId, validToMs });
});

test('no token is read with one bit changed, cut, grown, or of another instance', () => {
  const token = tokens.issue(newKeyId(), newBackingKeyId(), 1);
  fc.assert(
    fc.property(fc.nat({ max: token.length * 8 - 1 }), (bit) => {
      const changed = Buffer.from(token);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(tokens.read(changed)).toBeUndefined();
    }),
  );
  const others = [Buffer.alloc(0), token.subarray(1), token.subarray(0, -1), Buffer.concat([token, Buffer.of(0)])];
  for (const other of others) expect(tokens.read(other)).toBeUndefined();
  expect(new ImportTokens(randomBytes(32)).read(token)).toBeUndefined();
});
