/**
 * Which folders of `test/` make up which tier, cheapest first. Read by vitest's configuration and
 * by `scripts/run-tests.ts`, which names skipped and failed tests by tier.
 */

export const tierFolders = {
  /** The source layout: reads files, runs nothing. */
  structure: ['structure'],
  /** Pure logic, and every folder that the other tiers do not name. */
  unit: [],
  /** One part against the real thing that it talks to: tokens, SQLite, sockets, processes. */
  component: ['hsm', 'keys', 'store', 'audit', 'http', 'daemon', 'cli', 'vectors'],
  /** The whole daemon through the unmodified AWS SDK and `curl`; the scripts and the README. */
  'end-to-end': ['end-to-end', 'scripts'],
  /** The daemon and a program as two containers. */
  containers: ['containers'],
  /** Crashes, hangs, lost sessions, full disks, `kill -9`. */
  faults: [],
} as const satisfies Record<string, readonly string[]>;

export type Tier = keyof typeof tierFolders;

/**
 * What belongs to `faults`, in whatever folder it stands beside the tests of the same thing: `faults.test.ts`, and
 * everything that is called slow.
 */
export const faultFiles = ['**/faults.test.ts', '**/*.slow.test.ts'] as const;

// Safe: the object above has exactly these keys.
export const tierNames = Object.keys(tierFolders) as readonly Tier[];

/** What `scripts/test --quick` runs. */
export const quickTiers: readonly Tier[] = ['structure', 'unit'];

/** @param path From the top of the checkout: `test/hsm/key-store.test.ts`. */
export function tierOf(path: string): Tier {
  if (/(?:^|\/)faults\.test\.ts$|\.slow\.test\.ts$/.test(path)) return 'faults';
  const folder = path.split('/')[1] ?? '';
  return tierNames.find((name) => (tierFolders[name] as readonly string[]).includes(folder)) ?? 'unit';
}
