/** From measurements to rows, and from rows to the table that is printed. */

import { type Case, nameOf } from './cases.ts';
import type { Measurement } from './measurement.ts';

/** One row of `--json`. */
export interface Row {
  readonly operation: string;
  readonly payloadBytes: number;
  readonly connections: number;
  readonly target: 'direct' | 'copy' | 'host' | 'daemon';
  readonly requestsPerSecond: number;
  /** `null` where the direct loop was not measured. */
  readonly ratioToDirect: number | null;
  /** The same with the direct loop over a session copy of the key. */
  readonly ratioToCopy: number | null;
  /** `null` for the direct loop, which has no such process. */
  readonly apiCpuMicros: number | null;
  /** What of it is user time, and what system time; `null` but for the daemon. */
  readonly apiUserMicros: number | null;
  readonly apiSystemMicros: number | null;
  readonly hostCpuMicros: number;
  readonly p50Micros: number;
  readonly p99Micros: number;
}

/** All rounds of one case, target and number of connections. */
export interface Series {
  readonly what: Case;
  readonly target: Row['target'];
  readonly connections: number;
  readonly rounds: Measurement[];
  /** Of a burden: the plain case, measured right before or after the round of the same index. */
  readonly plainRounds?: Measurement[];
}

export function toRows(series: readonly Series[]): Row[] {
  return series.map((one) => {
    const ratioTo = (name: Row['target']): number | null => {
      const loop = series.find(({ what, target }) => target === name && isSameWork(what, one.what));
      return loop === undefined ? null : round(rate(one.rounds) / rate(loop.rounds), 3);
    };
    const requestsPerSecond = rate(one.rounds);
    const api = one.rounds.map(({ apiCpuMicros }) => apiCpuMicros).filter((micros) => micros !== null);
    const shares = one.rounds.map(({ apiSystemShare }) => apiSystemShare).filter((share) => share !== null);
    return {
      operation: nameOf(one.what),
      payloadBytes: one.what.payloadBytes,
      connections: one.connections,
      target: one.target,
      requestsPerSecond: round(requestsPerSecond, 0),
      ratioToDirect: ratioTo('direct'),
      ratioToCopy: ratioTo('copy'),
      apiCpuMicros: api.length === 0 ? null : round(mean(api), 1),
      apiUserMicros: api.length === 0 || shares.length === 0 ? null : round(mean(api) * (1 - mean(shares)), 1),
      apiSystemMicros: api.length === 0 || shares.length === 0 ? null : round(mean(api) * mean(shares), 1),
      hostCpuMicros: round(mean(one.rounds.map(({ hostCpuMicros }) => hostCpuMicros)), 1),
      p50Micros: round(median(one.rounds.map(({ p50Micros }) => p50Micros)), 1),
      p99Micros: round(median(one.rounds.map(({ p99Micros }) => p99Micros)), 1),
    };
  });
}

/** A burden changes nothing about the work in the HSM. */
function isSameWork(one: Case, other: Case): boolean {
  const { operation, keySpec, payloadBytes } = one;
  return operation === other.operation && keySpec === other.keySpec && payloadBytes === other.payloadBytes;
}

function rate(rounds: readonly Measurement[]): number {
  return sum(rounds.map(({ count }) => count)) / sum(rounds.map(({ seconds }) => seconds));
}

export const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
const mean = (numbers: readonly number[]): number => sum(numbers) / Math.max(numbers.length, 1);
export const round = (number: number, digits: number): number => Number(number.toFixed(digits));

