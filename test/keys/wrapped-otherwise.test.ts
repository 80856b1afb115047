/** What is wrapped under another domain key, page by page: each key is looked at once for each time that all of them are gone through. */

import { expect, test } from 'vitest';
import { RecordsOfKeys } from '../../src/keys/records-of-keys.ts';
import { type BackingKeyId, newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import type { BackingKeyRecord } from '../../src/store/records/records.ts';
import { examples } from '../store/records.ts';

const current = newBackingKeyId();
const limit = 50;

function filled(count: number, under: (at: number) => BackingKeyId) {
  const records = new RecordsOfKeys();
  const looks = { count: 0 };
  for (let at = 0; at < count; at++) {
    const wrapped = {
      residency: 'wrapped',
      state: 'Active',
      wrappedKey: Buffer.of(1),
    } as const;
    const domainKeyId = under(at);
    const record: BackingKeyRecord = {
      ...examples.backingKey,
      ...wrapped,
      keyId: newKeyId(),
      backingKeyId: newBackingKeyId(),
    };
    Object.defineProperty(record, 'domainKeyId', {
      get() {
        looks.count++;
        return domainKeyId;
      },
    });
    records.fileBackingKey(record);
  }
  return { records, looks };
}

/** All pages; of what is found on one, `change` is told before the next. */
function passThrough(records: RecordsOfKeys, change: (record: BackingKeyRecord) => void = () => undefined) {
  const found: BackingKeyId[] = [];
  for (let from: bigint | null = 0n; from !== null; ) {
    const page = records.wrappedOtherwise(
      { keyStore: 'default', region: 'us-east-1', domainKeyId: current },
      from,
      limit,
    );
    expect(page.records.length).toBeLessThanOrEqual(limit);
    found.push(...page.records.map(({ backingKeyId }) => backingKeyId));
    page.records.forEach(change);
    from = page.next;
  }
  return found;
}

test('Rewrapping looks at each key once, however many pages that takes, and is told of each once', () => {
  const { records, looks } = filled(2_000, newBackingKeyId);
  const found = passThrough(records, (record) =>
    records.fileBackingKey({
      ...examples.backingKey,
      keyId: record.keyId,
      backingKeyId: record.backingKeyId,
      domainKeyId: current,
    }),
  );
  expect(new Set(found).size).toBe(2_000);
  expect(found).toHaveLength(2_000);
  expect(looks.count).toBeLessThan(2 * 2_000);
  expect(passThrough(records)).toEqual([]);
});

test('Rewrapping misses no key because others are deleted or made while it goes through them', () => {
  const former = newBackingKeyId();
  const { records } = filled(500, (at) => (at % 2 === 0 ? former : current));
  const deleted = new Set<BackingKeyId>();
  const found = passThrough(records, (record) => {
    if (deleted.size >= 100) return;
    records.dropBackingKey(record);
    records.forgetEmpty(record.keyId);
    deleted.add(record.backingKeyId);
    records.fileBackingKey({ ...record, keyStore: 'default', keyId: newKeyId(), backingKeyId: newBackingKeyId() });
  });
  expect(found).toHaveLength(250 + 100);
  expect(new Set(found).size).toBe(found.length);
});
