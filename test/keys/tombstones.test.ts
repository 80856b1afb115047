import { expect, test } from 'vitest';
import { Tombstones } from '../../src/keys/tombstones.ts';
import { newBackingKeyId, newKeyId } from '../../src/kms/names.ts';
import { examples } from '../store/records.ts';

test('Deleted keys whose domain keys are still there are counted as they come, change and go', () => {
  const tombstones = new Tombstones();
  const [one, other, gone] = [newBackingKeyId(), newBackingKeyId(), newBackingKeyId()];
  const deleted = (domainKeyIds: string) => {
    const record = { ...examples.tombstone, keyId: newKeyId(), domainKeyIds };
    tombstones.show(record);
    return record;
  };
  const open = () => tombstones.countOf((id) => id === one || id === other);
  const first = deleted(one);
  const second = deleted(`${gone} ${other}`);
  deleted(gone);
  deleted('');
  deleted(one);
  expect(open()).toBe(3);
  tombstones.show({ ...first, version: 2 });
  tombstones.show({ ...second, domainKeyIds: gone });
  expect(open()).toBe(2);
  tombstones.hide(first.keyId);
  tombstones.hide(first.keyId);
  expect([open(), tombstones.has(first.keyId), tombstones.has(second.keyId)]).toEqual([1, false, true]);
});
