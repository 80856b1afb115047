/**
 * A disk that stops in the middle: an ext4 file system in a file, which the kernel freezes, so that whoever writes to it waits until
 * it is thawed, and no signal ends that. Needs root; where that is not to be had, tests are skipped with a line that says so.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface HangingDisk {
  readonly folder: string;
  /** From now on nothing is written. */
  hang(): void;
  /** @returns `false` when it did not hang any more: it goes on by itself after 20 seconds, for a test whose own process waits for it. */
  goOn(): boolean;
  remove(): void;
}

/** @throws Error when this machine does not let the test mount anything. */
export function createHangingDisk(): HangingDisk {
  const home = mkdtempSync(join(tmpdir(), 'drawbridge-hanging-'));
  const mounted = join(home, 'mounted');
  const run = (program: string, ...args: readonly string[]): void =>
    void execFileSync(program, [...args], { stdio: 'pipe' });
  try {
    mkdirSync(mounted);
    run('truncate', '--size', '32M', join(home, 'image'));
    run('mkfs.ext4', '-q', join(home, 'image'));
    run('mount', '-o', 'loop', join(home, 'image'), mounted);
  } catch (error) {
    rmSync(home, { recursive: true });
    throw error;
  }
  const folder = join(mounted, 'disk');
  mkdirSync(folder, { mode: 0o700 });
  let rescue: ChildProcess | undefined;
  return {
    folder,
    hang() {
      run('fsfreeze', '--freeze', mounted);
      // A group of its own, so that what it waits for ends with it.
      const command = ['-c', 'sleep 20; exec fsfreeze --unfreeze "$0"', mounted];
      rescue = spawn('sh', command, { stdio: 'ignore', detached: true });
    },
    goOn() {
      endGroup(rescue);
      rescue = undefined;
      try {
        run('fsfreeze', '--unfreeze', mounted);
        return true;
      } catch {
        return false; // The system says so of one that is not frozen.
      }
    },
    remove() {
      this.goOn();
      run('umount', mounted);
      rmSync(home, { recursive: true });
    },
  };
}

function endGroup(child: ChildProcess | undefined): void {
  try {
    if (child?.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** Why no such disk can be made here, or `null`. */
export const hangingDiskMissing: string | null = (() => {
  try {
    const disk = createHangingDisk();
    disk.hang();
    const hasHung = disk.goOn();
    disk.remove();
    return hasHung ? null : 'this machine freezes no file systems';
  } catch {
    return 'this user may not mount a file system';
  }
})();
if (hangingDiskMissing !== null) process.stderr.write(`skipped: disks that hang: ${hangingDiskMissing}\n`);
