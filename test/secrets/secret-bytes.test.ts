import { expect, test } from 'vitest';
import { Secret } from '../../src/secrets/secret-bytes.ts';

test('a secret that was wiped is zeros, and is not given out for a secret', () => {
  const bytes = Buffer.alloc(4, 1);
  const secret = new Secret(bytes);
  expect(secret.reveal()).toBe(bytes);
  secret.wipe();
  expect(bytes).toEqual(Buffer.alloc(4));
  expect(() => secret.reveal()).toThrow(new TypeError('a secret is used after it was wiped'));
});

test('a secret that goes out of scope is wiped', () => {
  const bytes = Buffer.alloc(4, 1);
  {
    using secret = new Secret(bytes);
    expect(secret.reveal()).toBe(bytes);
  }
  expect(bytes).toEqual(Buffer.alloc(4));
});
