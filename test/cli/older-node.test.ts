/** Whoever installs the package beside an older Node.js is told so by each of its programs, and not by an error of the module loader. */

import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { sourceProgram } from '../support/program.ts';

/** Makes this Node.js one that calls itself 20 and has nothing in `node:module` that came later. */
const older = `
  import { registerHooks } from 'node:module';
  const nodeModules = "data:text/javascript,export const { createRequire } = process.getBuiltinModule('module');";
  registerHooks({
    resolve: (name, context, next) =>
      name === 'node:module' ? { url: nodeModules, shortCircuit: true } : next(name, context),
  });
  const versions = { ...process.versions, node: '20.20.2' };
  Object.defineProperty(process, 'versions', { value: versions });
  Object.defineProperty(process, 'version', { value: 'v20.20.2' });
`;

test.each([
  ['drawbridge', 'main'],
  ['age-plugin-drawbridge', 'age-plugin-drawbridge'],
  ['sigstore-kms-drawbridge', 'sigstore-kms-drawbridge'],
])('%s says which Node.js it needs', (name, file) => {
  const path = join(dirname(sourceProgram), `${file}.ts`);
  const preload = `--import=data:text/javascript,${encodeURIComponent(older)}`;
  const { status, stdout, stderr } = spawnSync(process.execPath, [preload, path, 'serve'], { encoding: 'utf8' });
  expect({ status, stdout, stderr }).toEqual({
    status: 1,
    stdout: '',
    stderr: `${name}: this needs Node.js 24 or newer, and \`node\` on PATH is v20.20.2\n`,
  });
});
