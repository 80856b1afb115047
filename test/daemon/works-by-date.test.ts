/** What is to come of keys, where some of them cannot be used because a record of theirs did not verify. */

import { expect, test } from 'vitest';
import { worksByDate } from '../../src/daemon/upkeep/works-by-date.ts';
import type { KmsKey } from '../../src/keys/kms-key.ts';
import { WatchedDates } from '../../src/keys/watched-dates.ts';
import { type KeyId, newKeyId } from '../../src/kms/names.ts';
import { realm } from '../authorization/policies.ts';

test('Keys that are refused are due for nothing, and keep no others from being found, however many they are', () => {
  const dates = new WatchedDates<KeyId>();
  const keyIds = Array.from({ length: 40 }, newKeyId);
  const damaged = new Set(keyIds.slice(0, 30));
  dates.take(keyIds.map((id, at) => ({ id, keyId: id, dateMs: 1_000 + at, seen: { wallMs: 0, bootMs: 0 } })));
  const directory = {
    ...{ realm, source: undefined, damagedKeyIds: (count: number) => [...damaged].slice(0, count) },
    findSoundKey: (keyId: KeyId) => (damaged.has(keyId) ? undefined : ({} as KmsKey)), // That it is there is all that is asked.
  };
  const ahead = worksByDate(directory, {
    between: (range, limit) => dates.between(range, limit),
    count: () => dates.count(),
    find: (keyId) => dates.of(keyId as KeyId),
    workOf: ({ keyId, dateMs }) => ({ work: `deletion ${realm.region} ${keyId}`, dueAtMs: dateMs }),
  });
  const found = (limit: number) =>
    ahead.between({ afterMs: 0, untilMs: 5_000 }, limit).map(({ work }) => work.split(' ').at(-1));
  expect(found(3)).toEqual(keyIds.slice(30, 33));
  expect(found(100)).toEqual(keyIds.slice(30));
});
