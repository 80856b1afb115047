/**
 * Root at somebody else's files: what is made or changed there is made as their owner, with the owner's rights and no others. So
 * the files stay the owner's, and nothing that he put in their place (a link, a folder) makes root touch what is not his.
 *
 * Foreign code is in processes of their own, which are the owner's for good before they load it (`becomeOwner`).
 */

import { lstatSync } from 'node:fs';

/**
 * For the rest of the process, or until `actAsSelf`; without effect for anybody but root. Modules are loaded before: their files may be root's alone.
 * @param path A file or folder whose owner is meant; a symbolic link is not followed.
 * @throws the system's error, when it is not there.
 */
export function actAsOwner(path: string): void {
  if (process.geteuid?.() !== 0) return;
  const { uid, gid } = lstatSync(path);
  if (uid === 0) return;
  setGroupsOf(uid, gid);
  process.setegid?.(gid);
  process.seteuid?.(uid);
}

/** Those that the system's table has him in, as an HSM's device or token may be his group's, and no other; of who is in no table, his own. */
function setGroupsOf(uid: number, gid: number): void {
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
  // Root alone can give away the real uid: with it the saved one and the capabilities go.
  process.seteuid?.(0);
  process.setgid?.(gid);
  process.setuid?.(uid);
}
