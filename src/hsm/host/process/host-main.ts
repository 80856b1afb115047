/**
 * The HSM host: the process that runs the vendor's library, so that the API process need not.
 *
 * Started as `node host-main.ts LANES SECONDS`, with one socket per lane from file descriptor 3 on. The life of a host, and the
 * frames of its pipes, are told in `src/hsm/README.md`. In short: the first frame of the first lane opens the token, in
 * this process's main thread, which then serves that lane. Each further one has a worker thread and a session of its own.
 *
 * The first lane does not wait for the threads of the others, each of which takes as long to start as all the rest of a host,
 * and has no other thread's memory. The price: the main thread sits in blocking reads and hears of no worker that ends in a
 * way that ours does not see (out of memory). Its lane is silent then, and the API process ends the host for that.
 *
 * The host ends when the API process closes a lane or dies (nothing is left to do), when the token is gone or cannot be
 * opened (after the reply that says so), and when anything unforeseen happens (after a line on standard error). It ends by
 * `_exit`: worker threads sit in blocking reads and could not be joined, and a vendor's exit handlers are not waited for.
 * SIGINT and SIGTERM, which a terminal and systemd send to every process of a service, are ignored, so that the daemon can
 * drain; a host that hangs is ended by SIGKILL, which the kernel sends too when the API process dies.
 */

import { writeSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import koffi from 'koffi';
import { becomeOwner } from '../../../secrets/act-as-owner.ts';
import { disableCoreDumps } from '../../../secrets/core-dumps.ts';
import { calls, hostWords, type OpenSettings, replyCodes } from '../../calls.ts';
import { FrameError, FrameReader, FrameWriter } from '../../frames.ts';
import { HostFailure } from '../token/failures.ts';
import { Lane, type OpenedToken } from './lane.ts';
import { openToken } from './open-token.ts';
import { endAfter, endWithParent } from './parent-death.ts';
import { PeerGone, Pipe } from './pipe.ts';
import { StartRemains } from './start-remains.ts';

const firstLaneFd = 3;
const maxLanes = 64;
/** As much as the main thread of a process has, for which libraries are made. */
const libraryStackBytes = 8 * 1024 * 1024;
const exitCodes = { peerGone: 0, failed: 1, tokenGone: 2 } as const;

interface WorkerTask {
  readonly fd: number;
  readonly token: OpenedToken;
  readonly remains: StartRemains['memory'];
}

if (isMainThread) main();
else untilTheEnd(() => serveFurtherLane(workerData as WorkerTask));

function main(): void {
  untilTheEnd(() => {
    const [lanes = 0, openingSeconds = 0] = process.argv.slice(2).map(Number);
    if (!(Number.isInteger(lanes) && lanes >= 1 && lanes <= maxLanes && openingSeconds >= 1))
      throw new Error(`usage: host-main.ts LANES SECONDS, with 1 to ${maxLanes} lanes, and seconds to open the token`);
    becomeOwner();
    disableCoreDumps();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
    const firstPipe = new Pipe(firstLaneFd);
    // As many lanes as there are sockets, whatever the settings of the key store say: the library is told whether it needs locks.
    const open = (settings: OpenSettings, pin: Buffer) => openToken({ ...settings, lanes }, pin);
    const token = endAfter(openingSeconds, () => answerOpen(firstPipe, open));
    endWithParent();
    // Where NODE_COMPILE_CACHE asks for it: `_exit` would not. Otherwise it does nothing.
    flushCompileCache();
    const remains = StartRemains.of(lanes);
    for (let lane = 1; lane < lanes; lane++) {
      const task: WorkerTask = { fd: firstLaneFd + lane, token, remains: remains.memory };
      new Worker(new URL(import.meta.url), { workerData: task });
    }
    const lane = new Lane(firstPipe, token);
    remains.laneOpened('first');
    serveLane(lane);
  });
}

function serveFurtherLane({ fd, token, remains }: WorkerTask): void {
  const pipe = new Pipe(fd);
  let lane: Lane | undefined;
  answerOpen(pipe, () => {
    lane = new Lane(pipe, token);
    return token;
  });
  new StartRemains(remains).laneOpened('further');
  serveLane(lane);
}

function serveLane(lane: Lane | undefined): void {
  lane?.serve();
  exit(exitCodes.tokenGone);
}

/**
 * Reads a lane's first frame, does what `open` says with it, and answers: with the capabilities, or why not, after which
 * the host ends. The frame is wiped in either case.
 */
function answerOpen(pipe: Pipe, open: (settings: OpenSettings, pin: Buffer) => OpenedToken): OpenedToken {
  const bytes = pipe.readFrame();
  const reader = new FrameReader();
  const writer = new FrameWriter();
  let requestId = 0;
  try {
    reader.push(bytes);
    const frame = reader.next();
    if (frame === undefined) throw new FrameError('a frame is incomplete');
    requestId = frame.requestId;
    const [settings, pin] = frame.fields;
    if (frame.code !== calls.open.number || frame.fields.length !== 2 || settings === undefined || pin === undefined)
      throw new FrameError('the first frame of a lane is `open`');
    const token = open(JSON.parse(settings.toString('utf8')) as OpenSettings, pin);
    writer.append(requestId, replyCodes.success, [Buffer.from(JSON.stringify(token.capabilities))]);
    pipe.write(writer.view());
    return token;
  } catch (error) {
    if (!(error instanceof HostFailure)) throw error;
    writer.append(requestId, error.replyCode, [Buffer.from(error.message)]);
    pipe.write(writer.view());
    exit(exitCodes.tokenGone);
  } finally {
    bytes.fill(0);
    reader.wipe();
  }
}

/** Runs a thread's work. Nothing that it throws may leave the process half alive. */
function untilTheEnd(work: () => void): void {
  try {
    // Before anything is loaded by way of koffi: it calls functions on a stack of its own in each thread, of 2 MiB unless it is told.
    koffi.config({ sync_stack_size: libraryStackBytes });
    work();
  } catch (error) {
    if (error instanceof PeerGone) exit(exitCodes.peerGone);
    fail(error);
  }
}

function fail(error: unknown): never {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  // In one line of its own: the others are the library's, which may not have ended its last.
  // Not process.stderr: a worker thread's goes through the main thread, which will not get to it any more.
  writeSync(2, `\n${hostWords}${text.replaceAll(/\s*\n\s*/g, '; ')}\n`);
  exit(exitCodes.failed);
}

/** Ends the whole process, from whichever thread, without running anything more of it. */
function exit(code: number): never {
  koffi.load(null).func('void _exit(int status)')(code);
  throw new Error('_exit returned');
}
