/**
 * Joins the sources of `drawbridge` into a few files before the tests of a run begin, for the processes that these start by
 * the hundred. Most of a start is the search for some 400 modules, one after the other: joined, a daemon starts with half of
 * the CPU (0.75 s, 0.42 s), and to join them takes less than two starts.
 *
 * It is the same code: types removed and modules joined, and nothing made shorter. What is started lies as in the package: the programs in
 * `dist/`, `package.json` and `native-config/` beside it. That the sources run as they are, and the package as it is made, is shown by
 * `test/scripts`.
 */

import { chmodSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';
import { programVariable } from './program.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sources = join(root, 'src');
/** What is started as a process of its own. */
const programs = [
  'cli/main',
  'hsm/host/process/host-main',
  'hsm/host/token/initialize-token',
  'hsm/host/token/look-for-token',
  'hsm/host/token/read-joining-pair',
  'hsm/host/token/trust-joining-keys',
] as const;
/** They load a library that lies beside them. */
const nativePackages = ['koffi', 'pkcs11js'];

/** vitest calls it once before the first test of each tier, and what it gives back after the last one. */
export default async function setup(): Promise<(() => void) | undefined> {
  if (process.env[programVariable] !== undefined) return undefined;
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'drawbridge-program-'));
  // Other users' processes start it too.
  chmodSync(folder, 0o755);
  const dist = join(folder, 'dist');
  await build(dist);
  process.env[programVariable] = join(dist, 'cli', 'main.js');
  return () => {
    delete process.env[programVariable];
    rmSync(folder, { recursive: true, force: true });
  };
}

async function build(dist: string): Promise<void> {
  const folder = join(dist, '..');
  for (const name of ['package.json', 'native-config', 'node_modules'])
    symlinkSync(join(root, name), join(folder, name));
  /** Where a module would lie if it were one file: what it finds relative to itself is found there. */
  const placeOf = (source: string): string =>
    pathToFileURL(join(dist, relative(sources, source).replace(/\.ts$/, '.js'))).href;
  const bundle = await rolldown({
    input: Object.fromEntries(programs.map((name) => [name, join(sources, `${name}.ts`)])),
    platform: 'node',
    external: nativePackages,
    plugins: [
      {
        name: 'places',
        transform: (code, source) =>
          source.startsWith(sources) && code.includes('import.meta.url')
            ? { code: code.replaceAll('import.meta.url', JSON.stringify(placeOf(source))), map: null }
            : null,
      },
    ],
  });
  await bundle.write({
    dir: dist,
    format: 'esm',
    keepNames: true,
    entryFileNames: '[name].js',
    chunkFileNames: 'joined/[name]-[hash].js',
  });
  await bundle.close();
}
