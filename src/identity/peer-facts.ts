/**
 * What a policy may ask about a Unix peer beyond its uid: names of user and groups, and what its process is.
 *
 * The names belong to numbers that the kernel vouches for. The process is only as good as the pid that the kernel recorded
 * at `connect`: it may have ended since, and its pid may be another's. So nothing is said of a process that was started
 * after the connection was accepted, or that is another one after the look than before it. And nothing is proven by it: the
 * user of a process decides what it runs, can pass his connection to another process, and can be debugged into anything. The
 * system's service manager decides about units, so a user cannot put himself into one of its services; `root` can.
 *
 * Source: proc(5), `/proc/pid/exe`; cgroups(7), `/proc/pid/cgroup`; systemd.slice(5).
 */

import { readFileSync, readlinkSync } from 'node:fs';
import { noGroup, type PeerFacts, type UnixPeer } from './caller.ts';
import { isOlder, startTicksOf } from './process-start.ts';
import { nameOfGroup, nameOfUser } from './unix-names.ts';

export function peerFacts(peer: UnixPeer): PeerFacts {
  return {
    // The uid of a container's process is not who has it on this machine.
    userName: () => (typeof peer.origin === 'object' ? undefined : nameOfUser(peer.uid)),
    groupNames() {
      const names = [peer.gid, ...peer.groups]
        .filter((gid) => gid !== noGroup)
        .map(nameOfGroup)
        .filter((name) => name !== undefined);
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
  const paths = cgroup.split('\n').map((line) => /^(?:0:|\d+:name=systemd):(\/.*)$/s.exec(line)?.[1]);
  const path = paths.find((each) => each !== undefined);
  const unit = path?.split('/').find((part) => part !== '' && !part.endsWith('.slice'));
  return unit !== undefined && /\.(?:service|scope|socket|mount|swap)$/.test(unit) ? unit : undefined;
}
