/** A progress bar on stderr, where a person sits there; nothing otherwise. */

import { Transform } from 'node:stream';

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

/** @param unit What is counted: `keys`. */
export async function showCount(label: string, unit: string): Promise<Count> {
  if (process.stderr.isTTY !== true) return { update: () => undefined, stop: () => undefined };
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
