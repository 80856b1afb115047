/**
 * The bench: a direct PKCS#11 loop in C, the HSM host through its pipe, and the whole daemon, measured beside each other.
 *
 * One token, one run, interleaved: every round measures each case with all three before the next case, so that whatever
 * else the machine does hits them alike. Loops are closed: a connection has one request under way.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Case, cases, connectionCounts, nameOf, plainEncrypt } from './cases.ts';
import { compile } from './compile.ts';
import type { Measurement, Timing } from './measurement.ts';
import { profileDaemon } from './profile.ts';
import { renderAims, renderBurdens, renderRows, type Series, toRows } from './results.ts';
import { makeInstance, startDaemon, startDirect, startHost, type Target } from './targets.ts';

const help = `Usage: scripts/bench [--quick] [--only TEXT] [--hosts COUNT] [--json FILE] [--profile]

Measures, over one SoftHSM2 token and interleaved:
  direct   a plain PKCS#11 loop in C: one session, the token object as it is
  host     the HSM host through its pipe alone, from one process (API µs: the CPU of that process)
  daemon   the whole daemon over its socket, policy and audit on, loaded by a generator in C

  --quick      one short round, to see that everything runs; under a minute
  --only TEXT  the cases alone that have TEXT in their names (Sign, RSA_2048)
  --hosts COUNT  so many HSM hosts in the key store, for host and daemon; the vendor profile's number if not given
  --json FILE  write all rows to FILE as JSON
  --profile    instead: where the CPU of the API process goes, by stage and function (64-byte Encrypt)
  --help       this text

Read the ratios, not the absolute numbers: on a machine that is busy otherwise all of them sink.
DescribeKey has no counterpart in PKCS#11; direct and host read the attributes of the key object. Verify is the token's
work in the direct loop and OpenSSL's in Drawbridge; the host's row is that alone, without a host.
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      hosts: { type: 'string' },
      json: { type: 'string' },
      profile: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'db-bench-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  // Who ends the bench early is left with nothing of it: what it started ends with it, see `line-process.ts`.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      process.once('exit', remove);
      process.exit(128 + constants.signals[signal]);
    });
  }
  try {
    if (values.profile) {
      process.stdout.write(await profileDaemon(folder, compile('load', folder), values.quick ? 3000 : 10_000));
    } else {
      await bench(folder, values);
    }
  } finally {
    remove();
  }
}

interface Choices {
  readonly quick: boolean;
  readonly only: string;
  readonly hosts?: string | undefined;
  readonly json?: string | undefined;
}

async function bench(folder: string, { quick, only, hosts, json }: Choices): Promise<void> {
  const chosen = cases.filter((what) => nameOf(what).includes(only));
  if (chosen.length === 0) throw new Error(`no case has \`${only}\` in its name`);
  const [load1 = 0] = loadavg();
  process.stdout.write(`${cpus().length} × ${cpus()[0]?.model}, load average before ${load1.toFixed(1)}\n\n`);
  const dir = join(folder, 'instance');
  await using targets = new AsyncDisposableStack();
  const open = async (started: Promise<Target>): Promise<Target> =>
    targets.adopt(await started, (target) => target.close());
  if (hosts !== undefined) await makeInstance(dir, hosts);
  const daemon = await open(startDaemon(dir, compile('load', folder)));
  const host = await open(startHost(dir));
  const direct = await open(startDirect(compile('direct', folder), dir));

  const series: Series[] = chosen.flatMap((what): Series[] =>
    what.burden === undefined
      ? [
          { what, target: 'direct' as const, connections: 1, rounds: [] },
          ...connectionCounts.flatMap((connections) =>
            (['host', 'daemon'] as const).map((target) => ({ what, target, connections, rounds: [] })),
          ),
        ]
      : [{ what, target: 'daemon' as const, connections: 16, rounds: [], plainRounds: [] }],
  );
  const byName = { direct, host, daemon };
  const rounds = quick ? 1 : 4;
  const timing = quick ? { warmupMs: 20, measureMs: 100 } : { warmupMs: 200, measureMs: 1200 };
  // Just-in-time compilation is over before anything counts.
  if (chosen[0] !== undefined) await warmUp(daemon, chosen[0], quick ? 1_500 : 20_000);
  for (const what of chosen) {
    progress('warming up');
    for (const target of what.burden === undefined ? [host, daemon] : [daemon])
      await target.measure(what, 16, { warmupMs: 0, measureMs: quick ? 100 : 2000 });
  }
  for (let round = 1; round <= rounds; round++) {
    for (const [index, one] of series.entries()) {
      progress(`round ${round} of ${rounds}, ${Math.round((index / series.length) * 100)} %`);
      if (one.plainRounds === undefined) {
        one.rounds.push(await byName[one.target].measure(one.what, one.connections, timing));
      } else {
        await measurePairs(daemon, one, one.plainRounds, quick ? { pairs: 1, timing } : fullPairs);
      }
    }
  }
  progress('');
  const rows = toRows(series);
  process.stdout.write(`${renderRows(rows)}\n\n${renderAims(rows)}\n${renderBurdens(series)}\n`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(rows, null, 2)}\n`);
}

interface Pairs {
  readonly pairs: number;
  readonly timing: Timing;
}
/** In each round. */
const fullPairs: Pairs = { pairs: 5, timing: { warmupMs: 50, measureMs: 250 } };

/** A burden and the plain case in turn, each of them first in every other pair. */
async function measurePairs(
  daemon: Target,
  one: Series,
  plainRounds: Measurement[],
  { pairs, timing }: Pairs,
): Promise<void> {
  for (let pair = 0; pair < pairs; pair++) {
    const measureBurden = async (): Promise<void> => {
      one.rounds.push(await daemon.measure(one.what, one.connections, timing));
    };
    const isBurdenFirst = pair % 2 === 0;
    if (isBurdenFirst) await measureBurden();
    plainRounds.push(await daemon.measure(plainEncrypt, one.connections, timing));
    if (!isBurdenFirst) await measureBurden();
  }
}

/** After so many requests the CPU that one takes falls no further (measured: a fifth of that of the first 2,000). */
const warmRequests = 20_000;

/** What all operations share is compiled after the first case; the others only need to be met. */
async function warmUp(daemon: Target, what: Case, atMostMs: number): Promise<void> {
  const until = performance.now() + atMostMs;
  for (let requests = 0; requests < warmRequests && performance.now() < until; ) {
    progress('warming up');
    requests += (await daemon.measure(what, 16, { warmupMs: 0, measureMs: 500 })).count;
  }
}

/** One line on a terminal that the next call overwrites; nothing elsewhere. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

try {
  await main();
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
