/**
 * Is a peer's process one of the machine, or in a container?
 *
 * Container engines run a container's root as uid 0, without a user namespace unless told to. The kernel then vouches for uid 0
 * at the other end of a socket that the container was given, and the uid alone would make it the account's root. So whoever
 * would be that by his uid, or would have what is kept for operators, has to be shown to be the machine's:
 *
 * - The kernel names his pid. It is 0 where his pid namespace is none that the daemon can see into: when the daemon is in a
 *   container, that is everybody outside of this one, the machine's root included.
 * - `NSpid` has as many numbers as the daemon's own: his pid namespace is the daemon's, and not one below it.
 * - Neither the configuration (`identity.containers`) nor its shape says that his cgroup is another container's.
 *
 * All of it is there for an unprivileged daemon to read. The links in `/proc/PID/ns` are not, and say nothing more. What cannot be
 * read counts as not shown: where `/proc` hides other users' processes (`hidepid`, `ProtectProc=`), nobody is root.
 *
 * That it is still the process that connected, the kernel says through a descriptor of it (`SO_PEERPIDFD`, Linux 6.5 and later).
 * Before that, it is the process that has its pid when the connection is accepted, if it is the same after the look as before.
 *
 * Accepted weaknesses. Without `SO_PEERPIDFD`, a container that starts as many processes as there are pids while its connection
 * waits to be accepted may be taken for a process of root that was just then started with its pid. A container with
 * `--pid=host`, of an engine whose cgroups are not known here and not configured, is the machine. And uids other than these are
 * believed: a container's root with `CAP_SETUID`, which engines leave it, can be any user whom the operators' checks do not
 * concern. A container that must not be gets a user namespace, or loses that capability.
 *
 * Source: proc_pid_status(5), `NSpid`; pidfd_open(2); pid_namespaces(7); the kernel's kernel/pid.c, `pidfd_show_fdinfo`.
 */

import { closeSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { PeerOrigin, UnixPeer } from './caller.ts';
import { type ContainerNames, isInOtherContainer, unnamedContainer } from './container-names.ts';
import { openPeerProcess } from './peer-credentials.ts';
import { startTicksOf } from './process-start.ts';

/** What `/proc` says of a process, all of it of one and the same. */
export interface ProcessLook {
  /** Its pids, from the namespace of this `/proc` down to its own. */
  readonly namespacePids: readonly number[];
  /** The text of `/proc/PID/cgroup`. */
  readonly cgroups: string;
}

const somewhere: PeerOrigin = { container: unnamedContainer };

/** @param peer As the kernel names him on that connection, which was accepted just now. Never throws. */
export function originOfPeer(socket: Socket, { pid }: Pick<UnixPeer, 'pid'>, names: ContainerNames): PeerOrigin {
  try {
    return originOfProcess(pid, lookAtPeer(socket, pid), names);
  } catch {
    // It has ended, or this `/proc` does not show it: nothing is shown, whatever the reason.
    return somewhere;
  }
}

/** @param look At the process that has this pid in the daemon's namespace; `undefined` where there is none. */
export function originOfProcess(pid: number, look: ProcessLook | undefined, names: ContainerNames): PeerOrigin {
  if (look === undefined) return somewhere;
  const named = names.find(look.cgroups);
  if (named !== undefined) return { container: named };
  const own = lookAtSelf();
  const isOurs =
    look.namespacePids.length === own.namespacePids.length &&
    look.namespacePids.at(-1) === pid &&
    !isInOtherContainer(look.cgroups, own.cgroups);
  return isOurs ? 'machine' : somewhere;
}

/** Can a process of another user be shown to be the machine's at all? Where not, nobody on the socket is root. */
export function canTellOrigins(): boolean {
  try {
    lookAtSelf();
    // Of this machine or container the first process, which is hardly ever the daemon's own user's.
    readFileSync('/proc/1/cgroup');
    return true;
  } catch {
    return false;
  }
}

/** @throws Whatever reading throws. */
function lookAtPeer(socket: Socket, pid: number): ProcessLook | undefined {
  if (pid <= 0) return undefined;
  const descriptor = openPeerProcess(socket);
  // A pid of the daemon's namespace is one of this `/proc` only where both are of the same namespace.
  if (descriptor === undefined) return lookAtSelf().namespacePids.length === 1 ? lookByPid(pid) : undefined;
  try {
    return lookByDescriptor(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function lookByDescriptor(descriptor: number): ProcessLook | undefined {
  const read = (): readonly number[] => namespacePidsIn(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'latin1'));
  const namespacePids = read();
  const [pid = -1] = namespacePids;
  if (pid <= 0) return undefined;
  const cgroups = readFileSync(`/proc/${pid}/cgroup`, 'latin1');
  // It had that pid until now, so what was read is of no other process.
  return read()[0] === pid ? { namespacePids, cgroups } : undefined;
}

/**
 * For kernels that have no descriptors of peers. `undefined` where it is another process after the look.
 * @throws Whatever reading throws.
 */
export function lookByPid(pid: number): ProcessLook | undefined {
  const startTicks = startTicksOf(pid);
  const namespacePids = namespacePidsIn(readFileSync(`/proc/${pid}/status`, 'latin1'));
  const cgroups = readFileSync(`/proc/${pid}/cgroup`, 'latin1');
  return startTicks === startTicksOf(pid) ? { namespacePids, cgroups } : undefined;
}

/** Who moves the daemon to another cgroup may wait so long until it knows. */
const selfFreshMs = 1_000;
let self: { readonly look: ProcessLook; readonly atMs: number } | undefined;

/** @throws TypeError where `/proc` is of a namespace that the daemon is not in. */
function lookAtSelf(): ProcessLook {
  const nowMs = performance.now();
  if (self === undefined || nowMs - self.atMs >= selfFreshMs) self = { look: readSelf(), atMs: nowMs };
  return self.look;
}

function readSelf(): ProcessLook {
  const namespacePids = namespacePidsIn(readFileSync('/proc/self/status', 'latin1'));
  if (namespacePids.at(-1) !== process.pid) throw new TypeError('/proc is not of a pid namespace of this process');
  return { namespacePids, cgroups: readFileSync('/proc/self/cgroup', 'latin1') };
}

/**
 * A kernel without pid namespaces has no `NSpid`, and one pid for each process.
 * @param text Of `/proc/PID/status`, or of `/proc/self/fdinfo` of a pidfd. Its lines end at line feeds alone: the name of a process
 * stands in it, which may have any other character, and a carriage return begins a line for `^`.
 */
export function namespacePidsIn(text: string): readonly number[] {
  const lines = text.split('\n');
  const find = (form: RegExp) => lines.map((line) => form.exec(line)?.[1]).find((pids) => pids !== undefined);
  const pids = find(/^NSpid:((?:\s-?\d+)+)$/) ?? find(/^Pid:\s(-?\d+)$/) ?? '';
  return pids.trim().split(/\s+/).map(Number);
}
