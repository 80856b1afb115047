/**
 * The connection of a command to the daemon: made, and asked of the kernel whose process listens there, before anything is sent.
 *
 * Whoever can put a socket at the path is given what commands send: plaintexts, keys to import. Believed are root, the user himself,
 * and the owner of the folder, where nobody else can write to it: the user of a daemon that was started as systemd does it.
 */

import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { rootSocketPath } from '../../http/admission/root-socket-path.ts';
import { assertSafePath, UnsafePathError } from '../../secrets/safe-path.ts';

/**
 * @param daemonUid Who is believed besides.
 * @throws Error when somebody else listens; what `connect` fails with is passed on.
 */
export async function connectToDaemon(socketPath: string, daemonUid: number | undefined): Promise<Socket> {
  const socket = await connectedAsOperator(socketPath).catch(() => connected(socketPath));
  try {
    // Loaded when it is needed: a command that finds no daemon says so at once.
    const { readListenerUid } = await import('../../identity/peer-credentials.ts');
    const uid = readListenerUid(socket);
    const isKnown = uid === 0 || uid === process.geteuid?.() || uid === daemonUid;
    if (!isKnown) await assertOwnsFolder(socketPath, uid);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Where nobody else can be in the way. Everybody else is turned away there, or there is none, and takes the first socket. */
function connectedAsOperator(socketPath: string): Promise<Socket> {
  return connected(rootSocketPath(socketPath));
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
