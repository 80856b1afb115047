/**
 * Where a request's time in the API process goes, by stage and by function, what it allocates, and what collecting that takes.
 *
 * Four looks at the same load, one after the other, since each of them slows the daemon down:
 *
 *   - none: what a request costs, in user and in system time, of the thread that runs JavaScript and of all others (writes and
 *     syncs of the audit log, garbage collection, compilation);
 *   - V8's profile: a sample belongs to the stage of the function that it was taken in (self time). A native function of Node.js
 *     (`writeBuffer`) includes the system call that it makes;
 *   - V8's sampled allocations, of all objects, those that are collected again too, by the same stages;
 *   - the collections of the garbage, counted, and the pauses that they made.
 *
 * All is switched on over the inspector's protocol and only while the load runs, so that nothing of the start is in it. Read
 * shares of the second and third look rather than their microseconds.
 */

import { join } from 'node:path';
import type { Case } from './cases.ts';
import { Inspector } from './inspector.ts';
import { type ThreadTimes, threadTimes } from './measurement.ts';
import { renderTable } from './results.ts';
import { startDaemon } from './targets.ts';

interface CallFrame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
}

interface CpuProfile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: CallFrame }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** What was allocated in a function, and below it. */
interface AllocationNode {
  readonly callFrame: CallFrame;
  readonly selfSize: number;
  readonly children: readonly AllocationNode[];
}

const listedStages = 20;
const listedFunctions = 30;
const samplingIntervalMicros = 200;
/** On average a sample each so many bytes. */
const allocationInterval = 4096;
const connections = 16;

export async function profileDaemon(
  folder: string,
  loadProgram: string,
  what: Case,
  measureMs: number,
): Promise<string> {
  const daemon = await startDaemon(join(folder, 'instance'), loadProgram, { nodeOptions: ['--inspect=127.0.0.1:0'] });
  try {
    const load = (ms: number) => daemon.measure(what, connections, { warmupMs: 0, measureMs: ms });
    await load(3000);
    const before = threadTimes(daemon.pid);
    const plain = await load(measureMs);
    const times = renderTimes(before, threadTimes(daemon.pid), plain.count);

    // The last one: a daemon becomes another process at first.
    const address = daemon
      .log()
      .match(/ws:\/\/\S+/g)
      ?.at(-1);
    if (address === undefined) throw new Error('the daemon did not say where its inspector listens');
    await using inspector = await Inspector.connect(address);
    await inspector.ask('Profiler.enable');
    await inspector.ask('Profiler.setSamplingInterval', { interval: samplingIntervalMicros });
    await inspector.ask('Profiler.start');
    const measured = await load(measureMs);
    const { profile } = await inspector.ask<{ profile: CpuProfile }>('Profiler.stop');

    await inspector.ask('HeapProfiler.startSampling', {
      samplingInterval: allocationInterval,
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true,
    });
    const allocating = await load(measureMs);
    const sampled = await inspector.ask<{ profile: { head: AllocationNode } }>('HeapProfiler.stopSampling');

    await inspector.ask('Runtime.evaluate', { expression: watchCollections });
    const collecting = await load(measureMs);
    const { result } = await inspector.ask<{ result: { value: string } }>('Runtime.evaluate', {
      expression: 'JSON.stringify(globalThis.benchCollections)',
    });
    const collections = JSON.parse(result.value) as readonly Collection[];
    return [
      times,
      renderProfile(profile, measured.apiCpuMicros ?? 0),
      renderAllocations(sampled.profile.head, allocating.count),
      renderCollections(collections, collecting.count),
    ].join('\n');
  } finally {
    await daemon.close();
  }
}

/** Of user and system time, for each request. */
function renderTimes(before: readonly ThreadTimes[], after: readonly ThreadTimes[], count: number): string {
  const used = after.map((thread) => {
    const start = before.find(({ id }) => id === thread.id) ?? { userMicros: 0, systemMicros: 0 };
    return {
      isMain: thread.isMain,
      user: (thread.userMicros - start.userMicros) / count,
      system: (thread.systemMicros - start.systemMicros) / count,
    };
  });
  const row = (name: string, threads: typeof used): string[] => {
    const user = threads.reduce((sum, thread) => sum + thread.user, 0);
    const system = threads.reduce((sum, thread) => sum + thread.system, 0);
    return [name, user.toFixed(1), system.toFixed(1), (user + system).toFixed(1)];
  };
  const rows = [
    row(
      'JavaScript',
      used.filter(({ isMain }) => isMain),
    ),
    row(
      'other threads',
      used.filter(({ isMain }) => !isMain),
    ),
    row('all', used),
  ];
  return `${renderTable(['thread of the API process', 'user µs', 'system µs', 'µs'], rows, new Set([0]))}\n`;
}

