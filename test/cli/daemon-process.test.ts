/** What the process of a daemon is given: it begins as any command does, and becomes another one. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
/** Said by each process that ends, after which `--help` of the daemon's command has been printed. */
const confession = `data:text/javascript,process.on('exit', () => process.stderr.write(JSON.stringify({
  cache: process.env.NODE_COMPILE_CACHE, again: process.env.DRAWBRIDGE_BEGUN_AGAIN, stripped: process.moduleLoadList.some((name) => name.includes('amaro')),
  options: process.execArgv.filter((option) => option.startsWith('--max-semi')) })))`;

let home: string;
beforeEach(() => {
  home = join(mkdtempSync(join(tmpdir(), 'drawbridge-home-')), 'me');
  mkdirSync(home, { mode: 0o755 });
});
afterEach(() => rmSync(join(home, '..'), { recursive: true }));

function runDaemon(environment: NodeJS.ProcessEnv): unknown {
  const { stderr } = spawnSync(process.execPath, ['--import', confession, main, 'serve', '--help'], {
    env: environment,
    encoding: 'utf8',
  });
  return JSON.parse(stderr);
}

const options = ['--max-semi-space-size=4'];

test('a daemon is a process that had no types to strip, at its first start as at any other', () => {
  const cache = join(home, '.cache', 'drawbridge');
  expect(runDaemon({ HOME: home })).toEqual({ cache, options, stripped: false });
  expect(runDaemon({ HOME: home })).toEqual({ cache, options, stripped: false });
});

test('where compiled code may not be kept, a daemon is told of no place, and strips types itself', () => {
  expect(runDaemon({})).toEqual({ options, stripped: true });
  expect(runDaemon({ HOME: home, NODE_DISABLE_COMPILE_CACHE: '1' })).toEqual({ options, stripped: true });
});

test('where nothing can be written, a daemon begins once more and then no more', () => {
  const cache = '/dev/null/drawbridge';
  expect(runDaemon({ NODE_COMPILE_CACHE: cache })).toEqual({ cache, options, stripped: true });
});
