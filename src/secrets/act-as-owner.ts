/**
 * Root at somebody else's files: what is made or changed there is made as their owner, with the owner's rights and no others. So
 * the files stay the owner's, and nothing that he put in their place (a link, a folder) makes root touch what is not his.
 *
 * What is his is parsed by SQLite and others, and one that can be made to run his code would run it as whoever this process can be again. So a
 * process that reads his files is his for good before it opens one (`becomeOwnerOf`), and so are those that load foreign code (`becomeOwner`).
 * `actAsOwner` alone is for what goes on as root, and parses nothing that is his but configuration, in JavaScript.
 */

import { lstatSync, readlinkSync, realpathSync, type Stats } from 'node:fs';
import { dirname, resolve } from 'node:path';

/**
 * Until `actAsSelf`; without effect for anybody but root. Modules are loaded before: their files may be root's alone.
 * @param path A file or folder whose owner is meant. A symbolic link that is somebody else's is not followed, and is his wherever it leads.
 * @throws the system's error, when it is not there.
 */
export function actAsOwner(path: string): void {
  const owner = otherOwnerOf(path);
  if (owner === undefined) return;
  setGroupsOf(owner);
  process.setegid?.(owner.gid);
  process.seteuid?.(owner.uid);
}

/**
 * The same for the rest of the process: its real and saved ids are the owner's as well, and its capabilities are gone.
 * @throws the system's error, when it is not there.
 */
export function becomeOwnerOf(path: string): void {
  const owner = otherOwnerOf(path);
  if (owner === undefined) return;
  setGroupsOf(owner);
  become(owner);
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Whom root is to be instead; `undefined` where it stays who it is. */
function otherOwnerOf(path: string): Owner | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  const { uid, gid } = behindOwnLinks(path);
  return uid === 0 ? undefined : { uid, gid };
}

/** As the kernel has it. */
const maxLinks = 40;

/** What is at the path, or where root itself has put it by a link: a data folder on another disk. */
function behindOwnLinks(path: string): Stats {
  let at = path;
  for (let links = 0; ; links++) {
    const stats = lstatSync(at);
    if (!stats.isSymbolicLink() || stats.uid !== 0 || links === maxLinks) return stats;
    at = resolve(realpathSync(dirname(at)), readlinkSync(at));
  }
}

/** Those that the system's table has him in, as an HSM's device or token may be his group's, and no other; of who is in no table, his own. */
function setGroupsOf({ uid, gid }: Owner): void {
  // Node.js has it since version 0.9, and its types do not.
  const { initgroups } = process as { readonly initgroups?: (user: number, extraGroup: number) => void };
  try {
    initgroups?.(uid, gid);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_UNKNOWN_CREDENTIAL') throw error;
    process.setgroups?.([gid]);
  }
}

/** Ends what `actAsOwner` began: root is root again. */
export function actAsSelf(): void {
  if (process.getuid?.() !== 0 || process.geteuid?.() === 0) return;
  process.seteuid?.(0);
  process.setegid?.(process.getgid?.() ?? 0);
}

/**
 * In a process that one which acts as an owner has started: from here on it is the owner's for good. Its real uid is root's until
 * then, by which whatever is loaded into it, such as a vendor's library, could be root again with one call. Without effect in any other.
 */
export function becomeOwner(): void {
  const [uid, gid] = [process.geteuid?.(), process.getegid?.()];
  if (process.getuid?.() !== 0 || uid === undefined || gid === undefined || uid === 0) return;
  process.seteuid?.(0);
  become({ uid, gid });
}

/** Root alone can give away the real uid: with it the saved one and the capabilities go. */
function become(owner: Owner): void {
  process.setgid?.(owner.gid);
  process.setuid?.(owner.uid);
}
