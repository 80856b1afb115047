/**
 * The automatic rotation of KMS keys, at the dates that their schedules have.
 *
 * A key that is disabled or pending deletion is not rotated. Its date is watched all the same: when the key is in use again after
 * it, both clocks know that it has passed, and the key is rotated at once; before it, the schedule goes on as if nothing had
 * been. What `keys/life/` finds when its turn comes decides, so a rotation that was disabled or put off meanwhile is not made.
 */

import type { KeyDirectory } from '../../keys/key-directory.ts';
import type { KeyLife } from '../../keys/life/key-life.ts';
import { type KeyId, parseKeyId } from '../../kms/names.ts';
import type { Intents } from '../../pipeline/intents.ts';
import { assertRecordable } from '../../pipeline/recordable.ts';
import { type RecordSource, whenVerified } from '../../store/record-source.ts';
import type { RotationDate } from '../../store/rotation-index.ts';
import type { Clocks } from './clocks.ts';
import type { DueWork, UpkeepTask, WorkAhead } from './upkeep-task.ts';

export interface RotationTaskParts {
  readonly directory: Pick<KeyDirectory, 'realm' | 'watched' | 'source' | 'findKey'>;
  readonly life: Pick<KeyLife, 'rotateOnDate'>;
  readonly intents: Pick<Intents, 'obstacle'>;
  readonly clocks: Clocks;
}

export function rotationTask({ directory, life, intents, clocks }: RotationTaskParts): UpkeepTask {
  const kind = 'rotation';
  const { source } = directory;
  const { region } = directory.realm;
  const workOf = ({ keyId, nextRotationDateMs, isEnabled }: RotationDate): DueWork => ({
    ...{ work: `${kind} ${region} ${keyId}`, dueAtMs: nextRotationDateMs, isHeld: !isEnabled },
  });
  return {
    kind,
    ahead: source && aheadIn(source, region, workOf),
    *scheduled() {
      if (source !== undefined) return;
      for (const { record } of directory.watched()) {
        const { keyId, state, nextRotationDateMs } = record;
        if (nextRotationDateMs === null) continue;
        yield workOf({ keyId, nextRotationDateMs, isEnabled: state === 'Enabled' });
      }
    },
    async perform({ work, dueAtMs }) {
      const keyId = keyIdIn(work);
      if (keyId === undefined) throw new TypeError(`\`${work}\` names no key`);
      assertRecordable(intents);
      await whenVerified(() => directory.findKey(keyId));
      await life.rotateOnDate(keyId, dueAtMs, Math.floor(clocks.now().wallMs));
    },
  };
}

/** Where keys are read on demand: nobody goes through all of them. */
function aheadIn(source: RecordSource, region: string, workOf: (date: RotationDate) => DueWork): WorkAhead {
  const { rotations } = source;
  return {
    // Nothing is due of a key whose record is refused.
    between: (range, limit) =>
      rotations
        .between(region, range, limit)
        .filter(({ keyId }) => source.problemOf('key', keyId, region) === undefined)
        .map(workOf),
    count: () => rotations.count(region),
    find(work) {
      const keyId = keyIdIn(work);
      const found = keyId && rotations.of(region, keyId);
      const due = found && workOf(found);
      return due?.work === work ? due : undefined;
    },
  };
}

function keyIdIn(work: string): KeyId | undefined {
  return parseKeyId(work.slice(work.lastIndexOf(' ') + 1));
}
