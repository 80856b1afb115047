/**
 * Runs every check of the project and says at the end, in plain words, what passed, failed and was skipped.
 *
 * Stages: format and lint (Biome), types (tsc, type tests included), the tests in their tiers (vitest), and clean-up: what
 * a test left behind is a failure of its own. A failed stage does not stop the next one. The exit code is 0 only when
 * nothing failed. The last line is `N passed, N failed, N skipped`, in which each of the other stages counts as one.
 *
 * All tests of a run get one folder as TMPDIR, by which their files and processes are known, and only theirs. It is in memory where
 * the machine has room for that: tens of thousands of changes wait for the disk otherwise, each for some milliseconds on a virtual
 * one. What a killed process leaves is the same there; what a full or a hanging disk does is shown on disks that tests make.
 */

import { type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { quickTiers, type Tier, tierNames, tierOf } from '../test/tiers.ts';

const help = `Usage: scripts/test [--quick] [--coverage] [arguments for vitest]

Runs format and lint checks, the type check, and all tests: ${tierNames.join(', ')}.

  --quick      only the tiers ${quickTiers.join(' and ')}; under a minute
  --coverage   also writes a report of the coverage to coverage/, and takes longer for it
  --help       this text

Anything else goes to vitest, for example a folder (test/keys) or -t 'part of a name'. For one tier: --project NAME.
`;

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = (name: string): string => join(root, 'node_modules', '.bin', name);

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  /** Stages and tiers with failures, and how many tests they skipped: for the line above the last. */
  readonly failedStages: string[];
  readonly skippedByTier: Map<Tier, number>;
}

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  if (args.includes('--help')) {
    process.stdout.write(help);
    return;
  }
  const quick = args.includes('--quick');
  const vitestArgs = args.filter((arg) => arg !== '--quick');
  const tally: Tally = { passed: 0, failed: 0, skipped: 0, failedStages: [], skippedByTier: new Map() };

  await runCheck('format and lint', [bin('biome'), 'check', '--error-on-warnings', '.'], tally);
  await runCheck('types', [bin('tsc'), '--project', '.'], tally);
  const folder = newFolder();
  // Tests that call as another Unix user reach sockets in here; what is private has modes of its own.
  chmodSync(folder, 0o711);
  try {
    await runTests(folder, quick, vitestArgs, tally);
    await checkCleanUp(folder, tally);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  report(tally);
  process.exitCode = tally.failed === 0 ? 0 : 1;
}

/** A container's is often too small, or runs no programs. Who sets TMPDIR knows better. */
const inMemory = '/dev/shm';
/** Several times what a run has there at once; the processes of the tests want as much again. */
const roomBytes = 6 * 1024 ** 3;

function newFolder(): string {
  if (process.env['TMPDIR'] === undefined && hasRoom()) {
    const folder = mkdtempSync(join(inMemory, 'db-'));
    const program = join(folder, 'program');
    writeFileSync(program, '#!/bin/sh\n', { mode: 0o700 });
    const { status } = spawnSync(program);
    rmSync(program);
    if (status === 0) return folder;
    rmSync(folder, { recursive: true });
  }
  return mkdtempSync(join(tmpdir(), 'db-'));
}

function hasRoom(): boolean {
  try {
    const { bavail, bsize } = statfsSync(inMemory);
    return Math.min(bavail * bsize, process.availableMemory()) >= roomBytes;
  } catch {
    return false; // There is none.
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function run(command: readonly string[], options: SpawnOptions = {}): Promise<number> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options });
  // A Ctrl-C reaches the child directly, as one of the terminal's group; we stay to clean up after it.
  const stay = (): void => undefined;
  const forward = (): void => void child.kill('SIGTERM');
  process.on('SIGINT', stay).on('SIGTERM', forward);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => resolve(code ?? 1));
    });
  } finally {
    process.off('SIGINT', stay).off('SIGTERM', forward);
  }
}

async function runCheck(name: string, command: readonly string[], tally: Tally): Promise<void> {
  say(`\n== ${name}`);
  if ((await run(command)) === 0) {
    tally.passed += 1;
  } else {
    tally.failed += 1;
    tally.failedStages.push(name);
  }
}

