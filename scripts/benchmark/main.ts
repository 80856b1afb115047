/**
 * The bench: a direct PKCS#11 loop in C, the HSM host through its pipe, and the whole daemon, measured beside each other.
 *
 * One token, one run, interleaved: every round measures each case with all three before the next case, so that whatever
 * else the machine does hits them alike. Loops are closed: a connection has one request under way. `against.ts` measures
 * another commit in their place.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { benchAgainst } from './against.ts';
import type { BenchResult } from './bench-result.ts';
import { type Case, cases, connectionsOf, nameOf, plainEncrypt } from './cases.ts';
import { benchClosedLoop, closedLoopName, renderClosedLoop } from './closed-loop-latency.ts';
import { benchCommandLine } from './command-line.ts';
import { compile } from './compile.ts';
import { benchFarToken, farTokenName, renderFarToken } from './far-token.ts';
import { benchManyKeys } from './many-keys.ts';
import type { Measurement, Timing } from './measurement.ts';
import { profileDaemon } from './profile.ts';
import { renderAims, renderBurdens, renderRows, type Series, toRows } from './results.ts';
import { benchOpenLoop, MemoryWatch, openLoopName, renderMemory, renderOpenLoop } from './steady-load.ts';
import { makeInstance, startDaemon, startDirect, startHost, type Target } from './targets.ts';
import { progress, warmUp } from './warming.ts';

const help = `Usage: scripts/bench [--against REF] [--quick] [--only TEXT] [--rounds COUNT] [--hosts COUNT] [--json FILE]
       scripts/bench --profile [--quick] [--only TEXT]
       scripts/bench --many-keys [--million] [--quick] [--json FILE]
       scripts/bench --command-line [--quick] [--json FILE]

Measures, over one SoftHSM2 token and interleaved:
  direct   a plain PKCS#11 loop in C: one session, the token object as it is
  copy     the same loop over a session copy of the key, which is what the HSM host uses: the real limit of one host
  host     the HSM host through its pipe alone, from one process (API µs: the CPU of that process)
  daemon   the whole daemon over its socket, policy and audit on, loaded by a generator in C (API µs: its main process,
           and of these what is user and what is system time)
and then
  closed loop  of one connection, and of 64, what a request takes: p50, p99, p99.9, and p99 in times of p50
  open loop  the daemon while requests come at 70 % of its peak whatever the answers do: what they took is counted from when
             they were due (p50, p99, p99.9 and the largest)
  memory     of the daemon's main process, before the first request and after all that were measured
  far token  the daemon with one host of 8 lanes, whose token is 1, 3 and 5 ms away: what it gives of lanes / round trip

  --against REF   instead: the daemon of this checkout, as its files are, beside that of the commit REF, in turn
  --quick         one short round, to see that everything runs; under a minute
  --only TEXT     the cases alone that have TEXT in their names (Sign, RSA_2048, closed loop, open loop, far token)
  --rounds COUNT  so many rounds (4; with --against 5; with --quick 1)
  --hosts COUNT   so many HSM hosts in the key store, for host and daemon; as many as the vendor profile says for the
                  cores of this machine if not given
  --json FILE     write all rows to FILE as JSON
  --profile       instead: where the time of the API process goes and what it allocates, by stage and function (64-byte
                  Encrypt, or the first case that --only chooses)
  --many-keys     instead: start, memory, lists and use with 10, 1,000 and 100,000 wrapped keys, and with 2,000 keys in one token
  --million       with --many-keys: 1,000,000 wrapped keys too
  --command-line  instead: what commands take beside \`node -e 0\`, from this checkout and from a package
  --help          this text

Read the ratios, not the absolute numbers: on a machine that is busy otherwise all of them sink. All of it takes under ten
minutes.
DescribeKey has no counterpart in PKCS#11; direct and host read the attributes of the key object. Verify is the token's
work in the direct loop and OpenSSL's in Drawbridge; the host's row is that alone, without a host.

--against takes what git takes for a commit (a branch, a tag, HEAD~3) and runs it from a temporary folder, with the
dependencies that its own package-lock.json names. Both are loaded by this checkout's generator; in each round of a row
they take short turns, and who is first alternates. All rows take six minutes. A row is slower when its median over the
rounds is below 0.95 of the other's. One that comes out slower on a machine with other work to do is worth a second run,
with --only and more rounds; if the CPU per request is the same, it was the machine.

--many-keys fills the metadata of instances with the records of 10, 1,000 and 100,000 wrapped keys, whose material is the same, and
the token of another one with 2,000 keys that CreateKey makes (with --quick 500 and 10), and starts each three times. Memory is
the resident set right after the start; for each key it is what is above that of an instance without keys. Encrypt under more keys
than the HSM hosts keep unwrapped is compared with a loop in C that unwraps a key under a session copy of the domain key or under the
token object, encrypts and destroys it; and with Encrypt under one key, beyond which the API process does not come. It takes six
minutes; --million takes some minutes more, most of it for the MACs of four million records.

--command-line runs each command in turn with \`node -e 0\`, many times; their medians are compared. It takes half a minute.

  scripts/bench --against main
  scripts/bench --against main --only Sign --rounds 11

Exit codes: 0 measured, and no row is slower; 1 a row is slower (--against); 2 it could not be measured.
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      against: { type: 'string' },
      quick: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      rounds: { type: 'string' },
      hosts: { type: 'string' },
      json: { type: 'string' },
      profile: { type: 'boolean', default: false },
      'many-keys': { type: 'boolean', default: false },
      million: { type: 'boolean', default: false },
      'command-line': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const { against, rounds: wantedRounds, hosts, json, only } = values;
  if (values.profile && [against, wantedRounds, hosts, json].some((value) => value !== undefined)) {
    throw new Error('--profile goes with --quick and --only alone');
  }
  for (const mode of ['many-keys', 'command-line'] as const) {
    const others = [against, wantedRounds, hosts, only || undefined];
    if (values[mode] && (values.profile || others.some((value) => value !== undefined))) {
      throw new Error(`--${mode} goes with --quick and --json alone`);
    }
  }
  if (values.million && !values['many-keys']) throw new Error('--million goes with --many-keys');
  const chosen = cases.filter((what) => nameOf(what).includes(only));
  const isExtra = [closedLoopName, openLoopName, farTokenName].some((name) => name.includes(only));
  if (chosen.length === 0 && (!isExtra || values.profile || against !== undefined))
    throw new Error(`no case has \`${only}\` in its name`);
  const rounds = parseRounds(wantedRounds) ?? (values.quick ? 1 : against === undefined ? 4 : 5);
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
      const [what = plainEncrypt] = chosen;
      process.stdout.write(`${nameOf(what)}, ${what.payloadBytes} bytes, 16 connections, for one request\n\n`);
      process.stdout.write(await profileDaemon(folder, compile('load', folder), what, values.quick ? 3000 : 10_000));
      return;
    }
    const [load1 = 0] = loadavg();
    process.stdout.write(`${cpus().length} × ${cpus()[0]?.model}, load average before ${load1.toFixed(1)}\n\n`);
    if (values['many-keys']) return await benchManyKeys(folder, { quick: values.quick, million: values.million, json });
    if (values['command-line']) return await benchCommandLine(folder, { quick: values.quick, json });
    const choices = { chosen, only, rounds, quick: values.quick, hosts, json };
    if (against === undefined) await bench(folder, choices);
    else if (!(await benchAgainst(folder, { ...choices, ref: against }))) process.exitCode = 1;
  } finally {
    remove();
  }
}

function parseRounds(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d?$/.test(text)) throw new Error(`\`${text}\` is no number of rounds from 1 to 99`);
  return Number(text);
}

interface Choices {
  readonly chosen: readonly Case[];
  /** What the names of extra rows have in them. */
  readonly only: string;
  readonly rounds: number;
  readonly quick: boolean;
  readonly hosts?: string | undefined;
  readonly json?: string | undefined;
}

