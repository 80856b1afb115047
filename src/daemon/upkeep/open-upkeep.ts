/**
 * Puts upkeep together for all Regions: one loop and one running time, because they share the machine's clocks, and each
 * Region's own tasks.
 */

import type { AuditLog } from '../../audit/audit-log.ts';
import type { UpkeepControl } from '../../http/upkeep-routes.ts';
import type { KeyDirectory } from '../../keys/key-directory.ts';
import type { KeyDeletion } from '../../keys/life/key-deletion.ts';
import type { KeyLife } from '../../keys/life/key-life.ts';
import type { KeyMoves } from '../../keys/moves/key-moves.ts';
import type { Rewrapping } from '../../keys/moves/rewrapping.ts';
import type { Logger } from '../../kms/logger.ts';
import type { Intents } from '../../pipeline/intents.ts';
import type { LoadedMetadata } from '../../store/metadata-store.ts';
import type { MilestoneRecord } from '../../store/records/records.ts';
import type { StoreIndexes } from '../../store/store-indexes.ts';
import type { Turns } from '../../store/turns.ts';
import type { Clocks } from './clocks.ts';
import { deletionTask } from './deletion-task.ts';
import { expiryTask } from './expiry-task.ts';
import { destructionRecord, remnantTask } from './remnant-task.ts';
import { rewrappingTask } from './rewrapping-task.ts';
import { rotationRecord } from './rotation-record.ts';
import { rotationTask } from './rotation-task.ts';
import { Upkeep } from './upkeep.ts';
import { told, upkeepList } from './upkeep-report.ts';
import type { UpkeepTask } from './upkeep-task.ts';
import { Waits } from './waits.ts';
import { wrappingKeysTask } from './wrapping-keys-task.ts';

/** What of a Region its tasks work with. */
export interface UpkeptRegion {
  readonly directory: KeyDirectory;
  readonly life: KeyLife;
  readonly deletion: KeyDeletion;
}

export interface UpkeepParts {
  readonly regions: readonly UpkeptRegion[];
  readonly turns: Turns;
  readonly metadata: Pick<LoadedMetadata, 'upkeepWait'>;
  readonly indexes: Pick<StoreIndexes, 'rotations'>;
  /** The milestone `upkeep`. */
  readonly since: MilestoneRecord;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly intents: Pick<Intents, 'obstacle'>;
  readonly moves: KeyMoves;
  readonly rewrapping: Rewrapping;
  readonly clocks: Clocks;
  readonly log: Logger;
}

export type OpenUpkeep = UpkeepControl & Pick<Upkeep, 'start' | 'stop' | 'report' | 'later'>;

/** Nothing is done before `start`. */
export function openUpkeep(parts: UpkeepParts): OpenUpkeep {
  const { regions, turns, metadata, since, clocks, log } = parts;
  const waits = new Waits(turns, metadata, since, clocks.now());
  const tasks = [...regions.flatMap((region) => tasksOf(region, parts)), ...tasksOfAll(parts)];
  const upkeep = new Upkeep({ tasks, clocks, turns, waits, log });
  return {
    start: () => upkeep.start(),
    stop: () => upkeep.stop(),
    report: () => upkeep.report(),
    later: (limit) => upkeep.later(limit),
    list: () => upkeepList(upkeep.report(), (limit) => upkeep.later(limit)),
    confirm: async (work, by, word) => told(await upkeep.confirm(work, by, word)),
  };
}

/** What is of no Region. */
function tasksOfAll({ regions, moves, rewrapping, audit, intents, clocks }: UpkeepParts): readonly UpkeepTask[] {
  const realm = regions[0]?.directory.realm;
  if (realm === undefined) return [];
  moves.recordDestructions(destructionRecord(realm, audit, () => clocks.now().wallMs));
  return [remnantTask({ moves, intents }), rewrappingTask({ rewrapping, realm, audit, intents, clocks })];
}

/** The tasks of one Region. */
function tasksOf(
  { directory, life, deletion }: UpkeptRegion,
  { audit, intents, moves, clocks, since: upkeepSince, indexes: { rotations } }: UpkeepParts,
): readonly UpkeepTask[] {
  const { realm } = directory;
  const { imports } = life;
  life.recordRotations(rotationRecord(realm, audit));
  return [
    deletionTask({ directory, deletion, imports, moves, audit, intents, clocks, upkeepSince }),
    rotationTask({ directory, rotations, life, intents, clocks }),
    expiryTask({ directory, imports, audit, intents, clocks }),
    wrappingKeysTask({ directory, wrappingKeys: imports.wrappingKeys, clocks }),
  ];
}
