/** `scripts/bench --against`: what it calls slower, which commit it takes, and that it runs and leaves nothing. */

import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Comparison } from '../../scripts/benchmark/against.ts';
import { plainEncrypt } from '../../scripts/benchmark/cases.ts';
import { joinTurns, orderOf, renderComparison, toComparedRow, verdictOf } from '../../scripts/benchmark/comparison.ts';
import type { Measurement } from '../../scripts/benchmark/measurement.ts';
import { checkOut, describeCheckout, resolveCommit } from '../../scripts/benchmark/other-commit.ts';
import { median } from '../../scripts/benchmark/results.ts';
import { softHsm2 } from '../support/tokens.ts';
import { endEarly, processesOf, root, runScript } from './run-script.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'against-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the verdict', () => {
  test.each([
    { this: 9_499, other: 10_000, verdict: 'slower' },
    { this: 9_500, other: 10_000, verdict: 'same' },
    { this: 10_000, other: 10_000, verdict: 'same' },
    { this: 10_000, other: 9_500, verdict: 'same' },
    { this: 10_000, other: 9_499, verdict: 'faster' },
    { this: 0.95, other: 1, verdict: 'same' },
  ])('of $this against $other requests per second is $verdict', ({ verdict, ...medians }) => {
    expect(verdictOf(medians)).toBe(verdict);
  });

  test.each([
    { numbers: [3], middle: 3 },
    { numbers: [10, 9, 1, 2, 100], middle: 9 },
    { numbers: [4, 1, 3, 2], middle: 2.5 },
    { numbers: [], middle: 0 },
  ])('is about the median, which of $numbers is $middle', ({ numbers, middle }) => {
    expect(median(numbers)).toBe(middle);
  });

  test('is not swayed by one round in which the machine was busy', () => {
    const row = toComparedRow({
      what: plainEncrypt,
      connections: 16,
      rounds: { this: [1000, 10, 1010, 990, 1000].map(measured), other: [1000, 1020, 1000, 990, 5].map(measured) },
    });
    expect(row).toMatchObject({ ratio: 1, verdict: 'same' });
    const rounds = [1000, 10, 1010, 990, 1000];
    expect(row.this).toEqual({ requestsPerSecond: 1000, apiCpuMicros: 70, p50Micros: 250, rounds });
  });

  test('counts the turns of a round together, each by its requests and not by itself', () => {
    const turns = [
      { count: 300, seconds: 1, apiCpuMicros: 60, p50Micros: 200 },
      { count: 100, seconds: 3, apiCpuMicros: 100, p50Micros: 400 },
    ];
    expect(joinTurns(turns)).toEqual({ count: 400, seconds: 4, apiCpuMicros: 70, p50Micros: 300 });
  });

  test('has the sides take turns in being first', () => {
    expect([0, 1, 2, 3].flatMap(orderOf)).toEqual(['this', 'other', 'other', 'this', 'this', 'other', 'other', 'this']);
  });

  test('stands in the table behind what it follows from', () => {
    const rounds = { this: [900, 900].map(measured), other: [1000, 1000].map(measured) };
    expect(renderComparison([toComparedRow({ what: plainEncrypt, connections: 16, rounds })])).toBe(
      [
        'operation  bytes  connections  this/s  other/s  ratio  this µs  other µs  this p50  other p50  verdict',
        'Encrypt       64           16     900    1,000  0.900     70.0      70.0       250        250  slower',
        '',
        'requests/s, µs of CPU per request in the API process, and p50 in µs; medians of the rounds',
        "1 of 1 rows slower (below 0.95 of the other's)",
      ].join('\n'),
    );
  });
});

function measured(requestsPerSecond: number): Measurement {
  return {
    count: requestsPerSecond * 2,
    seconds: 2,
    p50Micros: 250,
    p99Micros: 400,
    p999Micros: 400,
    maxMicros: 400,
    apiCpuMicros: 70,
    apiSystemShare: 0.2,
    hostCpuMicros: 20,
  };
}

