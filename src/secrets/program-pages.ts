/**
 * Takes pages of the program's file out of this process that its start needed, or a moment of its life, and nothing else does.
 *
 * The program is Node.js, 120 MB of code and tables. A start runs through much of it: ICU, the compilers and the snapshot of V8, the tables
 * of what each module may import. The kernel leaves every page that was touched once, and its neighbours, in the process: 54 MB
 * of its resident memory, of which 10 are touched again by whatever is asked of it (measured with all operations of the bench).
 *
 * They are clean copies of the file, in the page cache, shared with each other process of Node.js. So nothing is lost: a page that is needed
 * after all is mapped again, with its neighbours, in about a microsecond. INVARIANT: a page that is not a copy of the file is never dropped,
 * since it would come back as the file has it. Those are what the dynamic linker has filled in and then protected; a mapping that has
 * one, in memory or swapped out, is left alone, as is all that can be written. Only the program's own: libraries are loaded
 * while this runs, by other threads too.
 *
 * Source: madvise(2), MADV_DONTNEED; proc_pid_smaps(5).
 */

import { readFileSync, readlinkSync } from 'node:fs';
import koffi from 'koffi';

const madvDontneed = 4;

/** Addresses of a mapping. */
interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

type Madvise = (address: bigint, lengthBytes: bigint, advice: number) => number;
let madvise: Madvise | undefined;

/** Takes some 5 ms. What the system does not allow is left undone: it is about memory alone. */
export function dropProgramPages(): void {
  try {
    madvise ??= koffi.load(null).func('int madvise(uint64_t address, size_t length, int advice)') as Madvise;
    for (const { start, end } of untouchedMappings(readFileSync('/proc/self/smaps', 'utf8'), program()))
      madvise(start, end - start, madvDontneed);
  } catch {
    // No /proc, or another C library.
  }
}

const program = (): string => readlinkSync('/proc/self/exe');

/** The mappings of a file that hold nothing but what is in it. @param smaps As in /proc/PID/smaps. */
export function untouchedMappings(smaps: string, file: string): Range[] {
  return smaps
    .split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
    .map(
      (text) =>
        /^(?<start>[0-9a-f]+)-(?<end>[0-9a-f]+) r-[x-]p \S+ \S+ \d+ +(?<path>.*?)\n(?<sizes>.*)/s.exec(text)?.groups,
    )
    .filter((mapping) => mapping !== undefined)
    .filter(({ path, sizes = '' }) => path === file && isZero('Anonymous', sizes) && isZero('Swap', sizes))
    .map(({ start, end }) => ({ start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) }));
}

/** Not so where the kernel does not say. */
const isZero = (name: string, sizes: string): boolean => new RegExp(`^${name}: +0 kB$`, 'm').test(sizes);
