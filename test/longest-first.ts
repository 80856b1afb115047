/**
 * The order of the test files within their group: those that take longest first, so that no worker ends with one of them
 * while the others have nothing left to do.
 *
 * vitest knows how long files took only where its cache is, which on a fresh machine is nowhere. So the few that take half
 * a minute and more are named here, the longest first; a file that is missing from the list costs time and nothing else.
 */

import { BaseSequencer, type TestSpecification } from 'vitest/node';

const longest = [
  'cli/transcripts.test.ts',
  'hsm/host-loss.test.ts',
  'hsm/faults.test.ts',
  'hsm/prompt-lane.test.ts',
  'hsm/key-store.test.ts',
  'hsm/host/host.test.ts',
  'end-to-end/every-step.test.ts',
  'end-to-end/random-lives.test.ts',
  'end-to-end/slow/mixed-load.slow.test.ts',
  'scripts/scripts.test.ts',
  'end-to-end/import-faults.test.ts',
  'end-to-end/key-life-faults.test.ts',
  'scripts/package.test.ts',
  'scripts/bench-many-keys.test.ts',
  'end-to-end/managed-keys.test.ts',
  'end-to-end/custom-key-stores.test.ts',
  'keys/life-cycle.test.ts',
  'end-to-end/slow/durability.slow.test.ts',
  'end-to-end/access-matrix.test.ts',
  'daemon/waiting-changes.test.ts',
  'end-to-end/rotation-faults.test.ts',
  'daemon/run.test.ts',
  'scripts/readme.test.ts',
  'daemon/dev.test.ts',
] as const;

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const group = ({ project }: TestSpecification): number => project.config.sequence.groupOrder;
    return sorted.sort((a, b) => group(a) - group(b) || rank(a) - rank(b));
  }
}

function rank({ moduleId }: TestSpecification): number {
  const place = longest.findIndex((file) => moduleId.endsWith(`/test/${file}`));
  return place < 0 ? longest.length : place;
}
