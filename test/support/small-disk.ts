/**
 * A file system of a chosen size, for tests of full and of read-only disks: a tmpfs, mounted by the test and unmounted
 * by it. Mounting needs root; where that is not to be had, tests are skipped with a line that says so.
 */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SmallDisk {
  readonly folder: string;
  /** Mounts it anew as read-only. Nothing on it may be open for writing. */
  makeReadOnly(): void;
  remove(): void;
}

/** @throws Error when this machine does not let the test mount anything. */
export function createSmallDisk(sizeBytes: number): SmallDisk {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes},mode=0700`, 'tmpfs', folder], { stdio: 'pipe' });
  } catch (error) {
    rmSync(folder, { recursive: true });
    throw error;
  }
  chmodSync(folder, 0o700);
  return {
    folder,
    makeReadOnly() {
      execFileSync('mount', ['-o', 'remount,ro', folder], { stdio: 'pipe' });
    },
    remove() {
      execFileSync('umount', [folder], { stdio: 'pipe' });
      rmdirSync(folder);
    },
  };
}

/** Why no small disk can be made here, or `null`. */
export const smallDiskMissing: string | null = (() => {
  try {
    createSmallDisk(64 * 1024).remove();
    return null;
  } catch {
    return 'this user may not mount a tmpfs';
  }
})();
if (smallDiskMissing !== null) process.stderr.write(`skipped: full and read-only disks: ${smallDiskMissing}\n`);
