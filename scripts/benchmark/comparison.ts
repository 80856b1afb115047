/** From the rounds of two daemons to rows that say which of them is slower; pure. */

import { type Case, nameOf } from './cases.ts';
import type { Measurement } from './measurement.ts';
import { median, renderTable, round, sum } from './results.ts';

export const sides = ['this', 'other'] as const;
/** This checkout, or the commit that it is compared with. */
export type Side = (typeof sides)[number];

export type Verdict = 'slower' | 'same' | 'faster';

/** All rounds of one case and number of connections. */
export interface ComparedSeries {
  readonly what: Case;
  readonly connections: number;
  readonly rounds: Readonly<Record<Side, RoundOfSide[]>>;
}

/** How many requests in how many seconds, and what each took. */
export type RoundOfSide = Pick<Measurement, 'count' | 'seconds' | 'apiCpuMicros' | 'p50Micros'>;

/** What one side did in one row. */
interface SideResult {
  /** The median of `rounds`. */
  readonly requestsPerSecond: number;
  /** CPU of the API process for one request; the median of the rounds. */
  readonly apiCpuMicros: number;
  /** What the usual request took; the median of the rounds. */
  readonly p50Micros: number;
  /** Requests per second, in the order in which they were measured. */
  readonly rounds: readonly number[];
}

/** One row of `--json`. */
export interface ComparedRow extends Readonly<Record<Side, SideResult>> {
  readonly operation: string;
  readonly payloadBytes: number;
  readonly connections: number;
  /** This one's median over the other's. */
  readonly ratio: number;
  readonly verdict: Verdict;
}

/** Who goes first in a pair of turns, counted from 0: this, other; other, this; this, other; and so on. */
export function orderOf(pairIndex: number): readonly Side[] {
  return pairIndex % 2 === 0 ? sides : sides.toReversed();
}

/** The turns that one side had in a round, as one measurement. */
export function joinTurns(turns: readonly RoundOfSide[]): RoundOfSide {
  const count = sum(turns.map((turn) => turn.count));
  const apiMicros = sum(turns.map((turn) => (turn.apiCpuMicros ?? 0) * turn.count));
  return {
    count,
    seconds: sum(turns.map(({ seconds }) => seconds)),
    apiCpuMicros: apiMicros / Math.max(count, 1),
    p50Micros: median(turns.map(({ p50Micros }) => p50Micros)),
  };
}

/** Of the other's median: below that, a row is slower. */
const slowerBelow = 0.95;

/** @param medians Requests per second. Exactly 0.95 of the other's is the same yet. */
export function verdictOf(medians: Readonly<Record<Side, number>>): Verdict {
  if (medians.this < medians.other * slowerBelow) return 'slower';
  return medians.other < medians.this * slowerBelow ? 'faster' : 'same';
}

export function toComparedRow({ what, connections, rounds }: ComparedSeries): ComparedRow {
  const medians = { this: median(rounds.this.map(rateOf)), other: median(rounds.other.map(rateOf)) };
  const resultOf = (side: Side): SideResult => ({
    requestsPerSecond: round(medians[side], 0),
    apiCpuMicros: round(median(rounds[side].map(({ apiCpuMicros }) => apiCpuMicros ?? 0)), 1),
    p50Micros: round(median(rounds[side].map(({ p50Micros }) => p50Micros)), 1),
    rounds: rounds[side].map((measurement) => round(rateOf(measurement), 0)),
  });
  return {
    operation: nameOf(what),
    payloadBytes: what.payloadBytes,
    connections,
    this: resultOf('this'),
    other: resultOf('other'),
    ratio: round(medians.this / medians.other, 3),
    verdict: verdictOf(medians),
  };
}

const rateOf = ({ count, seconds }: RoundOfSide): number => count / seconds;

const columns = [
  'operation',
  'bytes',
  'connections',
  'this/s',
  'other/s',
  'ratio',
  'this µs',
  'other µs',
  'this p50',
  'other p50',
  'verdict',
];
const leftColumns = new Set([columns.indexOf('operation'), columns.indexOf('verdict')]);

export function renderComparison(rows: readonly ComparedRow[]): string {
  const cells = rows.map((row) => [
    row.operation,
    String(row.payloadBytes),
    String(row.connections),
    row.this.requestsPerSecond.toLocaleString('en'),
    row.other.requestsPerSecond.toLocaleString('en'),
    row.ratio.toFixed(3),
    row.this.apiCpuMicros.toFixed(1),
    row.other.apiCpuMicros.toFixed(1),
    row.this.p50Micros.toFixed(0),
    row.other.p50Micros.toFixed(0),
    row.verdict,
  ]);
  const slower = rows.filter(({ verdict }) => verdict === 'slower').length;
  return [
    renderTable(columns, cells, leftColumns),
    '',
    'requests/s, µs of CPU per request in the API process, and p50 in µs; medians of the rounds',
    `${slower} of ${rows.length} rows slower (below ${slowerBelow} of the other's)`,
  ].join('\n');
}
