/**
 * Gives back what the start of a host took and its calls do not need, once all of its lanes are open.
 *
 * Each lane has a Node.js of its own, which has compiled and read a program by then and leaves no garbage behind afterwards, so that nothing
 * would ever be collected. `hsm-host.ts` lets it be asked for (`--expose-gc`).
 */

import { giveBackNow } from '../../../secrets/freed-memory.ts';
import { dropProgramPages } from '../../../secrets/program-pages.ts';

export class StartRemains {
  /** How many lanes are not open yet; shared by the threads of a host. */
  readonly memory: SharedArrayBuffer;

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory;
  }

  static of(lanes: number): StartRemains {
    const memory = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
    new Int32Array(memory)[0] = lanes;
    return new StartRemains(memory);
  }

  /**
   * Called once by the thread of each lane, before it serves. Each further one collects its garbage first, in some 20 ms; the first does not,
   * since whoever starts a host waits for it.
   */
  laneOpened(lane: 'first' | 'further'): void {
    if (lane === 'further') globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    if (Atomics.sub(new Int32Array(this.memory), 0, 1) > 1) return;
    giveBackNow();
    dropProgramPages();
  }
}