/** The part of vitest's JSON report that is read here. */
interface VitestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

async function runTests(folder: string, quick: boolean, vitestArgs: readonly string[], tally: Tally): Promise<void> {
  say(`\n== tests: ${(quick ? quickTiers : tierNames).join(', ')}`);
  const reportFile = join(folder, 'vitest.json');
  const command = [
    bin('vitest'),
    'run',
    '--config=test/vitest.config.ts',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${reportFile}`,
    ...(quick ? quickTiers.map((tier) => `--project=${tier}`) : []),
    ...vitestArgs,
  ];
  // Daemons, hosts and commands start by the hundred, and most of a start is the compilation of the same sources.
  const compiled = join(folder, 'compiled');
  const code = await run(command, { env: { ...process.env, TMPDIR: folder, NODE_COMPILE_CACHE: compiled } });
  const failedBefore = tally.failed;
  for (const file of readReport(reportFile)?.testResults ?? []) countFile(file, tally);
  // An error outside of any test, or a crash of vitest itself.
  if (code !== 0 && tally.failed === failedBefore) {
    tally.failed += 1;
    tally.failedStages.push('vitest');
  }
  rmSync(reportFile, { force: true });
  rmSync(compiled, { recursive: true, force: true });
}

function readReport(path: string): VitestReport | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as VitestReport;
  } catch {
    // vitest ended before it wrote one; its exit code says so too.
    return undefined;
  }
}

function countFile(file: VitestReport['testResults'][number], tally: Tally): void {
  const tier = tierOf(relative(root, file.name));
  const count = (status: string): number => file.assertionResults.filter((test) => test.status === status).length;
  const failed = count('failed');
  // A file that fails before its first test has no results at all.
  const lost = file.status === 'failed' && failed === 0 ? 1 : 0;
  const skipped = file.assertionResults.length - count('passed') - failed;
  tally.passed += count('passed');
  tally.failed += failed + lost;
  tally.skipped += skipped;
  if (failed + lost > 0 && !tally.failedStages.includes(tier)) tally.failedStages.push(tier);
  if (skipped > 0) tally.skippedByTier.set(tier, (tally.skippedByTier.get(tier) ?? 0) + skipped);
}

interface Stray {
  readonly pid: number;
  readonly command: string;
}

async function checkCleanUp(folder: string, tally: Tally): Promise<void> {
  say('\n== clean-up');
  // A process that a test has just ended may need a moment to go.
  let strays = findStrays(folder);
  for (let attempt = 0; strays.length > 0 && attempt < 20; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    strays = findStrays(folder);
  }
  const files = readdirSync(folder);
  for (const { pid, command } of strays) {
    say(`left behind: process ${pid}: ${command}`);
    process.kill(pid, 'SIGKILL');
  }
  for (const file of files) say(`left behind: ${join(folder, file)} (removed now)`);
  if (strays.length + files.length === 0) {
    say('nothing was left behind');
    tally.passed += 1;
  } else {
    tally.failed += 1;
    tally.failedStages.push('clean-up');
  }
}

/** Processes with our TMPDIR in their environment, or our folder in their command line. */
function findStrays(folder: string): Stray[] {
  const strays: Stray[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
      if (command !== '' && (environment.includes(`TMPDIR=${folder}`) || command.includes(folder))) {
        strays.push({ pid, command: command.slice(0, 200) });
      }
    } catch {
      // It ended while we looked, or it is another user's and so none of ours.
    }
  }
  return strays;
}

function report({ passed, failed, skipped, failedStages, skippedByTier }: Tally): void {
  const skippedTiers = [...skippedByTier].map(([tier, count]) => `${tier} (${count})`);
  say(
    `\nfailed stages: ${failedStages.join(', ') || 'none'}; skipped tests, with the reason above: ${skippedTiers.join(', ') || 'none'}`,
  );
  say(`${passed} passed, ${failed} failed, ${skipped} skipped`);
}

await main();
