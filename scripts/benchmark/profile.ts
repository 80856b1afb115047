/**
 * Where the CPU of the API process goes: its V8 profile under load, summed by stage of a request and by function.
 *
 * A sample belongs to the stage of the function it was taken in (self time). Work that V8 attributes to no script, such
 * as system calls and garbage collection, is a stage of its own.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderTable } from './results.ts';
import { startDaemon } from './targets.ts';

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const listedFunctions = 25;

export async function profileDaemon(folder: string, loadProgram: string, measureMs: number): Promise<string> {
  const options = ['--cpu-prof', `--cpu-prof-dir=${join(folder, 'profile')}`, '--cpu-prof-interval=200'];
  const daemon = await startDaemon(join(folder, 'instance'), loadProgram, options);
  const what = { operation: 'Encrypt', payloadBytes: 64 } as const;
  const measured = await daemon.measure(what, 16, { warmupMs: 500, measureMs });
  await daemon.close();
  const profiles = readdirSync(join(folder, 'profile')).map(
    (name) => JSON.parse(readFileSync(join(folder, 'profile', name), 'utf8')) as CpuProfile,
  );
  // The process of the API is the one that worked; helper processes with the same options leave smaller ones.
  const profile = profiles.sort((a, b) => b.samples.length - a.samples.length)[0];
  if (profile === undefined) throw new Error('the daemon left no profile');
  return render(profile, measured.count / measured.seconds, measured.apiCpuMicros ?? 0);
}

function render(profile: CpuProfile, requestsPerSecond: number, apiCpuMicros: number): string {
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const byStage = new Map<string, number>();
  const byFunction = new Map<string, number>();
  let total = 0;
  for (const [index, id] of profile.samples.entries()) {
    const frame = frames.get(id);
    const micros = profile.timeDeltas[index] ?? 0;
    if (frame === undefined || frame.functionName === '(idle)' || frame.functionName === '(root)') continue;
    total += micros;
    add(byStage, stageOf(frame.functionName, frame.url), micros);
    add(byFunction, `${frame.functionName || '(anonymous)'} ${shortPath(frame.url)}:${frame.lineNumber + 1}`, micros);
  }
  const share = (micros: number): string[] => [
    `${((micros / total) * 100).toFixed(1)} %`,
    ((micros / total) * apiCpuMicros).toFixed(1),
  ];
  const rows = (sums: ReadonlyMap<string, number>, limit: number): string[][] =>
    [...sums]
      .sort(([, a], [, b]) => b - a)
      .slice(0, limit)
      .map(([name, micros]) => [name, ...share(micros)]);
  const left = new Set([0]);
  return [
    `Encrypt, 64 bytes, 16 connections, while being profiled: ${Math.round(requestsPerSecond)} requests/s, ` +
      `${apiCpuMicros.toFixed(1)} µs of CPU per request in the API process`,
    '',
    renderTable(['stage', 'share', 'µs'], rows(byStage, Number.POSITIVE_INFINITY), left),
    '',
    renderTable(['function (self time)', 'share', 'µs'], rows(byFunction, listedFunctions), left),
    '',
  ].join('\n');
}

function add(sums: Map<string, number>, name: string, micros: number): void {
  sums.set(name, (sums.get(name) ?? 0) + micros);
}

/** A layer of ours, a package, a part of Node.js, or what V8 calls its own. */
function stageOf(functionName: string, url: string): string {
  if (functionName === '(garbage collector)') return 'V8: garbage collection';
  if (functionName === '(program)') return 'V8: native code and system calls';
  const layer = /\/src\/([\w-]+)\//.exec(url)?.[1];
  if (layer !== undefined && !url.includes('/node_modules/')) return `Drawbridge: ${layer}`;
  const packageName = /\/node_modules\/((?:@[\w.-]+\/)?[\w.-]+)\//.exec(url)?.[1];
  if (packageName !== undefined) return `package: ${packageName}`;
  if (url.startsWith('node:'))
    return `Node.js: ${
      url
        .slice(5)
        .replace(/^internal\//, '')
        .split('/')[0]
    }`;
  return 'Node.js: built-in functions';
}

function shortPath(url: string): string {
  return url.replace(/^file:\/\/.*?\/(?=src\/|node_modules\/)/, '');
}
