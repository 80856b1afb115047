/**
 * The connection of a command to the daemon: made, and found to be one with somebody who is believed, before anything is sent.
 *
 * Whoever can put a socket at the path is given what commands send: plaintexts, keys to import. Believed are root, the user himself,
 * and the owner of the folder, where nobody else can write to it: the user of a daemon that was started as systemd does it.
 *
 * In a folder where nobody else can make a name, the socket was made by its owner, and the file system says who that is. That is
 * the usual place, and the answer costs nothing. Anywhere else the kernel is asked whose process listens, for which a library
 * has to be loaded that takes as long as the rest of a command.
 */

import { lstat, stat } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { rootSocketPath } from '../../http/admission/root-socket-path.ts';
import { assertSafePath, UnsafePathError } from '../../secrets/safe-path.ts';

/**
 * @param daemonUid Who is believed besides.
 * @throws Error when somebody else listens; what `connect` fails with is passed on.
 */
export async function connectToDaemon(socketPath: string, daemonUid: number | undefined): Promise<Socket> {
  // Where nobody else can be in the way. Everybody else is turned away there, or there is none, or somebody who is not believed was there before
  // the daemon, and then it is the first socket.
  const operatorSocket = await believedAt(rootSocketPath(socketPath), daemonUid).catch(() => undefined);
  return operatorSocket ?? (await believedAt(socketPath, daemonUid));
}

async function believedAt(path: string, daemonUid: number | undefined): Promise<Socket> {
  const socket = await connected(path);
  try {
    if (await isMadeByTheBelieved(path, daemonUid)) return socket;
    const { readListenerUid } = await import('../../identity/peer-credentials.ts');
    const uid = readListenerUid(socket);
    const isKnown = uid === 0 || uid === process.geteuid?.() || uid === daemonUid;
    if (!isKnown) await assertOwnsFolder(path, uid);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/**
 * Whether the path leads to a socket that one of the believed made, and nobody else could replace. `false` decides nothing.
 * The folder must let nobody but its owner make names: with the sticky bit, others can, and a group is not looked into here.
 */
async function isMadeByTheBelieved(socketPath: string, daemonUid: number | undefined): Promise<boolean> {
  const folder = dirname(socketPath);
  try {
    const { uid: owner } = await stat(folder);
    // What the path leads to does not change any more after this, so the owner is still the same.
    const { mode, uid } = await assertSafePath(folder, { owners: [owner] });
    if (uid !== owner || (mode & 0o022) !== 0) return false;
    const socket = await lstat(socketPath);
    return socket.isSocket() && [0, process.geteuid?.(), owner, daemonUid].includes(socket.uid);
  } catch (error) {
    // Not safe, or gone meanwhile. Whatever else it may be, the kernel's word goes before it.
    if (error instanceof UnsafePathError || (error as NodeJS.ErrnoException).code !== undefined) return false;
    throw error;
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.removeListener('error', reject);
      resolve(socket);
    });
  });
}

async function assertOwnsFolder(socketPath: string, uid: number): Promise<void> {
  const advice = `nothing was sent; if that is the daemon's user, give --daemon-uid ${uid} or set DRAWBRIDGE_DAEMON_UID`;
  try {
    const { uid: owner } = await assertSafePath(dirname(socketPath), { owners: [uid] });
    if (owner === uid) return;
  } catch (error) {
    if (!(error instanceof UnsafePathError)) throw error;
    throw new Error(
      `a process of uid ${uid} listens at \`${socketPath}\`, and anybody might: ${error.message}; ${advice}`,
      {
        cause: error,
      },
    );
  }
  throw new Error(
    `a process of uid ${uid} listens at \`${socketPath}\`, who is neither root, nor you, nor the owner of its folder; ${advice}`,
  );
}