/** Of an even number, halfway between the middle two; 0 of none. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? 0;
  return (lower + upper) / 2;
}

const columns = [
  'operation',
  'bytes',
  'target',
  'connections',
  'requests/s',
  'of direct',
  'of copy',
  'API µs',
  'user',
  'system',
  'host µs',
  'p50 µs',
  'p99 µs',
];

export function renderRows(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.operation,
    String(row.payloadBytes),
    row.target,
    String(row.connections),
    row.requestsPerSecond.toLocaleString('en'),
    row.ratioToDirect?.toFixed(2) ?? '-',
    row.ratioToCopy?.toFixed(2) ?? '-',
    row.apiCpuMicros === null ? '-' : row.apiCpuMicros.toFixed(1),
    row.apiUserMicros === null ? '-' : row.apiUserMicros.toFixed(0),
    row.apiSystemMicros === null ? '-' : row.apiSystemMicros.toFixed(0),
    row.hostCpuMicros.toFixed(1),
    row.p50Micros.toFixed(0),
    row.p99Micros.toFixed(0),
  ]);
  const lines = renderTable(columns, cells, new Set([0, 2])).split('\n');
  return lines
    .map((line, index) => {
      const startsCase = index > 1 && cells[index - 1]?.[2] === 'direct';
      return startsCase ? `\n${line}` : line;
    })
    .join('\n');
}

/** Columns aligned to the right, but for those in `left`. */
export function renderTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  left: ReadonlySet<number>,
): string {
  const widths = head.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (left.has(column) ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd();
  return [head, ...rows].map(line).join('\n');
}

interface Aim {
  readonly operation: string;
  readonly payloadBytes: number;
  /** Of the direct loop's rate. */
  readonly ratio: { readonly atLeast: number; readonly aim: number };
  /** The first is what it must not be above, the second what it is meant to be. */
  readonly apiCpuMicros?: { readonly atMost?: number; readonly aim?: number };
}

/** What the daemon is meant to reach at 16 connections. */
const aims: readonly Aim[] = [
  {
    operation: 'Encrypt',
    payloadBytes: 64,
    ratio: { atLeast: 0.5, aim: 0.75 },
    apiCpuMicros: { aim: 40 },
  },
  {
    operation: 'Encrypt',
    payloadBytes: 4096,
    ratio: { atLeast: 0.38, aim: 0.65 },
    apiCpuMicros: { atMost: 85 },
  },
  { operation: 'Sign ECC_NIST_P256', payloadBytes: 32, ratio: { atLeast: 0.85, aim: 0.95 } },
  { operation: 'Verify ECC_NIST_P256', payloadBytes: 32, ratio: { atLeast: 0.75, aim: 1 } },
  { operation: 'GenerateMac HMAC_256', payloadBytes: 64, ratio: { atLeast: 0.48, aim: 0.65 } },
];

function boundsOf({ atMost, aim }: NonNullable<Aim['apiCpuMicros']>): string {
  return [...(atMost === undefined ? [] : [`at most ${atMost}`]), ...(aim === undefined ? [] : [`aim: ${aim}`])].join(
    ', ',
  );
}

/** How the run compares with what the hot path is meant to cost. */
export function renderAims(rows: readonly Row[]): string {
  const lines = aims.flatMap(({ operation, payloadBytes, ratio, apiCpuMicros }) => {
    const row = rows.find(
      (one) =>
        one.operation === operation &&
        one.payloadBytes === payloadBytes &&
        one.connections === 16 &&
        one.target === 'daemon',
    );
    if (row === undefined) return [];
    const cpu =
      apiCpuMicros === undefined
        ? ''
        : `, ${row.apiCpuMicros?.toFixed(1)} µs of CPU in the API process (${boundsOf(apiCpuMicros)})`;
    return [
      `${operation}, ${payloadBytes} bytes, 16 connections: ${row.ratioToDirect?.toFixed(2)} of the direct loop ` +
        `(at least ${ratio.atLeast}, aim: ${ratio.aim}), ${row.ratioToCopy?.toFixed(2)} of the one over a session copy${cpu}`,
    ];
  });
  return lines.join('\n');
}

/** What more authorization may cost a request, in CPU of the API process. */
const maxBurdenMicros = 10;

/**
 * What each burden costs above the plain case: the median of the differences between neighbours. What else the machine
 * does comes and goes in seconds, so that it hits both of a pair alike, and the few that it does not are no median.
 */
export function renderBurdens(series: readonly Series[]): string {
  return series
    .flatMap(({ what, rounds, plainRounds }) => {
      if (plainRounds === undefined) return [];
      const differences = rounds.map(
        ({ apiCpuMicros }, index) => (apiCpuMicros ?? 0) - (plainRounds[index]?.apiCpuMicros ?? 0),
      );
      const more = median(differences).toFixed(1);
      return [`${nameOf(what)}: ${more} µs of CPU more than the plain one (aim: at most ${maxBurdenMicros})`];
    })
    .join('\n');
}
