/**
 * This checkout beside another commit of the repository: two daemons, each with a token of its own, loaded in turn by the
 * same load generator.
 *
 * Of the other commit nothing is used but its command line and the wire: its sources may lie elsewhere than ours do. Both
 * daemons run all the time, and the one that is not loaded is idle. In a round of a row they are measured in short turns:
 * this, other, other, this, and so on, so that what else the machine does hits both alike, and going second is no advantage.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Case, connectionsOf, nameOf } from './cases.ts';
import {
  type ComparedRow,
  type ComparedSeries,
  joinTurns,
  orderOf,
  renderComparison,
  type Side,
  sides,
  toComparedRow,
} from './comparison.ts';
import { compile } from './compile.ts';
import type { Measurement, Timing } from './measurement.ts';
import { checkOut, describeCheckout, resolveCommit } from './other-commit.ts';
import { type Checkout, makeInstance, startDaemon, type Target, thisCheckout } from './targets.ts';
import { progress, warmUp } from './warming.ts';

export interface AgainstChoices {
  readonly ref: string;
  readonly chosen: readonly Case[];
  readonly rounds: number;
  readonly quick: boolean;
  readonly hosts?: string | undefined;
  readonly json?: string | undefined;
}

/** What `--json` writes. */
export interface Comparison {
  /** The commit of this checkout; `-dirty` where files differ from it. */
  readonly this: string;
  readonly other: { readonly ref: string; readonly hash: string };
  readonly rows: readonly ComparedRow[];
  /** Cases that the other commit does not serve, and what it answered. */
  readonly leftOut: readonly { readonly operation: string; readonly reason: string }[];
}

interface Effort {
  /** Of each side in a round. */
  readonly turns: number;
  /** Of a turn. */
  readonly timing: Timing;
  /** For the first case: how long at most. */
  readonly compileMs: number;
  /** For each case. */
  readonly meetMs: number;
}

const fullEffort: Effort = { turns: 3, timing: { warmupMs: 60, measureMs: 200 }, compileMs: 20_000, meetMs: 500 };
const quickEffort: Effort = { turns: 1, timing: { warmupMs: 20, measureMs: 100 }, compileMs: 500, meetMs: 50 };

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** True when no row is slower. */
export async function benchAgainst(folder: string, choices: AgainstChoices): Promise<boolean> {
  const { ref, rounds, quick, hosts, json } = choices;
  const root = thisCheckout.folder;
  const commit = resolveCommit(root, ref);
  const ours = describeCheckout(root);
  const effort = quick ? quickEffort : fullEffort;
  say(`this: ${ours}; other: ${ref}, ${commit.hash}`);
  const checkouts: Record<Side, Checkout> = {
    this: thisCheckout,
    other: { folder: join(folder, 'other'), daemonName: `the daemon of ${ref}` },
  };
  await checkOut(root, commit, checkouts.other.folder, say);

  const load = compile('load', folder);
  await using running = new AsyncDisposableStack();
  const start = async (side: Side): Promise<Target> => {
    const dir = join(folder, side === 'this' ? 'instance' : 'other-instance');
    if (hosts !== undefined) await makeInstance(dir, hosts, checkouts[side]);
    return running.adopt(await startDaemon(dir, load, { checkout: checkouts[side] }), (daemon) => daemon.close());
  };
  const daemons: Daemons = { this: await start('this'), other: await start('other') };

  const { series, leftOut } = await warmUpBoth(daemons, choices.chosen, effort);
  for (const { operation, reason } of leftOut) say(`left out: ${operation}, which ${ref} does not serve: ${reason}`);
  if (series.length === 0) throw new Error(`\`${ref}\` serves none of the cases, so there is nothing to compare`);
  await measureRounds(daemons, series, rounds, effort);

  const rows = series.map(toComparedRow);
  say(`\n${renderComparison(rows)}`);
  const comparison: Comparison = { this: ours, other: commit, rows, leftOut };
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(comparison, null, 2)}\n`);
  return rows.every(({ verdict }) => verdict !== 'slower');
}

type Daemons = Readonly<Record<Side, Target>>;

/** What is refused by this checkout is an error; what only the other refuses is left out. */
async function warmUpBoth(
  daemons: Daemons,
  chosen: readonly Case[],
  { compileMs, meetMs }: Effort,
): Promise<{ series: ComparedSeries[]; leftOut: { operation: string; reason: string }[] }> {
  const series: ComparedSeries[] = [];
  const leftOut: { operation: string; reason: string }[] = [];
  const meet = { warmupMs: 0, measureMs: meetMs };
  for (const what of chosen) {
    progress(`warming up: ${nameOf(what)}`);
    await daemons.this.measure(what, 16, meet);
    try {
      await daemons.other.measure(what, 16, meet);
    } catch (error) {
      leftOut.push({ operation: nameOf(what), reason: error instanceof Error ? error.message : String(error) });
      continue;
    }
    if (series.length === 0) for (const daemon of [daemons.this, daemons.other]) await warmUp(daemon, what, compileMs);
    for (const connections of connectionsOf(what)) series.push({ what, connections, rounds: { this: [], other: [] } });
  }
  progress('');
  return { series, leftOut };
}

async function measureRounds(
  daemons: Daemons,
  series: readonly ComparedSeries[],
  rounds: number,
  { turns, timing }: Effort,
): Promise<void> {
  for (let index = 0; index < rounds; index++) {
    for (const [done, one] of series.entries()) {
      progress(`round ${index + 1} of ${rounds}, ${Math.round((done / series.length) * 100)} %`);
      const measured: Record<Side, Measurement[]> = { this: [], other: [] };
      for (let turn = 0; turn < turns; turn++) {
        for (const side of orderOf(index * turns + turn)) {
          measured[side].push(await daemons[side].measure(one.what, one.connections, timing));
        }
      }
      for (const side of sides) one.rounds[side].push(joinTurns(measured[side]));
    }
  }
  progress('');
}
