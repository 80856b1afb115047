/** What is to come of the KMS keys of one Region, found by its dates. */

import type { KeyDirectory } from '../../keys/key-directory.ts';
import type { DateRange } from '../../keys/lists/dates-in-order.ts';
import { type KeyId, parseKeyId } from '../../kms/names.ts';
import type { DueWork, WorkAhead } from './upkeep-task.ts';

export type DirectoryOfWorks = Pick<KeyDirectory, 'realm' | 'source' | 'findSoundKey' | 'damagedKeyIds'>;

/** Of more, the rest of a Region's works may wait until they are mended: who has so many has other worries. */
const maxRefused = 2_000;

interface WorksByDate<Found extends { readonly keyId: KeyId }> {
  /** Those after a date and by another one, soonest first. */
  readonly between: (range: DateRange, limit: number) => readonly Found[];
  readonly count: () => number;
  /** The one that the last word of a work's name tells. */
  readonly find: (lastWord: string) => Found | undefined;
  readonly workOf: (found: Found) => DueWork;
}

export function worksByDate<Found extends { readonly keyId: KeyId }>(
  directory: DirectoryOfWorks,
  { between, count, find, workOf }: WorksByDate<Found>,
): WorkAhead {
  return {
    between(range, limit) {
      // Those that are refused take the place of none that is not.
      const refused = directory.damagedKeyIds(maxRefused).length;
      const sound = between(range, limit + refused).filter(({ keyId }) => !isRefused(directory, keyId));
      return sound.slice(0, limit).map(workOf);
    },
    count,
    find(work) {
      const found = find(work.slice(work.lastIndexOf(' ') + 1));
      const due = found && workOf(found);
      return due?.work === work ? due : undefined;
    },
  };
}

/** Nothing is due of a key whose record is refused; where records are read on demand, as far as it was read. */
function isRefused(directory: DirectoryOfWorks, keyId: KeyId): boolean {
  const { source, realm } = directory;
  if (source === undefined) return directory.findSoundKey(keyId) === undefined;
  return source.problemOf('key', keyId, realm.region) !== undefined;
}

/** The key that the last word of a work's name tells. */
export function keyIdIn(work: string): KeyId | undefined {
  return parseKeyId(work.slice(work.lastIndexOf(' ') + 1));
}
