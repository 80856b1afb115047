/** Progress on stderr: a bar where a person sits there; otherwise nothing of what passes through, and of what is counted a line from time to time. */

import { Transform } from 'node:stream';
import { note } from './output.ts';

export interface Progress {
  /** Passes everything on and counts it. */
  readonly counter: Transform;
  stop(): void;
}

/** @param totalBytes `undefined` for a pipe: then the bytes are counted and no end is known. */
export async function showProgress(label: string, totalBytes: number | undefined): Promise<Progress> {
  const bar = process.stderr.isTTY === true ? await startBar(label, totalBytes) : undefined;
  let bytes = 0;
  return {
    counter: new Transform({
      transform(piece: Buffer, _encoding, done) {
        bytes += piece.length;
        bar?.update(bytes);
        done(null, piece);
      },
    }),
    stop: () => bar?.stop(),
  };
}

/** A count of what was done, of how many. */
export interface Count {
  update(done: number, total: number): void;
  stop(): void;
}

/** @param unit What is counted: `keys`, `MB`. */
export async function showCount(label: string, unit: string): Promise<Count> {
  if (process.stderr.isTTY !== true) return countInLines(label, unit);
  const { default: cliProgress } = await import('cli-progress');
  const format = `${label} {bar} {value} of {total} ${unit}`;
  const bar = new cliProgress.SingleBar({
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: true,
    format,
    barsize: 30,
  });
  bar.start(0, 0);
  return {
    update(done, total) {
      bar.setTotal(total);
      bar.update(done);
    },
    stop: () => bar.stop(),
  };
}

/** What is over sooner has no line; a log of what takes an hour has some hundred. */
const lineEveryMs = 10_000;

/**
 * For a log, or whoever reads a pipe: a line every ten seconds.
 * @param nowMs A clock that goes on.
 * @param tell Gets the lines.
 */
export function countInLines(
  label: string,
  unit: string,
  nowMs: () => number = () => performance.now(),
  tell: (line: string) => void = note,
): Count {
  let toldAtMs = nowMs();
  return {
    update(done, total) {
      if (nowMs() - toldAtMs < lineEveryMs) return;
      toldAtMs = nowMs();
      tell(`${label}: ${done} of ${total} ${unit}`);
    },
    stop: () => undefined,
  };
}

/** Has whoever waits for something that says nothing of how far it is know, in a line every ten seconds, that it goes on. */
export async function tellOfWait<Result>(
  what: string,
  work: Promise<Result>,
  everyMs = lineEveryMs,
  tell: (line: string) => void = note,
): Promise<Result> {
  const begunAtMs = performance.now();
  const timer = setInterval(
    () => tell(`${what}, for ${Math.round((performance.now() - begunAtMs) / 1000)} s by now`),
    everyMs,
  );
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}

interface Bar {
  update(bytes: number): void;
  stop(): void;
}

async function startBar(label: string, totalBytes: number | undefined): Promise<Bar> {
  // Loaded where it is shown: it takes as long as everything else that most commands load.
  const { default: cliProgress } = await import('cli-progress');
  const megabytes = (bytes: number): string => (bytes / 1_000_000).toFixed(1);
  const bar = new cliProgress.SingleBar({
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: true,
    format: (options, params) => {
      const done = totalBytes === undefined ? '' : ` ${cliProgress.Format.BarFormat(params.progress, options)}`;
      const of = totalBytes === undefined ? '' : ` of ${megabytes(totalBytes)}`;
      return `${label}${done} ${megabytes(params.value)}${of} MB`;
    },
    barsize: 30,
  });
  bar.start(totalBytes ?? 0, 0);
  return bar;
}
