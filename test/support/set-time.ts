/**
 * Another time for a daemon that is a process of its own: both of its clocks ahead of the machine's by what a file says.
 *
 *     startInstance({ env: time.environment })
 *
 * Node.js loads `shifted-clocks.ts` before the daemon then. What has read a clock before is not told that time has passed.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SetTime {
  readonly environment: Readonly<Record<string, string>>;
  /** From now on, by the wall clock and by the boot-time clock. */
  shiftTo(aheadMs: number): void;
  remove(): void;
}

/** Whoever makes one removes it. */
export function createSetTime(): SetTime {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-time-'));
  const file = join(folder, 'ahead-ms');
  const preload = new URL('./shifted-clocks.ts', import.meta.url).href;
  writeFileSync(file, '0');
  return {
    environment: { NODE_OPTIONS: `--import=${preload}`, DRAWBRIDGE_TEST_AHEAD_FILE: file },
    shiftTo(aheadMs) {
      writeFileSync(file, String(aheadMs));
    },
    remove() {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
