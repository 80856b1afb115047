/**
 * Keeps users from connecting to a Unix socket for a while, by an entry for each in the socket's access control list: the kernel
 * then refuses them (EACCES) before they have a place in its queue, which costs the daemon nothing. Everybody else connects as
 * the socket's mode says, and root always.
 *
 * Where the file system has no such lists, nobody is excluded, and the first refusal to set one is in the log. In a folder that is shared,
 * somebody may have put another file in the socket's place: the list is set on what was opened and found to be a socket of this user, and not
 * by its name, as the mode is (`http/unix-socket.ts`).
 *
 * Source: acl(5), xattr(7), connect in unix(7); the kernel's include/uapi/linux/posix_acl_xattr.h.
 */

import { closeSync, constants, fstatSync, openSync, type Stats } from 'node:fs';
import koffi from 'koffi';
import type { Logger } from '../kms/logger.ts';

const libc = koffi.load(null);
const setAttribute = libc.func(
  'int setxattr(const char *path, const char *name, const void *value, size_t size, int flags)',
);
/** `O_PATH`, which Node.js has no name for. */
const pathOnly = 0o10000000;

const attribute = 'system.posix_acl_access';
/** `struct posix_acl_xattr_header` with its version, and an entry: tag, permissions, id. */
const version = 2;
const tags = { owner: 0x01, user: 0x02, group: 0x04, mask: 0x10, others: 0x20 } as const;
const noId = 0xffff_ffff;

/** Every `connect` of anybody goes through the list, and ext4 takes some 500. Whoever has more uids is refused when accepted. */
const maxExcluded = 128;
const firstPeriodMs = 1_000;
const maxPeriodMs = 64_000;
const windowMs = 1_000;

interface Offender {
  windowFromMs: number;
  refused: number;
  periodMs: number;
  /** 0: not yet. */
  untilMs: number;
}

export interface SocketExclusionOptions {
  readonly path: string;
  /** Whoever has so many connections refused within a second is excluded: first for a second, then for twice as long each time. */
  readonly maxRefusedPerSecond: number;
  readonly log: Logger;
}

export class SocketExclusion {
  readonly #options: SocketExclusionOptions;
  readonly #offenders = new Map<number, Offender>();
  readonly #excluded = new Set<number>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #isPossible = true;

  constructor(options: SocketExclusionOptions) {
    this.#options = options;
  }

  /** A connection of this user was refused. */
  refused(uid: number): void {
    if (uid === 0 || uid === process.geteuid?.() || !this.#isPossible || this.#excluded.has(uid)) return;
    const nowMs = performance.now();
    let offender = this.#offenders.get(uid);
    if (offender === undefined) {
      // Nobody else is remembered for long: those whose time is over make room.
      if (this.#offenders.size >= maxExcluded) this.#forget(nowMs);
      if (this.#offenders.size >= maxExcluded) return;
      offender = { windowFromMs: nowMs, refused: 0, periodMs: firstPeriodMs, untilMs: 0 };
      this.#offenders.set(uid, offender);
    }
    if (nowMs - offender.windowFromMs > windowMs) {
      offender.windowFromMs = nowMs;
      offender.refused = 0;
    }
    offender.refused++;
    if (offender.refused >= this.#options.maxRefusedPerSecond) this.#exclude(uid, offender, nowMs);
  }

  /** Lets everybody in again. */
  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #exclude(uid: number, offender: Offender, nowMs: number): void {
    const isAgain = offender.untilMs > 0 && nowMs - offender.untilMs < 2 * offender.periodMs;
    offender.periodMs = isAgain ? Math.min(2 * offender.periodMs, maxPeriodMs) : firstPeriodMs;
    offender.untilMs = nowMs + offender.periodMs;
    offender.refused = 0;
    this.#excluded.add(uid);
    if (!this.#write()) {
      this.#excluded.delete(uid);
      return;
    }
    this.#options.log.warn({ uid, forMs: offender.periodMs }, 'a user connects in a loop, and is kept out for a while');
    this.#liftAfter(uid, offender.periodMs);
  }

  /** Whatever keeps the list from being written then, nobody stays out for longer than that lasts. */
  #liftAfter(uid: number, delayMs: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#excluded.delete(uid);
      if (!this.#write()) this.#liftAfter(uid, firstPeriodMs);
    }, delayMs).unref();
    this.#timers.add(timer);
  }

  #forget(nowMs: number): void {
    for (const [uid, { windowFromMs, untilMs, periodMs }] of this.#offenders) {
      if (nowMs - windowFromMs > windowMs && nowMs > untilMs + 2 * periodMs) this.#offenders.delete(uid);
    }
  }

  /** @returns Is the list, where there is a socket, as it is to be? */
  #write(): boolean {
    const { path, log } = this.#options;
    let descriptor: number;
    try {
      descriptor = openSync(path, pathOnly | constants.O_NOFOLLOW);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOENT';
    }
    try {
      const { mode, uid } = socketStatsOf(descriptor) ?? {};
      if (mode === undefined || uid !== process.geteuid?.()) return false;
      // As it is now, and not as it was configured: an operator may have changed it.
      const list = accessList(mode, [...this.#excluded]);
      // The kernel's own name for what is open: `fsetxattr` refuses a descriptor of this kind.
      const isWritten = setAttribute(`/proc/self/fd/${descriptor}`, attribute, list, list.length, 0) === 0;
      const errno = koffi.errno();
      if (!isWritten && this.#isPossible)
        log.warn({ path, errno }, 'users who connect in a loop cannot be kept out of this socket');
      this.#isPossible = isWritten;
      return isWritten;
    } finally {
      closeSync(descriptor);
    }
  }
}

/** `undefined` where it is none. */
function socketStatsOf(descriptor: number): Stats | undefined {
  const stats = fstatSync(descriptor);
  return stats.isSocket() ? stats : undefined;
}

/** The mask is what the group may, so that the mode reads as it did before. */
function accessList(mode: number, excluded: readonly number[]): Buffer {
  const group = (mode >> 3) & 7;
  const entries: (readonly [tag: number, permissions: number, id: number])[] = [
    [tags.owner, (mode >> 6) & 7, noId],
    ...[...excluded].sort((a, b) => a - b).map((uid) => [tags.user, 0, uid] as const),
    [tags.group, group, noId],
    [tags.mask, group, noId],
    [tags.others, mode & 7, noId],
  ];
  const list = Buffer.alloc(4 + 8 * entries.length);
  list.writeUInt32LE(version, 0);
  for (const [index, [tag, permissions, id]] of entries.entries()) {
    list.writeUInt16LE(tag, 4 + 8 * index);
    list.writeUInt16LE(permissions, 6 + 8 * index);
    list.writeUInt32LE(id, 8 + 8 * index);
  }
  return list;
}
