/**
 * The tiers of the tests, cheapest first: each is a vitest project, and a later one starts when the earlier ones ended.
 *
 * A tier is a set of folders of `test/`, or the files that test faults; a folder that no tier names belongs to `unit`. `scripts/test` passes this file
 * with `--config`, because the top level of the checkout is kept free of configuration.
 */

import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { faultFiles, type Tier, tierFolders, tierNames } from './tiers.ts';

const inFolders = (folders: readonly string[]): string[] => folders.map((folder) => `test/${folder}/**`);
const inFaults = faultFiles.map((pattern) => `test/${pattern}`);

function filesOf(name: Tier): { readonly include: string[]; readonly exclude: string[] } {
  if (name === 'faults') return { include: inFaults, exclude: [] };
  if (name !== 'unit') {
    return { include: inFolders(tierFolders[name]).map((folder) => `${folder}/*.test.ts`), exclude: inFaults };
  }
  return { include: ['test/**/*.test.ts'], exclude: [...inFolders(Object.values(tierFolders).flat()), ...inFaults] };
}

export default defineConfig({
  test: {
    root: fileURLToPath(new URL('..', import.meta.url)),
    projects: tierNames.map((name, groupOrder) => ({
      extends: true as const,
      test: {
        name,
        ...filesOf(name),
        sequence: { groupOrder },
      },
    })),
    // Two cores are what a small CI machine has, and a software HSM keeps one of them busy.
    maxWorkers: 2,
    // Generous, because nothing is proven by a time limit: it only ends what hangs.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      reportsDirectory: 'coverage',
      reporter: ['text-summary', 'html', 'json-summary'],
    },
  },
});
