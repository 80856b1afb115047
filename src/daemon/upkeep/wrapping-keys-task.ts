/**
 * The end of wrapping keys: when their 24 hours have passed, when their KMS key is gone, or when something began to end them.
 *
 * Nobody loses anything by it but the right to use an import token, so the wall clock alone is believed, and what came due over a
 * stop waits for nothing.
 */

import type { KeyDirectory } from '../../keys/key-directory.ts';
import type { WrappingKeys } from '../../keys/life/wrapping-keys.ts';
import { parseBackingKeyId } from '../../kms/names.ts';
import type { Clocks } from './clocks.ts';
import type { UpkeepTask } from './upkeep-task.ts';

export interface WrappingKeysTaskParts {
  readonly directory: KeyDirectory;
  readonly wrappingKeys: WrappingKeys;
  readonly clocks: Clocks;
}

export function wrappingKeysTask({ directory, wrappingKeys, clocks }: WrappingKeysTaskParts): UpkeepTask {
  const kind = 'wrapping-keys';
  return {
    kind,
    *scheduled() {
      const { wallMs } = clocks.now();
      for (const { backingKeyId, keyId, state, validToMs } of wrappingKeys.all()) {
        // One that is being made is somebody's who is still at it, until its time has ended.
        const isOver =
          wallMs >= validToMs || state === 'Destroying' || (state === 'Active' && directory.tombstones.has(keyId));
        const work = `${kind} ${directory.realm.region} ${backingKeyId}`;
        yield { work, dueAtMs: validToMs, isUrgent: isOver };
      }
    },
    async perform({ work }) {
      const backingKeyId = parseBackingKeyId(work.slice(work.lastIndexOf(' ') + 1));
      if (backingKeyId !== undefined) await wrappingKeys.destroy(backingKeyId);
    },
  };
}
