/** What the bench writes with `--json`, but for its other modes. */

import type { ClosedLoopRow } from './closed-loop-latency.ts';
import type { FarTokenRow } from './far-token.ts';
import type { Row } from './results.ts';
import type { MemoryUse, OpenLoopRow } from './steady-load.ts';

export interface BenchResult {
  readonly rows: readonly Row[];
  readonly memory: MemoryUse;
  readonly closedLoop: readonly ClosedLoopRow[];
  /** `null` where `--only` left it out. */
  readonly openLoop: OpenLoopRow | null;
  readonly farToken: readonly FarTokenRow[];
}
