/**
 * The socket file: taking the path, giving it its permissions, and letting go of it.
 *
 * The server listens under a temporary name in the same folder, gets its mode and group there, and is then renamed to
 * its path: nobody can ever connect to a socket whose permissions are not the configured ones, whatever the umask, and a
 * name is never without a living socket behind it. What is at the path before is replaced only when it is a socket on
 * which nobody listens, which is what a killed daemon leaves; anything else is refused and left alone. The temporary name
 * follows from the path, so that what a daemon leaves there that was killed between the two is replaced the same way; where somebody else has
 * that, it is another one that nobody can know before.
 *
 * Whoever can rename what is in the folder can put a socket of his own there and read what programs send to it. So nobody but root
 * and the daemon's user may be able to, unless the operator says that the folder is shared (`isShared`). Even there nothing but
 * the daemon's own socket is given a mode and a group: they are set on what was opened, and not by its name.
 */

import { createHash, randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { constants } from 'node:fs';
import { chmod, chown, lstat, open, rename, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { groupIds } from '../identity/user-database.ts';
import { fileProblem } from '../secrets/file-problem.ts';
import { FolderError, makeFolder } from '../secrets/make-folder.ts';
import { assertSafePath, UnsafePathError } from '../secrets/safe-path.ts';

/** `sun_path` has 108 bytes with its closing zero. */
const maxPathBytes = 107;
/** The kernel completes connections on its own up to this many, or `net.core.somaxconn`; more wait in `connect`, or fail. */
export const backlog = 4096;

class SocketPathError extends Error {
  override readonly name = 'SocketPathError';
}

/** What is in the way is another user's, who may make names in the folder, and cannot be replaced. */
export class OthersSocketError extends SocketPathError {}

export interface UnixSocketPlace {
  readonly path: string;
  /** Octal digits, `0660`. */
  readonly mode: string;
  /** A group's name or gid. */
  readonly group?: string | undefined;
  /** Others can write to its folder, and the operator knows: the volume of a sidecar. */
  readonly sharedFolder?: boolean | undefined;
  /** No program but ours has a reason to listen there: a socket of another user is not asked who he is, but replaced, where that is possible. */
  readonly isOursAlone?: boolean | undefined;
}

export interface ListeningSocket {
  /** Whether the file that was put there still stands at its path. */
  isThere(): Promise<boolean>;
  /** Removes the file, if it is still the one that was put there. */
  release(): Promise<void>;
}

/**
 * For whoever makes something before he listens there.
 * @throws SocketPathError for a path that no socket can have.
 */
export function assertSocketPathFits(path: string): void {
  const longest = [path, temporaryPath(path)].map((name) => Buffer.byteLength(name));
  const excessBytes = Math.max(...longest) - maxPathBytes;
  if (excessBytes <= 0) return;
  throw new SocketPathError(
    `the socket path \`${path}\` is too long: a Unix socket's path has at most ${maxPathBytes} bytes; ` +
      `choose one that is ${excessBytes} bytes shorter`,
  );
}

/** @throws SocketPathError in words for the operator. */
export async function listenAt(server: Server, place: UnixSocketPlace): Promise<ListeningSocket> {
  const { path } = place;
  const folder = dirname(path);
  assertSocketPathFits(path);
  await prepareFolder(folder, place.sharedFolder === true);
  const found = await lookAt(path);
  if (found !== undefined && !(place.isOursAlone === true && found.isSocket() && isAnothers(found)))
    await assertFree(path, found);
  const temporary = await freeName(path);
  const gid = place.group === undefined ? undefined : await groupId(place.group);
  await listen(server, temporary, path);
  try {
    const { dev, ino } = await permit(temporary, Number.parseInt(place.mode, 8), gid);
    await rename(temporary, path).catch(async (error: unknown) => {
      const inTheWay = await lookAt(path);
      if (inTheWay === undefined || !isAnothers(inTheWay)) throw error;
      const whose = `belongs to uid ${inTheWay.uid}, and cannot be replaced: ${codeOf(error)}`;
      throw new OthersSocketError(`what is at \`${path}\` ${whose}; remove it or configure another path`, {
        cause: error,
      });
    });
    const put = await lstat(path);
    if (put.dev !== dev || put.ino !== ino) throw replaced();
    const isThere = () => isAt(path, dev, ino);
    return {
      isThere,
      release: async () => {
        if (await isThere()) await unlink(path);
      },
    };
  } catch (error) {
    await unlink(temporary).catch(() => undefined); // It may be renamed already, or gone.
    if (error instanceof SocketPathError) throw error;
    throw new SocketPathError(`cannot give the socket \`${path}\` its permissions: ${codeOf(error)}`, { cause: error });
  }
}

/** `O_PATH` of Linux, which Node.js has no name for: a descriptor of what a name leads to that opens nothing. */
const pathOnly = 0o10000000;

/** Gives the mode and group to the very socket that was made, whatever its name has come to mean. */
async function permit(name: string, mode: number, gid: number | undefined): Promise<{ dev: number; ino: number }> {
  await using file = await open(name, pathOnly | constants.O_NOFOLLOW);
  const stats = await file.stat();
  if (!stats.isSocket() || stats.uid !== process.geteuid?.()) throw replaced();
  // The kernel's own name for what is open: `fchmod` refuses a descriptor of this kind.
  const opened = `/proc/self/fd/${file.fd}`;
  if (gid !== undefined) await chown(opened, -1, gid);
  await chmod(opened, mode);
  return stats;
}

function replaced(): Error {
  return Object.assign(new Error('somebody replaced the socket'), { code: 'somebody replaced it meanwhile' });
}

async function isAt(path: string, dev: number, ino: number): Promise<boolean> {
  const current = await lstat(path).catch(() => undefined); // Gone, or not to be seen: not there for clients either.
  return current?.dev === dev && current.ino === ino;
}

function temporaryPath(path: string): string {
  return join(dirname(path), `.${createHash('sha256').update(path).digest('hex').slice(0, 8)}`);
}

async function prepareFolder(folder: string, isShared: boolean): Promise<void> {
  await makeMissing(folder);
  if (isShared) return;
  try {
    await assertSafePath(folder);
  } catch (error) {
    if (error instanceof UnsafePathError) {
      const price = 'whoever can put another socket there gets what programs send to the daemon';
      throw new SocketPathError(
        `${error.message}; ${price}, or set \`socket.sharedFolder: true\` and read what it costs`,
        {
          cause: error,
        },
      );
    }
    throw new SocketPathError(`cannot use the socket's folder \`${folder}\`: ${codeOf(error)}`, { cause: error });
  }
}

/**
 * `/run` is empty after each boot, so the folder itself is made, where nobody else did (`RuntimeDirectory=` of a systemd unit). One above it that
 * is missing is a misspelt path, or a volume that is not mounted. Programs get through it whatever the umask; who may connect is the socket's mode.
 */
async function makeMissing(folder: string): Promise<void> {
  const parent = dirname(folder);
  if ((await lookAt(parent)) === undefined)
    throw new SocketPathError(
      `there is no folder \`${parent}\`, in which the socket's folder \`${folder}\` would be made; make it, or configure another path`,
    );
  try {
    // It is nobody else's before it is as it has to be.
    if (!(await makeFolder(folder, 0o700))) return;
    await using made = await open(folder, constants.O_DIRECTORY | constants.O_NOFOLLOW);
    if ((await made.stat()).uid === process.geteuid?.()) await made.chmod(0o755);
  } catch (error) {
    if (!(error instanceof FolderError)) throw error;
    throw new SocketPathError(`${error.message}; a systemd unit has it made by \`RuntimeDirectory=\``, {
      cause: error,
    });
  }
}

/** A name for what is to be renamed to the path. In a folder where others can make names, the one that follows from the path may be taken. */
async function freeName(path: string): Promise<string> {
  const known = temporaryPath(path);
  const found = await lookAt(known);
  if (found === undefined) return known;
  if (isAnothers(found)) return join(dirname(path), `.${randomBytes(4).toString('hex')}`);
  await assertFree(known, found);
  return known;
}

async function lookAt(path: string): Promise<Stats | undefined> {
  return lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new SocketPathError(
      `cannot look at the socket path \`${path}\`: ${fileProblem(error, 'write', 'this user')}`,
      { cause: error },
    );
  });
}

