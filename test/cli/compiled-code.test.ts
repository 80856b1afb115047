/** Where the command line keeps its compiled code: whoever can write there decides what the next command does. */

import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { compiledCodeFolder } from '../../src/cli/compiled-code.ts';

const stranger = 12_345;
const isRoot = process.getuid?.() === 0;
let home: string;
beforeEach(() => {
  home = join(mkdtempSync(join(tmpdir(), 'drawbridge-home-')), 'me');
  mkdirSync(home, { mode: 0o755 });
});
afterEach(() => rmSync(join(home, '..'), { recursive: true }));

test('compiled code is kept in a folder of the user alone, in his cache', () => {
  expect(compiledCodeFolder({ HOME: home })).toBe(join(home, '.cache', 'drawbridge'));
  expect(statSync(join(home, '.cache', 'drawbridge')).mode & 0o777).toBe(0o700);
  mkdirSync(join(home, 'elsewhere'));
  const environment = { HOME: home, XDG_CACHE_HOME: join(home, 'elsewhere') };
  expect(compiledCodeFolder(environment)).toBe(join(home, 'elsewhere', 'drawbridge'));
});

test.each<[where: string, prepare: () => NodeJS.ProcessEnv]>([
  ['there is no home', () => ({})],
  ['the home is missing', () => ({ HOME: join(home, 'nobody') })],
  ['the home is named relative to where one is', () => ({ HOME: '.' })],
  [
    'others can write to the home',
    () => {
      chmodSync(home, 0o775);
      return { HOME: home };
    },
  ],
  [
    'others can write to what is kept',
    () => {
      mkdirSync(join(home, 'drawbridge'));
      chmodSync(join(home, 'drawbridge'), 0o1777);
      return { XDG_CACHE_HOME: home };
    },
  ],
  [
    'a link leads out of the home to where others can write',
    () => {
      mkdirSync(join(home, '..', 'shared'));
      chmodSync(join(home, '..', 'shared'), 0o777);
      symlinkSync(join(home, '..', 'shared'), join(home, '.cache'));
      return { HOME: home };
    },
  ],
])('none is kept where %s', (_where, prepare) => {
  expect(compiledCodeFolder(prepare())).toBeUndefined();
});

test.runIf(isRoot)('root keeps none in the home of somebody else, and makes nothing there', () => {
  chownSync(home, stranger, stranger);
  expect(compiledCodeFolder({ HOME: home })).toBeUndefined();
  expect(() => statSync(join(home, '.cache'))).toThrow('ENOENT');
});
