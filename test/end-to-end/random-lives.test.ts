/**
 * Random lives of keys: sequences of all operations, restarts and `kill -9`, over a real daemon and both tokens, each answer and
 * each thing that can be seen held to a small model that was written from AWS's documentation.
 *
 * Each run has a seed of its own, which it prints. `DRAWBRIDGE_SEED=…` lives the same lives again (what a `kill -9` hits is
 * the moment's), `DRAWBRIDGE_RANDOM_RUNS=1000` so many of them.
 */

import { randomInt } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { missingForInstance } from '../support/instance.ts';
import { anyLife } from './random-lives/life-steps.ts';
import { LivedInstance } from './random-lives/lived-instance.ts';
import { bootTimeoutMs, type TokenName } from './support/daemon.ts';
import { runsAsRoot, sayIfNotRoot } from './support/unix-users.ts';

const asked = process.env['DRAWBRIDGE_RANDOM_RUNS'];
const numRuns = Number(asked ?? 12);
/** A run that nobody asked to be long ends in time, however busy the machine is: with the first life that comes after this. */
const limitMs = asked === undefined ? 5_000 : Number.POSITIVE_INFINITY;
/** How long a life that fails is made shorter. */
const shrinkingMs = 60_000;

sayIfNotRoot('Random lives of keys');
for (const token of ['softhsm2', 'nss'] as const satisfies readonly TokenName[]) {
  const missing = missingForInstance(token);
  if (missing !== null) process.stdout.write(`skipped: Random lives of keys (${token}): ${missing}\n`);
  describe.skipIf(missing !== null || !runsAsRoot)(`Random lives of keys (${token})`, () => {
    const instance = new LivedInstance(token);
    const seed = Number(process.env['DRAWBRIDGE_SEED'] ?? randomInt(2 ** 31));
    beforeAll(() => instance.start(), bootTimeoutMs);
    afterAll(() => instance.remove(), bootTimeoutMs);

    test(
      'are as the model has them, through restarts and kill -9',
      async () => {
        process.stdout.write(`random lives (${token}): DRAWBRIDGE_SEED=${seed} DRAWBRIDGE_RANDOM_RUNS=${numRuns}\n`);
        const startedAtMs = performance.now();
        let lived = 0;
        let failedAtMs: number | undefined;
        const property = fc.asyncProperty(anyLife, async (life) => {
          const nowMs = performance.now();
          if (nowMs - (failedAtMs ?? nowMs) > shrinkingMs) return;
          if (failedAtMs === undefined && lived > 0 && nowMs - startedAtMs > limitMs) return;
          try {
            await instance.live(life);
            lived += 1;
          } catch (error) {
            failedAtMs ??= performance.now();
            throw error;
          }
        });
        await fc.assert(property, { seed, numRuns });
        await instance.end();
        process.stdout.write(`random lives (${token}): ${lived} lived\n`);
        const tally = [...instance.tally].toSorted(([one], [other]) => (one < other ? -1 : 1));
        // A long run of refusals alone would show little.
        if (asked !== undefined)
          process.stdout.write(`${tally.map(([told, times]) => `  ${times} ${told}`).join('\n')}\n`);
      },
      120_000 + shrinkingMs + (asked === undefined ? 0 : numRuns * 60_000),
    );
  });
}
