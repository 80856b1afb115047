/** What `encrypt` and `decrypt` share: from one file or pipe through a stream into another. */

import { pipeline } from 'node:stream/promises';
import { unreadable, unwritable } from '../terminal/file-error.ts';
import { openInput } from '../terminal/input.ts';
import { showProgress } from '../terminal/progress.ts';
import { openOutput } from '../terminal/whole-file.ts';
import type { MessageStream } from './message-format.ts';

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

/** Resolves when everything is written and in place, or nobody reads it any more. Rejects, leaving a named output as it was, otherwise. */
export async function transformFile({ from, to, mode, label, through }: FileTransformation): Promise<void> {
  const input = await openInput(from);
  const output = await openOutput(to, mode).catch((error: unknown) => {
    input.stream.destroy();
    throw error;
  });
  const progress = await showProgress(label, input.totalBytes);
  let message: MessageStream | undefined;
  try {
    message = await through();
    await pipeline(input.stream, progress.counter, message.stream, output.stream);
    await output.complete();
  } catch (error) {
    await output.abandon();
    if (isUnwanted(error)) {
      process.exitCode = exitCodeOfSigpipe;
      return;
    }
    if (isOfFiles(error)) {
      const isOfInput = error.syscall === 'read' || (error.path !== undefined && error.path === from);
      throw isOfInput ? unreadable(from, error) : unwritable(to, error);
    }
    throw message === undefined ? error : message.explain(error);
  } finally {
    progress.stop();
    input.stream.destroy();
  }
}

/** What a shell shows for a program that a closed pipe ended, such as `cat large | head -1`. */
const exitCodeOfSigpipe = 141;

/** Whoever reads the output has seen enough: there is nothing to complain about. */
function isUnwanted(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EPIPE' && (error as NodeJS.ErrnoException).syscall === 'write';
}

/** The file system's own errors do not say which file it was. */
function isOfFiles(error: unknown): error is NodeJS.ErrnoException {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return code !== undefined && ['open', 'read', 'write', 'fsync', 'close', 'rename'].includes(syscall ?? '');
}