async function bench(folder: string, { chosen, only, rounds, quick, hosts, json }: Choices): Promise<void> {
  const dir = join(folder, 'instance');
  await using targets = new AsyncDisposableStack();
  const open = async (started: Promise<Target>): Promise<Target> =>
    targets.adopt(await started, (target) => target.close());
  if (hosts !== undefined) await makeInstance(dir, hosts);
  const load = compile('load', folder);
  const daemon = targets.adopt(await startDaemon(dir, load), (target) => target.close());
  const memory = new MemoryWatch(daemon);
  const host = await open(startHost(dir));
  const { object: direct, copy } = await startDirect(compile('direct', folder), dir);
  targets.adopt(direct, (target) => target.close());

  const series: Series[] = chosen.flatMap((what): Series[] =>
    what.burden === undefined
      ? [
          { what, target: 'direct' as const, connections: 1, rounds: [] },
          { what, target: 'copy' as const, connections: 1, rounds: [] },
          ...connectionsOf(what).flatMap((connections) =>
            (['host', 'daemon'] as const).map((target) => ({ what, target, connections, rounds: [] })),
          ),
        ]
      : connectionsOf(what).map((connections) => ({
          what,
          target: 'daemon' as const,
          connections,
          rounds: [],
          plainRounds: [],
        })),
  );
  const byName = { direct, copy, host, daemon };
  const timing = quick ? { warmupMs: 1, measureMs: 10 } : { warmupMs: 100, measureMs: 600 };
  // Just-in-time compilation is over before anything counts.
  if (chosen[0] !== undefined) await warmUp(daemon, chosen[0], quick ? 50 : 20_000);
  for (const what of chosen) {
    progress('warming up');
    for (const target of what.burden === undefined ? [host, daemon] : [daemon])
      await target.measure(what, 16, { warmupMs: 0, measureMs: quick ? 5 : 1000 });
  }
  for (let round = 1; round <= rounds; round++) {
    for (const [index, one] of series.entries()) {
      progress(`round ${round} of ${rounds}, ${Math.round((index / series.length) * 100)} %`);
      if (one.plainRounds === undefined) {
        const measured = await byName[one.target].measure(one.what, one.connections, timing);
        one.rounds.push(one.target === 'daemon' ? memory.counted(measured) : measured);
      } else {
        await measurePairs(daemon, one, one.plainRounds, quick ? { pairs: 1, timing } : fullPairs);
      }
    }
  }
  progress('');
  const rows = toRows(series);
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  if (rows.length > 0) say(`${renderRows(rows)}\n\n${renderAims(rows)}\n${renderBurdens(series)}`);
  const closedLoop = closedLoopName.includes(only) ? await benchClosedLoop(daemon, quick) : [];
  if (closedLoop.length > 0) say(`\n${renderClosedLoop(closedLoop)}`);
  const openLoop = openLoopName.includes(only) ? await benchOpenLoop(daemon, quick) : null;
  if (openLoop !== null) say(`\n${renderOpenLoop(openLoop)}`);
  const used = memory.end();
  if (used.requests > 0) say(`\n${renderMemory(used)}`);
  await targets.disposeAsync();
  const farToken = farTokenName.includes(only) ? await benchFarToken(folder, load, quick) : [];
  if (farToken.length > 0) say(`\n${renderFarToken(farToken)}`);
  const result: BenchResult = { rows, memory: used, closedLoop, openLoop, farToken };
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(result, null, 2)}\n`);
}

interface Pairs {
  readonly pairs: number;
  readonly timing: Timing;
}
/** In each round. */
const fullPairs: Pairs = { pairs: 3, timing: { warmupMs: 50, measureMs: 250 } };

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

try {
  await main();
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 2;
}
