/**
 * The process of a daemon: the same Node.js with less memory for garbage.
 *
 * V8 lets the space for young objects grow to 128 MB, and its old space to several times of what is in use, before it collects.
 * Measured with 64 connections, after 80,000 requests: 348 MB resident, of which 32 are what a collection leaves. Both limits are
 * options of the process alone, so a daemon begins by becoming such a process (`execve`, which keeps its pid and its descriptors), unless
 * its options say something of the kind already.
 */

// As in `compiled-code.ts`.
import * as nodeModules from 'node:module';
import { keptCompiledCode } from './compiled-code.ts';

/**
 * Two semi-spaces of 4 MB: a request allocates some 18 KB, so that what a collection finds alive is a small part of them. With 2, 4 or 8 MB a
 * request takes the same CPU (50.5, 50.2 and 49.5 µs in one run), and the process 8 MB less memory with 4 than with 8.
 */
const youngSpace = '--max-semi-space-size';
/** All objects are collected when there is a third as much again as was left by the last collection. */
const growth = '--heap-growing-percent';
/**
 * Little is alive, so a collection of young objects takes this thread half a millisecond; to wake others for a part of it takes more than it
 * gives (3 of 45 µs of CPU a request).
 */
const oneCollector = '--no-parallel-scavenge';
/**
 * Where V8 has seen objects stay, it makes those that come from the same place old at once. So those of keys: the first that come into memory
 * stay there, and of a million the others go again with the request (88 µs of CPU for one that is at hand and not in memory, 115 without).
 */
const noneOldAtOnce = '--no-allocation-site-pretenuring';
const options = { [youngSpace]: '=4', [growth]: '=30', [oneCollector]: '', [noneOldAtOnce]: '' };

/**
 * Where compiled code is kept. From the TypeScript sources, the new process knows it before it reads its first file: the type stripper of
 * Node.js, a WebAssembly module that is needed for a single file that is not kept, takes 19 MB which it never gives back. HSM hosts inherit
 * it, and save as much each. An installed daemon has nothing to strip, and does without: Node.js holds all that it read from there for as long
 * as it runs, 7 MB, and a start takes 0.04 s more.
 */
const compiledCode = 'NODE_COMPILE_CACHE';
const noCompiledCode = 'NODE_DISABLE_COMPILE_CACHE';
const isStripped = import.meta.url.endsWith('.ts');
/** Set in the environment of a process that began once more, so that none does so for ever where nothing can be kept. */
const begunAgain = 'DRAWBRIDGE_BEGUN_AGAIN';

const commands = ['serve', 'dev'];
const isDaemon = (argv: readonly string[]): boolean => commands.includes(argv[2] ?? '');

/** Returns where this process is to run the command; else it is another one by then. */
export function becomeDaemonProcess(argv: readonly string[]): void {
  if (!isDaemon(argv)) return;
  const given = [...process.execArgv, ...(process.env['NODE_OPTIONS'] ?? '').split(/\s+/)];
  const isGiven = (name: string): boolean => given.some((option) => option.replaceAll('_', '-').startsWith(name));
  const missing = Object.entries(options).filter(([name]) => !isGiven(name));
  // Who has chosen a size of his own is left alone.
  if (missing.length === 0 || isGiven(youngSpace)) return;
  const added = missing.map(([name, value]) => name + value);
  const kept = keptCompiledCode();
  if (kept === undefined) begin(added, argv, {});
  else begin(added, argv, isStripped ? { [compiledCode]: kept } : { [noCompiledCode]: '1' });
}

/**
 * Begins once more where this process had to strip types, as the first one does after a change of the sources: the next one finds all of it
 * compiled. Returns where there is nothing to gain, or nothing was kept.
 *
 * @param load Loads what a daemon consists of.
 */
export async function leaveCompilerBehind(argv: readonly string[], load: () => Promise<unknown>): Promise<void> {
  const isSecond = process.env[begunAgain] !== undefined;
  delete process.env[begunAgain];
  if (!isDaemon(argv)) return;
  await load();
  const { moduleLoadList } = process as { moduleLoadList?: readonly string[] };
  const hasStripper = moduleLoadList?.some((name) => name.includes('/amaro/')) ?? false;
  if (!hasStripper || isSecond || process.env[compiledCode] === undefined) return;
  nodeModules.flushCompileCache();
  begin([], argv, { [begunAgain]: '1' });
}

/** As another process in the place of this one, which holds nothing yet. Returns where the system has no such thing. */
function begin(nodeOptions: readonly string[], argv: readonly string[], environment: NodeJS.ProcessEnv): void {
  const words = [process.execPath, ...process.execArgv, ...nodeOptions, ...argv.slice(1)];
  try {
    process.execve?.(process.execPath, words, { ...process.env, ...environment });
  } catch {
    // It takes more memory as it is, and does the same.
  }
}
