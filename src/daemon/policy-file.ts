/**
 * A policy in a file that is read at the start and at SIGHUP. Whoever can write to it can give himself access, so it must belong to
 * the daemon's user or root and be writable by nobody else.
 */

import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { ConfigurationError } from '../config/load.ts';
import { fileProblem } from '../secrets/file-problem.ts';

/** A policy of AWS's largest size, indented generously, and its attachments. */
const maxFileBytes = 256 * 1024;

/** @throws ConfigurationError where it is none, or could be another's. */
export async function readPolicyFile(path: string): Promise<string> {
  let file: FileHandle;
  try {
    // Not to wait for a writer, should it be a named pipe.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw unreadable(path, error);
  }
  await using handle = file;
  const information = await handle.stat();
  if (!information.isFile()) throw new ConfigurationError(`\`${path}\` is not a file`);
  assertNobodyElseWrites(path, information);
  if (information.size > maxFileBytes) {
    throw new ConfigurationError(`\`${path}\` is larger than ${maxFileBytes} bytes: not a policy`);
  }
  return handle.readFile('utf8');
}

/** @throws ConfigurationError */
export function assertNobodyElseWrites(
  path: string,
  { uid, mode }: { readonly uid: number; readonly mode: number },
): void {
  if (uid !== 0 && uid !== process.getuid?.()) {
    throw new ConfigurationError(
      `\`${path}\` belongs to uid ${uid}, who could give himself access; it must belong to root or the daemon's user`,
    );
  }
  if ((mode & 0o022) !== 0) {
    throw new ConfigurationError(
      `\`${path}\` can be written by others, who could give themselves access; chmod go-w it`,
    );
  }
}

/** In words for operators. */
export function unreadable(path: string, error: unknown): ConfigurationError {
  const reason = fileProblem(error, 'read', 'this user');
  return new ConfigurationError(`cannot read policies at \`${path}\`: ${reason}`, { cause: error });
}
