/**
 * The tiers of the tests: each is a vitest project. The quick ones run first, the others together when those have ended.
 *
 * A tier is a set of folders of `test/`, or the files that test faults; a folder that no tier names belongs to `unit`. `scripts/test` passes this file
 * with `--config`, because the top level of the checkout is kept free of configuration.
 */

import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './longest-first.ts';
import { programVariable } from './support/program.ts';
import { faultFiles, quickTiers, type Tier, tierFolders, tierNames } from './tiers.ts';

const inFolders = (folders: readonly string[]): string[] => folders.map((folder) => `test/${folder}/**`);
const inFaults = faultFiles.map((pattern) => `test/${pattern}`);

function filesOf(name: Tier): { readonly include: string[]; readonly exclude: string[] } {
  if (name === 'faults') return { include: inFaults, exclude: [] };
  if (name !== 'unit') {
    return { include: inFolders(tierFolders[name]).map((folder) => `${folder}/*.test.ts`), exclude: inFaults };
  }
  return { include: ['test/**/*.test.ts'], exclude: [...inFolders(Object.values(tierFolders).flat()), ...inFaults] };
}

/** Rules and pure logic are judged first, in moments; the tiers that start processes then share the workers. */
function groupOf(name: Tier): number {
  return quickTiers.includes(name) ? quickTiers.indexOf(name) : quickTiers.length;
}

/**
 * The hosts of key stores that a test opens in its own process, and what else of `hsm/` is started as a process, are those of
 * `built-program.ts`, too. Where that is, is looked up when the module runs: vitest keeps what it has transformed from one run to the next.
 */
const hostsOfTheBuiltProgram = {
  name: 'hosts-of-the-built-program',
  transform: (code: string, id: string): string | undefined => {
    const [, name] = /\/src\/hsm\/(hsm-host|library-process)\.ts$/.exec(id) ?? [];
    if (name === undefined) return undefined;
    const built = `process.env['${programVariable}']`;
    const place = `(${built} ? new URL('../hsm/${name}.js', 'file://' + ${built}).href : import.meta.url)`;
    return code.replaceAll('import.meta.url', place);
  },
};

export default defineConfig({
  plugins: [hostsOfTheBuiltProgram],
  test: {
    root: fileURLToPath(new URL('..', import.meta.url)),
    projects: tierNames.map((name) => ({
      extends: true as const,
      test: {
        name,
        ...filesOf(name),
        sequence: { groupOrder: groupOf(name) },
        // Pure logic leaves nothing behind: its files share what one of them has loaded, which is a third of their time.
        isolate: !quickTiers.includes(name),
        globalSetup: quickTiers.includes(name)
          ? []
          : [fileURLToPath(new URL('support/built-program.ts', import.meta.url))],
      },
    })),
    // For the two cores of a small CI machine: much of a test is waiting for processes that it started.
    maxWorkers: 5,
    sequence: { sequencer: LongestFirst },
    // Generous, because nothing is proven by a time limit: it only ends what hangs.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 170_000 } },
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      reportsDirectory: 'coverage',
      reporter: ['text-summary', 'html', 'json-summary'],
    },
  },
});
