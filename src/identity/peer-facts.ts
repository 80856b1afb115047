/**
 * What a policy may ask about a Unix peer beyond its uid: names of user and groups, and what its process is.
 *
 * The names belong to numbers that the kernel vouches for. The process is only as good as the pid that the kernel recorded
 * at `connect`: it may have ended since, and its pid may be another's. So nothing is said of a process that was started
 * after the connection was accepted, or that is another one after the look than before it. And nothing is proven by it: the
 * user of a process decides what it runs, can pass his connection to another process, and can be debugged into anything. The
 * system's service manager decides about units, so a user cannot put himself into one of its services; `root` can.
 *
 * Source: proc(5), `/proc/pid/exe` and `/proc/pid/stat`; cgroups(7), `/proc/pid/cgroup`; systemd.slice(5).
 */

import { readFileSync, readlinkSync } from 'node:fs';
import type { PeerFacts, UnixPeer } from './caller.ts';
import { nameOfGroup, nameOfUser } from './unix-caller.ts';

export function peerFacts(peer: UnixPeer): PeerFacts {
  return {
    userName: () => nameOfUser(peer.uid),
    groupNames() {
      const names = [peer.gid, ...peer.groups].map(nameOfGroup).filter((name) => name !== undefined);
      return [...new Set(names)];
    },
    executable: () => ofSameProcess(peer, () => executableOf(peer.pid)),
    systemdUnit: () => ofSameProcess(peer, () => unitOf(readFileSync(`/proc/${peer.pid}/cgroup`, 'utf8'))),
  };
}

/** `undefined` where the process is gone, is another one, or cannot be looked at. */
function ofSameProcess<T>({ pid, acceptedAtMs }: UnixPeer, look: () => T): T | undefined {
  if (acceptedAtMs === undefined || pid <= 0) return undefined;
  try {
    const startTicks = startTicksOf(pid);
    const result = look();
    if (startTicks !== startTicksOf(pid)) return undefined;
    return isOlder(startTicks, performance.now() - acceptedAtMs) ? result : undefined;
  } catch {
    // Whatever the reason (it ended, another user's process in a hardened /proc), nothing is known.
    return undefined;
  }
}

/** The kernel counts in hundredths of a second on every architecture that Node.js is released for (`USER_HZ`). */
const ticksPerSecond = 100;

/** Field 22 of `/proc/pid/stat`: ticks since the machine was started. The second field may hold anything, in parentheses. */
function startTicksOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[19]);
  if (!Number.isInteger(ticks)) throw new TypeError(`/proc/${pid}/stat has no start time`);
  return ticks;
}

/** Was the process there before the connection? A tick is allowed for rounding. */
function isOlder(startTicks: number, connectionAgeMs: number): boolean {
  const uptimeSeconds = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]);
  const processAgeMs = (uptimeSeconds - (startTicks - 1) / ticksPerSecond) * 1000;
  return processAgeMs >= connectionAgeMs;
}

/** A program that was replaced or removed while it runs has no path that says anything. */
function executableOf(pid: number): string | undefined {
  const path = readlinkSync(`/proc/${pid}/exe`);
  return path.endsWith(' (deleted)') ? undefined : path;
}

/**
 * The first part of the cgroup's path that is no slice. A user's own service manager has its units below one of the system's
 * (`user@1000.service`), and he could call them what he likes.
 */
export function unitOf(cgroup: string): string | undefined {
  const path = /^(?:0:|\d+:name=systemd):(\/.*)$/m.exec(cgroup)?.[1];
  const unit = path?.split('/').find((part) => part !== '' && !part.endsWith('.slice'));
  return unit !== undefined && /\.(?:service|scope|socket|mount|swap)$/.test(unit) ? unit : undefined;
}
