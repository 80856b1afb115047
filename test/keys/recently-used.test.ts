/** What is kept of what can be made anew: as much as was said, and of that what was used last. */

import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RecentlyUsed } from '../../src/keys/use/recently-used.ts';
import { isSignature } from '../../src/keys/use/signatures.ts';
import { maxParsedPublicKeys } from '../../src/kms/budgets.ts';
import { Plaintext } from '../../src/secrets/secret-bytes.ts';

test('It keeps what was used last, in whatever order that is, and tells of each that goes', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.array(fc.nat({ max: 8 })), (maxCount, uses) => {
      const gone: number[] = [];
      const kept = new RecentlyUsed<number, number>(maxCount, (value) => gone.push(value));
      let model: number[] = [];
      let added = 0;
      for (const key of uses) {
        expect(kept.get(key)).toBe(model.includes(key) ? key : undefined);
        if (!model.includes(key)) {
          kept.add(key, key);
          added++;
        }
        model = [...model.filter((other) => other !== key), key].slice(-maxCount);
      }
      expect(gone).toHaveLength(added - model.length);
    }),
  );
});

test('More keys than are kept parsed are verified with in turn, and each is itself', async () => {
  const digest = createHash('sha256').update('message').digest();
  const keys = Array.from({ length: maxParsedPublicKeys + 8 }, () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return { publicKey, signature: sign('sha256', Buffer.from('message'), privateKey) };
  });
  const verdicts = async (shift: number) =>
    Promise.all(
      keys.map(({ publicKey }, index) => {
        const { signature = Buffer.alloc(0) } = keys[(index + shift) % keys.length] ?? {};
        const signed = { algorithm: 'ECDSA_SHA_256', messageType: 'DIGEST', message: new Plaintext(digest) } as const;
        return isSignature(publicKey, signed, signature);
      }),
    );
  expect(new Set(await verdicts(0))).toEqual(new Set([true]));
  expect(new Set(await verdicts(1))).toEqual(new Set([false]));
});