function renderProfile(profile: CpuProfile, apiCpuMicros: number): string {
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
    add(byFunction, nameOf(frame), micros);
  }
  const share = (micros: number): string[] => [
    `${((micros / total) * 100).toFixed(1)} %`,
    ((micros / total) * apiCpuMicros).toFixed(1),
  ];
  const left = new Set([0]);
  return [
    renderTable([`stage, of ${apiCpuMicros.toFixed(1)} µs`, 'share', 'µs'], rowsOf(byStage, listedStages, share), left),
    '',
    renderTable(['function (self time)', 'share', 'µs'], rowsOf(byFunction, listedFunctions, share), left),
    '',
  ].join('\n');
}

function renderAllocations(head: AllocationNode, count: number): string {
  const byStage = new Map<string, number>();
  const byFunction = new Map<string, number>();
  let total = 0;
  const walk = ({ callFrame, selfSize, children }: AllocationNode): void => {
    total += selfSize;
    add(byStage, stageOf(callFrame.functionName, callFrame.url), selfSize);
    add(byFunction, nameOf(callFrame), selfSize);
    for (const child of children) walk(child);
  };
  walk(head);
  const perRequest = (bytes: number): string[] => [(bytes / count).toFixed(0)];
  const left = new Set([0]);
  return [
    renderTable(
      [`allocated, of ${(total / count).toFixed(0)} bytes`, 'bytes'],
      rowsOf(byStage, listedStages, perRequest),
      left,
    ),
    '',
    renderTable(['function', 'bytes'], rowsOf(byFunction, listedFunctions, perRequest), left),
    '',
  ].join('\n');
}

/** One kind of the garbage collector's work. */
interface Collection {
  readonly kind: string;
  readonly count: number;
  readonly milliseconds: number;
  readonly longestMs: number;
}

/** Is evaluated in the daemon. The kinds are those of `perf_hooks.constants`. */
const watchCollections = `
  globalThis.benchCollections = [];
  const { PerformanceObserver, constants } = process.getBuiltinModule('node:perf_hooks');
  const names = {
    [constants.NODE_PERFORMANCE_GC_MINOR]: 'young objects',
    [constants.NODE_PERFORMANCE_GC_MAJOR]: 'all objects',
    [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'steps of the latter',
    [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'callbacks of weak references',
  };
  new PerformanceObserver((list) => {
    for (const { detail, duration } of list.getEntries()) {
      const kind = names[detail.kind] ?? String(detail.kind);
      let known = globalThis.benchCollections.find((each) => each.kind === kind);
      if (known === undefined) globalThis.benchCollections.push((known = { kind, count: 0, milliseconds: 0, longestMs: 0 }));
      known.count++;
      known.milliseconds += duration;
      known.longestMs = Math.max(known.longestMs, duration);
    }
  }).observe({ entryTypes: ['gc'] });
`;

function renderCollections(collections: readonly Collection[], requests: number): string {
  const rows = collections.map(({ kind, count, milliseconds, longestMs }) => [
    kind,
    String(count),
    ((count / requests) * 1000).toFixed(2),
    ((milliseconds * 1000) / requests).toFixed(2),
    longestMs.toFixed(2),
  ]);
  const head = ['collections of', 'count', 'in 1,000 requests', 'µs a request', 'longest pause, ms'];
  return `${renderTable(head, rows, new Set([0]))}\n`;
}

/** The largest first. */
function rowsOf(sums: ReadonlyMap<string, number>, limit: number, cells: (sum: number) => string[]): string[][] {
  return [...sums]
    .sort(([, a], [, b]) => b - a)
    .slice(0, limit)
    .map(([name, sum]) => [name, ...cells(sum)]);
}

function add(sums: Map<string, number>, name: string, micros: number): void {
  sums.set(name, (sums.get(name) ?? 0) + micros);
}

/** A layer of ours, a package, a part of Node.js, or what V8 calls its own. */
function stageOf(functionName: string, url: string): string {
  if (functionName === '(garbage collector)') return 'V8: garbage collection';
  if (functionName === '(program)') return 'V8: everything without a function';
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
  return 'Node.js: native functions, with their system calls';
}

function nameOf({ functionName, url, lineNumber }: CallFrame): string {
  const name = functionName || '(anonymous)';
  return url === '' ? name : `${name} ${url.replace(/^file:\/\/.*?\/(?=src\/|node_modules\/)/, '')}:${lineNumber + 1}`;
}
