/** A progress bar on stderr, where a person sits there; nothing otherwise. */

import { Transform } from 'node:stream';
import cliProgress from 'cli-progress';

export interface Progress {
  /** Passes everything on and counts it. */
  readonly counter: Transform;
  stop(): void;
}

/** @param totalBytes `undefined` for a pipe: then the bytes are counted and no end is known. */
export function showProgress(label: string, totalBytes: number | undefined): Progress {
  const isShown = process.stderr.isTTY === true;
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
  let bytes = 0;
  if (isShown) bar.start(totalBytes ?? 0, 0);
  return {
    counter: new Transform({
      transform(piece: Buffer, _encoding, done) {
        bytes += piece.length;
        if (isShown) bar.update(bytes);
        done(null, piece);
      },
    }),
    stop: () => {
      if (isShown) bar.stop();
    },
  };
}
