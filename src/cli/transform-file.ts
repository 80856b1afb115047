/** What `encrypt` and `decrypt` share: from one file or pipe through a stream into another. */

import { createReadStream, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { MessageStream } from './message-format.ts';
import { showProgress } from './progress.ts';
import { openOutput } from './whole-file.ts';

export interface FileTransformation {
  /** `undefined` or `-`: stdin. */
  readonly from: string | undefined;
  /** `undefined` or `-`: stdout. */
  readonly to: string | undefined;
  /** The mode of a new file. */
  readonly mode: number;
  /** What the progress bar calls it. */
  readonly label: string;
  readonly through: () => Promise<MessageStream>;
}

/** Resolves when everything is written and in place. Rejects, leaving a named output as it was, otherwise. */
export async function transformFile({ from, to, mode, label, through }: FileTransformation): Promise<void> {
  const input = await openInput(from);
  const output = await openOutput(to, mode);
  const progress = showProgress(label, input.totalBytes);
  let message: MessageStream | undefined;
  try {
    message = await through();
    await pipeline(input.stream, progress.counter, message.stream, output.stream);
    await output.complete();
  } catch (error) {
    await output.abandon();
    throw message === undefined ? error : message.explain(error);
  } finally {
    progress.stop();
    input.stream.destroy();
  }
}

async function openInput(path: string | undefined): Promise<{ stream: Readable; totalBytes: number | undefined }> {
  if (path === undefined || path === '-') return { stream: process.stdin, totalBytes: undefined };
  let stats: Stats;
  try {
    stats = await stat(path);
  } catch (error) {
    throw new Error(`cannot read \`${path}\`: ${(error as NodeJS.ErrnoException).code}`, { cause: error });
  }
  if (stats.isDirectory()) throw new Error(`cannot read \`${path}\`: it is a folder`);
  return { stream: createReadStream(path), totalBytes: stats.isFile() ? stats.size : undefined };
}
