/**
 * The automatic rotation of KMS keys, at the dates that their schedules have.
 *
 * As AWS has it, a key that is disabled or pending deletion is not rotated. When it is enabled again after its date, both clocks know that it
 * has passed, and the key is rotated at once; before it, the schedule goes on as if nothing had been. Where the date came over a stop, it
 * waits as any other: for a day in which the daemon ran, since its start, whether the key was enabled in it or not. What `keys/life/`
 * finds when its turn comes decides, so a rotation that was disabled or put off meanwhile is not made.
 *
 * Source: AWS KMS developer guide, "Enable automatic key rotation" ("Disabled KMS keys").
 */

import type { KeyDirectory } from '../../keys/key-directory.ts';
import type { KeyLife } from '../../keys/life/key-life.ts';
import { parseKeyId } from '../../kms/names.ts';
import type { Intents } from '../../pipeline/intents.ts';
import { assertRecordable } from '../../pipeline/recordable.ts';
import { whenVerified } from '../../store/record-source.ts';
import type { StoreIndexes } from '../../store/store-indexes.ts';
import type { Clocks } from './clocks.ts';
import type { UpkeepTask } from './upkeep-task.ts';
import { keyIdIn, worksByDate } from './works-by-date.ts';

export interface RotationTaskParts {
  readonly directory: Pick<
    KeyDirectory,
    'realm' | 'source' | 'findKey' | 'findSoundKey' | 'damagedKeyIds' | 'watchedKeys'
  >;
  /** Of keys that are not in memory. */
  readonly rotations: StoreIndexes['rotations'];
  readonly life: Pick<KeyLife, 'rotateOnDate'>;
  readonly intents: Pick<Intents, 'obstacle'>;
  readonly clocks: Clocks;
}

export function rotationTask({ directory, rotations, life, intents, clocks }: RotationTaskParts): UpkeepTask {
  const kind = 'rotation';
  const { region } = directory.realm;
  const dates: RotationsOfRegion = directory.watchedKeys.rotations ?? {
    between: (range, limit) => rotations.between(region, range, limit),
    count: () => rotations.count(region),
    of: (keyId) => rotations.of(region, keyId),
  };
  return {
    kind,
    ahead: worksByDate(directory, {
      between: (range, limit) => dates.between(range, limit),
      count: () => dates.count(),
      find(lastWord) {
        const keyId = parseKeyId(lastWord);
        return keyId && dates.of(keyId);
      },
      workOf: ({ keyId, nextRotationDateMs, isEnabled }) => ({
        ...{ work: `${kind} ${region} ${keyId}`, dueAtMs: nextRotationDateMs, isHeld: !isEnabled },
      }),
    }),
    scheduled: () => [],
    async perform({ work, dueAtMs }) {
      const keyId = keyIdIn(work);
      if (keyId === undefined) throw new TypeError(`\`${work}\` names no key`);
      assertRecordable(intents);
      await whenVerified(() => directory.findKey(keyId));
      await life.rotateOnDate(keyId, dueAtMs, Math.floor(clocks.now().wallMs));
    },
  };
}

type RotationsOfRegion = NonNullable<KeyDirectory['watchedKeys']['rotations']>;