/** Neither root's nor this user's. */
function isAnothers({ uid }: Stats): boolean {
  return uid !== 0 && uid !== process.geteuid?.();
}

/** Removes the socket of a dead daemon. Refuses everything else that is at the path. */
async function assertFree(path: string, found: Stats): Promise<void> {
  const refused = (why: string): SocketPathError =>
    isAnothers(found) ? new OthersSocketError(`${why} (it belongs to uid ${found.uid})`) : new SocketPathError(why);
  if (!found.isSocket())
    throw refused(`\`${path}\` exists and is not a socket; it is left alone: remove it or configure another path`);
  const problem = await tryToConnect(path);
  if (problem === undefined) throw refused(`another daemon answers on \`${path}\`; stop it or configure another path`);
  if (problem === 'ENOENT') return;
  if (problem !== 'ECONNREFUSED') throw refused(`cannot tell whether a daemon answers on \`${path}\`: ${problem}`);
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT')
      throw refused(`cannot remove the socket \`${path}\`, on which nobody listens: ${codeOf(error)}`);
  });
}

/** The error code, or `undefined` when somebody answered. A full backlog (`EAGAIN`) is an answer: somebody listens. */
function tryToConnect(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'EAGAIN' ? undefined : (error.code ?? String(error)));
    });
  });
}

function listen(server: Server, temporary: string, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refused = (error: NodeJS.ErrnoException): void => {
      reject(
        new SocketPathError(`cannot listen on \`${path}\`: ${fileProblem(error, 'write', 'this user')}`, {
          cause: error,
        }),
      );
    };
    server.once('error', refused);
    // It is made within this call, with what the umask leaves: nothing to others, so that none of them connects before it has its permissions. A
    // thread that makes a file in that moment makes it for this user alone, as all are made here.
    const umask = process.umask(0o077);
    try {
      server.listen({ path: temporary, backlog }, () => {
        server.removeListener('error', refused);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
}

async function groupId(group: string): Promise<number> {
  if (/^\d+$/.test(group)) return Number(group);
  const gid = await groupIds.later(group);
  if (gid === undefined)
    throw new SocketPathError(`there is no group \`${group}\`, to which the socket is to be given`);
  return gid;
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
