/**
 * Watches how much memory a host has come to hold: libraries keep some of what they should not.
 *
 * SoftHSM2 2.6.1 keeps 246 bytes of every session object that was ever made: of each shared secret, of each import. Nothing in the
 * library gives that back, so a host is replaced before it matters. What counts is what it has grown by since it was opened, and
 * not what it holds: a token with many keys takes as much as it takes. Nor what comes and goes of the pages of its program's file.
 */

import { readFile } from 'node:fs/promises';
import type { KeyStoreLimits } from './key-store-limits.ts';

export interface GrowthWatch {
  /** Resolves, with the MB that it has grown by, when that is too much. Does not resolve where the kernel does not say. */
  readonly outgrown: Promise<number>;
  stop(): void;
}

export function watchGrowth(
  pid: number,
  { maxHostGrowthMb, growthCheckMs }: Pick<KeyStoreLimits, 'maxHostGrowthMb' | 'growthCheckMs'>,
): GrowthWatch {
  const { promise: outgrown, resolve } = Promise.withResolvers<number>();
  let firstMb: number | undefined;
  const timer = setInterval(async () => {
    const nowMb = await ownMb(pid);
    firstMb ??= nowMb;
    if (nowMb === undefined || firstMb === undefined || nowMb - firstMb <= maxHostGrowthMb) return;
    clearInterval(timer);
    resolve(nowMb - firstMb);
  }, growthCheckMs).unref();
  return { outgrown, stop: () => clearInterval(timer) };
}

/** `undefined` of a process that is gone, or where there is no `/proc`. */
async function ownMb(pid: number): Promise<number | undefined> {
  try {
    const match = /^RssAnon:\s*(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'));
    return match === null ? undefined : Number(match[1]) / 1024;
  } catch {
    return undefined; // Whoever watches it hears of its end otherwise.
  }
}
