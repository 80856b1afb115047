import { expect, test } from 'vitest';
import { newUuid } from '../../src/kms/uuids.ts';

test('UUIDs are of version 4, each another one, over many batches', () => {
  const uuids = Array.from({ length: 1_000 }, newUuid);
  for (const uuid of uuids)
    expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(new Set(uuids).size).toBe(uuids.length);
  // Every other digit is random: each of the 16 is at each place.
  const digits = uuids.map((uuid) => uuid.replaceAll('-', ''));
  for (let at = 0; at < 32; at++)
    expect(new Set(digits.map((text) => text[at])).size).toBe(at === 12 ? 1 : at === 16 ? 4 : 16);
});