describe('the other commit', () => {
  let repository: string;
  const git = (...args: readonly string[]): string => {
    const identity = ['-c', 'user.name=Bench', '-c', 'user.email=bench@example.org'];
    return execFileSync('git', ['-C', repository, ...identity, ...args], { encoding: 'utf8', stdio: 'pipe' }).trim();
  };
  const commitAll = (message: string): void => {
    git('add', '--all');
    git('commit', '--quiet', '--message', message);
  };

  beforeAll(() => {
    repository = join(folder, 'repository');
    mkdirSync(join(repository, 'node_modules'), { recursive: true });
    git('init', '--quiet');
    writeFileSync(join(repository, '.gitignore'), 'node_modules\n');
    commitAll('nothing to start yet');
    mkdirSync(join(repository, 'src', 'cli'), { recursive: true });
    writeFileSync(join(repository, 'src', 'cli', 'main.ts'), '// first\n');
    copyFileSync(join(root, 'package-lock.json'), join(repository, 'package-lock.json'));
    commitAll('a program');
    writeFileSync(join(repository, 'src', 'cli', 'main.ts'), '// second\n');
    commitAll('another program');
  });

  test('may be named in any way that git knows, also while no branch is checked out', () => {
    git('tag', '--annotate', '--message', 'a tag', 'released', 'HEAD~1');
    git('checkout', '--quiet', '--detach');
    const hash = git('rev-parse', 'HEAD~1');
    for (const ref of ['HEAD~1', 'released', hash, hash.slice(0, 8)]) {
      expect(resolveCommit(repository, ref)).toEqual({ ref, hash });
    }
  });

  test.each(['nonsense', 'HEAD:src', '--all', ''])('is refused when there is none of the name `%s`', (ref) => {
    expect(() => resolveCommit(repository, ref)).toThrow(
      `there is no commit \`${ref}\` in this clone; give a branch, a tag or a hash`,
    );
  });

  test('is taken from a shallow clone where that has it, and else it is said how to get it', () => {
    const shallow = join(folder, 'shallow');
    git('clone', '--quiet', '--depth', '1', `file://${repository}`, shallow);
    expect(resolveCommit(shallow, 'HEAD').hash).toBe(git('rev-parse', 'HEAD'));
    expect(() => resolveCommit(shallow, 'HEAD~1')).toThrow('this clone is shallow: get the commit with `git fetch');
  });

  test('is refused where there is no history, also inside of another repository', () => {
    const bare = mkdtempSync(join(folder, 'bare-'));
    expect(() => resolveCommit(bare, 'HEAD')).toThrow(/^--against needs git and a clone .*fatal: not a git repository/);
    const inside = join(repository, 'node_modules');
    expect(() => resolveCommit(inside, 'HEAD')).toThrow(`is part of the one in \`${realpathSync(repository)}\``);
  });

  test('comes with its own files, whatever was changed since, and our dependencies if it wants the same', async () => {
    writeFileSync(join(repository, 'src', 'cli', 'main.ts'), '// not committed\n');
    expect(describeCheckout(repository)).toMatch(/^[0-9a-f]+-dirty$/);
    const status = git('status', '--porcelain');
    const said: string[] = [];
    const other = join(folder, 'other');
    await checkOut(repository, resolveCommit(repository, 'HEAD~1'), other, (line) => said.push(line));
    expect(readFileSync(join(other, 'src', 'cli', 'main.ts'), 'utf8')).toBe('// first\n');
    expect(readlinkSync(join(other, 'node_modules'))).toBe(realpathSync(join(repository, 'node_modules')));
    expect(said).toEqual(['HEAD~1 has the same package-lock.json, and uses node_modules/ of this checkout']);
    expect(git('status', '--porcelain')).toBe(status);
    expect(git('worktree', 'list').split('\n')).toHaveLength(1);
  });

  test('is refused when it has nothing that could be started', async () => {
    const commit = resolveCommit(repository, 'HEAD~2');
    await expect(checkOut(repository, commit, join(folder, 'empty'), () => undefined)).rejects.toThrow(
      '`HEAD~2` has no src/cli/main.ts, so there is nothing to start; give a newer commit',
    );
  });
});

const missing = softHsm2.missing ?? (existsSync(join(root, '.git')) ? null : 'this copy has no history');
if (missing !== null) process.stdout.write(`skipped: scripts/bench --against: ${missing}\n`);

describe.skipIf(missing !== null)('scripts/bench --against', () => {
  const leftovers = (): string[] => readdirSync(folder).filter((name) => name.startsWith('db-bench'));

  test('measures each row with both commits, and its exit code says whether one is slower', async () => {
    const file = join(folder, 'bench.json');
    const args = ['--against', 'HEAD', '--quick', '--rounds', '2', '--only', 'GenerateMac', '--json', file];
    const ended = await runScript('bench', args, { env: { ...process.env, TMPDIR: folder } });
    // Either will do: a round of a tenth of a second says nothing about speed.
    expect([0, 1], ended.stderr).toContain(ended.code);
    const side = {
      requestsPerSecond: expect.any(Number),
      apiCpuMicros: expect.any(Number),
      p50Micros: expect.any(Number),
      rounds: [expect.any(Number), expect.any(Number)],
    };
    // What `against.ts` declares is what it writes.
    const comparison = JSON.parse(readFileSync(file, 'utf8')) as Comparison;
    expect(comparison).toEqual({
      this: expect.stringMatching(/^[0-9a-f]+(?:-dirty)?$/),
      other: { ref: 'HEAD', hash: expect.stringMatching(/^[0-9a-f]{40}$/) },
      rows: [1, 16, 128].map((connections) => ({
        operation: 'GenerateMac HMAC_256',
        payloadBytes: 64,
        connections,
        this: side,
        other: side,
        ratio: expect.any(Number),
        verdict: expect.stringMatching(/^(?:slower|same|faster)$/),
      })),
      leftOut: [],
    });
    for (const row of comparison.rows) {
      for (const rate of [...row.this.rounds, ...row.other.rounds]) expect(rate).toBeGreaterThan(0);
    }
    expect(ended.stdout).toMatch(
      /^operation +bytes +connections +this\/s +other\/s +ratio +this µs +other µs +this p50 +other p50 +verdict$/m,
    );
    expect(ended.stdout.match(/^GenerateMac HMAC_256 .* (?:slower|same|faster)$/gm)).toHaveLength(3);
    const isSlower = comparison.rows.some(({ verdict }) => verdict === 'slower');
    expect(ended.code).toBe(isSlower ? 1 : 0);
    expect(leftovers()).toEqual([]);
  });

  test('says what to do about a commit that does not exist', async () => {
    const env = { ...process.env, TMPDIR: folder };
    const ended = await runScript('bench', ['--against', 'no-such-branch'], { env });
    expect(ended.code).toBe(2);
    expect(ended.stderr).toMatch(/^bench: there is no commit `no-such-branch` in this clone; /);
    expect(leftovers()).toEqual([]);
  });

  test('leaves no folder and no process when it is interrupted', async () => {
    const sockets = join(folder, 'db-bench-*', 'other-instance', 'kms.sock');
    const args = ['--against', 'HEAD'];
    const exit = await endEarly('bench', { args, tmpdir: folder, signal: 'SIGINT', at: sockets });
    expect(exit).toEqual([130, null]);
    expect(leftovers()).toEqual([]);
    await expect.poll(() => processesOf(join(folder, 'db-bench-')), { timeout: 170_000 }).toEqual([]);
  });
});
