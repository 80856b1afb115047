/**
 * The automatic rotation of KMS keys, at the dates that their schedules have.
 *
 * A key that is disabled or pending deletion is not rotated. Its date is watched all the same: when the key is in use again after
 * it, both clocks know that it has passed, and the key is rotated at once; before it, the schedule goes on as if nothing had
 * been. What `keys/life/` finds when its turn comes decides, so a rotation that was disabled or put off meanwhile is not made.
 */

import type { KeyDirectory } from '../../keys/key-directory.ts';
import type { KeyLife } from '../../keys/life/key-life.ts';
import { parseKeyId } from '../../kms/names.ts';
import type { Intents } from '../../pipeline/intents.ts';
import { assertRecordable } from '../../pipeline/recordable.ts';
import type { Clocks } from './clocks.ts';
import type { UpkeepTask } from './upkeep-task.ts';

export interface RotationTaskParts {
  readonly directory: Pick<KeyDirectory, 'realm' | 'watched'>;
  readonly life: Pick<KeyLife, 'rotateOnDate'>;
  readonly intents: Pick<Intents, 'obstacle'>;
  readonly clocks: Clocks;
}

export function rotationTask({ directory, life, intents, clocks }: RotationTaskParts): UpkeepTask {
  const kind = 'rotation';
  return {
    kind,
    *scheduled() {
      for (const { record } of directory.watched()) {
        const { keyId, state, nextRotationDateMs } = record;
        if (nextRotationDateMs === null) continue;
        const work = `${kind} ${directory.realm.region} ${keyId}`;
        yield { work, dueAtMs: nextRotationDateMs, isHeld: state !== 'Enabled' };
      }
    },
    async perform({ work, dueAtMs }) {
      const keyId = parseKeyId(work.slice(work.lastIndexOf(' ') + 1));
      if (keyId === undefined) throw new TypeError(`\`${work}\` names no key`);
      assertRecordable(intents);
      await life.rotateOnDate(keyId, dueAtMs, Math.floor(clocks.now().wallMs));
    },
  };
}
