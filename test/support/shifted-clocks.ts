/** Loaded before a daemon (`set-time.ts`): its clocks are ahead of the machine's by the milliseconds that stand in a file. */

import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';

const file = process.env['DRAWBRIDGE_TEST_AHEAD_FILE'];
if (file === undefined) throw new Error('DRAWBRIDGE_TEST_AHEAD_FILE names no file');
const aheadMs = (): number => Number(readFileSync(file, 'utf8') || 0);

const MachineDate = Date;
const machineUptime = os.uptime;

/** Without arguments it is now; with any it is what they say. */
class ShiftedDate extends MachineDate {
  constructor(...given: readonly unknown[]) {
    // Safe: what the constructor of Date takes is handed on to it.
    if (given.length === 0) super(ShiftedDate.now());
    else super(...(given as [number]));
  }

  static override now(): number {
    return MachineDate.now() + aheadMs();
  }
}

// Safe: whoever calls Date without `new`, which a class does not allow, is not among what a daemon runs.
globalThis.Date = ShiftedDate as DateConstructor;
os.uptime = () => machineUptime() + aheadMs() / 1000;
syncBuiltinESMExports();
