/**
 * Where the CPU of the API process goes: its V8 profile under load, summed by stage of a request and by function.
 *
 * A sample belongs to the stage of the function it was taken in (self time). A native function of Node.js (`writeBuffer`)
 * includes the system call that it makes. The profiler is switched on over the inspector's protocol and only while the
 * load runs, so that nothing of the start is in it; it makes the daemon slower, so read shares rather than microseconds.
 */

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

const listedStages = 20;
const listedFunctions = 30;
const samplingIntervalMicros = 200;

export async function profileDaemon(folder: string, loadProgram: string, measureMs: number): Promise<string> {
  const daemon = await startDaemon(join(folder, 'instance'), loadProgram, { nodeOptions: ['--inspect=127.0.0.1:0'] });
  try {
    const what = { operation: 'Encrypt', keySpec: 'SYMMETRIC_DEFAULT', payloadBytes: 64 } as const;
    await daemon.measure(what, 16, { warmupMs: 0, measureMs: 3000 });
    const address = /ws:\/\/\S+/.exec(daemon.log())?.[0];
    if (address === undefined) throw new Error('the daemon did not say where its inspector listens');
    await using inspector = await Inspector.connect(address);
    await inspector.ask('Profiler.enable');
    await inspector.ask('Profiler.setSamplingInterval', { interval: samplingIntervalMicros });
    await inspector.ask('Profiler.start');
    const measured = await daemon.measure(what, 16, { warmupMs: 0, measureMs });
    const { profile } = await inspector.ask<{ profile: CpuProfile }>('Profiler.stop');
    return render(profile, measured.count / measured.seconds, measured.apiCpuMicros ?? 0);
  } finally {
    await daemon.close();
  }
}

/** As much of the Chrome DevTools protocol as a profile needs: one question at a time. */
class Inspector implements AsyncDisposable {
  readonly #socket: WebSocket;
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  static connect(address: string): Promise<Inspector> {
    const socket = new WebSocket(address);
    return new Promise((resolve, reject) => {
      socket.addEventListener('open', () => resolve(new Inspector(socket)), { once: true });
      socket.addEventListener('error', () => reject(new Error(`cannot connect to \`${address}\``)), { once: true });
    });
  }

  ask<Result>(method: string, params: object = {}): Promise<Result> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const listen = ({ data }: MessageEvent): void => {
        const answer = JSON.parse(String(data)) as { id?: number; result?: Result; error?: { message: string } };
        if (answer.id !== id) return;
        this.#socket.removeEventListener('message', listen);
        if (answer.result === undefined) reject(new Error(`${method}: ${answer.error?.message}`));
        else resolve(answer.result);
      };
      this.#socket.addEventListener('message', listen);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#socket.addEventListener('close', () => resolve(), { once: true });
    });
    this.#socket.close();
    return closed;
  }
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
    add(byFunction, nameOf(frame), micros);
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
    renderTable(['stage', 'share', 'µs'], rows(byStage, listedStages), left),
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

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const name = functionName || '(anonymous)';
  return url === '' ? name : `${name} ${url.replace(/^file:\/\/.*?\/(?=src\/|node_modules\/)/, '')}:${lineNumber + 1}`;
}
