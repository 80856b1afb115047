/**
 * SDK clients that are other Unix users: a child process each, so that the kernel vouches for who is calling.
 *
 * The child starts as root, loads the SDK, enters the socket's folder and only then becomes the user; so the user needs
 * no access to this checkout or to the folders above the socket. The folder and the socket itself are opened to
 * everybody, as an administrator would do who lets programs of other users in.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Reply } from './unix-client.ts';

export interface UnixUser {
  readonly uid: number;
  readonly gid: number;
}

/** Users that every Debian has, and one that has no name. */
export const unixUsers = {
  nobody: { uid: 65_534, gid: 65_534 },
  daemon: { uid: 1, gid: 1 },
  'www-data': { uid: 33, gid: 33 },
  nameless: { uid: 54_321, gid: 54_321 },
} as const satisfies Record<string, UnixUser>;

export const runsAsRoot = process.getuid?.() === 0;

/** For the names of skipped tests. */
export function sayIfNotRoot(what: string): void {
  if (!runsAsRoot) process.stdout.write(`skipped: ${what}: only root can become other users\n`);
}

export class UnixClient {
  readonly #child: ChildProcess;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(socketPath: string, user: UnixUser): Promise<UnixClient> {
    chmodSync(dirname(socketPath), 0o711);
    chmodSync(socketPath, 0o666);
    const child = fork(
      fileURLToPath(new URL('./unix-client.ts', import.meta.url)),
      [basename(socketPath), String(user.uid), String(user.gid)],
      { cwd: dirname(socketPath), serialization: 'advanced', execArgv: [] },
    );
    await once(child, 'message');
    return new UnixClient(child);
  }

  /** What the SDK of that user gets: the answer, or the name and message of the error. One call at a time. */
  send(operation: string, input: object): Promise<Reply> {
    const reply = this.#last.then(async () => {
      const answered = once(this.#child, 'message');
      this.#child.send({ operation, input });
      const [message] = await answered;
      // Safe: the child is our own `unix-client.ts`.
      return message as Reply;
    });
    this.#last = reply;
    return reply;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
