/**
 * Names of Unix users and groups, from wherever this machine has them: files, LDAP, systemd.
 *
 * The C library is asked (`getpwuid_r` and its siblings), because it reads what `/etc/nsswitch.conf` says; parsing
 * `/etc/passwd` would miss most users of a company. Such a question can take seconds when a directory server is slow, so
 * each can be asked in two ways: `now`, which blocks the caller, and `later`, which runs on a thread of its own. Who asks
 * when is decided in `name-cache.ts`.
 *
 * Source: getpwnam_r(3), getgrnam_r(3), getgrouplist(3).
 */

import koffi from 'koffi';
import type { Lookup } from './name-cache.ts';

/** The database could not answer; whether the user or group exists is not known. */
class UserDatabaseError extends Error {
  override readonly name = 'UserDatabaseError';
}

const passwd = koffi.struct({
  name: 'char *',
  password: 'char *',
  uid: 'uint32_t',
  gid: 'uint32_t',
  gecos: 'char *',
  directory: 'char *',
  shell: 'char *',
});
const group = koffi.struct({ name: 'char *', password: 'char *', gid: 'uint32_t', members: 'void *' });

type CFunction = ReturnType<ReturnType<typeof koffi.load>['func']>;
/** Koffi fills in what the C library writes; an entry has all of them. */
type Fields = { name: string; uid: number; gid: number };

const libc = koffi.load(null);

function declare(name: string, key: 'uint32_t' | 'const char *', record: ReturnType<typeof koffi.struct>): CFunction {
  const found = koffi.out(koffi.pointer('void *'));
  return libc.func(name, 'int', [key, koffi.out(koffi.pointer(record)), 'void *', 'size_t', found]);
}

/** The name of a uid, or `undefined` where it has none. */
export const userNames: Lookup<number, string> = lookup(declare('getpwuid_r', 'uint32_t', passwd), 'name');
/** The uid of a user's name. */
export const userIds: Lookup<string, number> = lookup(declare('getpwnam_r', 'const char *', passwd), 'uid');
/** The gid of a group's name. */
export const groupIds: Lookup<string, number> = lookup(declare('getgrnam_r', 'const char *', group), 'gid');
/** The name of a gid. */
export const groupNames: Lookup<number, string> = lookup(declare('getgrgid_r', 'uint32_t', group), 'name');

const primaryGroupIds: Lookup<string, number> = lookup(declare('getpwnam_r', 'const char *', passwd), 'gid');
const getgrouplist = libc.func('getgrouplist', 'int', [
  'const char *',
  'uint32_t',
  'void *',
  koffi.inout(koffi.pointer('int')),
]);

/** The gids of all groups of a user by his name, his own one first; `undefined` where there is no such user. */
export const groupsOfUsers: Lookup<string, readonly number[]> = {
  now(userName) {
    const own = primaryGroupIds.now(userName);
    if (own === undefined) return undefined;
    for (const count of groupCounts) {
      const call = newGroupsCall(userName, own, count);
      if (getgrouplist(...call.arguments) >= 0) return groupsIn(call);
    }
    throw tooLong(userName);
  },
  async later(userName) {
    const own = await primaryGroupIds.later(userName);
    if (own === undefined) return undefined;
    for (const count of groupCounts) {
      const call = newGroupsCall(userName, own, count);
      const result = await new Promise<number>((resolve, reject) => {
        getgrouplist.async(...call.arguments, (error: unknown, code: number) =>
          error === null ? resolve(code) : reject(new UserDatabaseError('the call failed', { cause: error })),
        );
      });
      if (result >= 0) return groupsIn(call);
    }
    throw tooLong(userName);
  },
};

/** The kernel lets a process have no more than 65,536 (`NGROUPS_MAX`), and one that it has as its own. */
const groupCounts = [256, 65_537] as const;

interface GroupsCall {
  readonly gids: Buffer;
  /** How many there is room for, and then how many there are. */
  readonly count: [number];
  readonly arguments: readonly [string, number, Buffer, [number]];
}

function newGroupsCall(userName: string, own: number, room: number): GroupsCall {
  const gids = Buffer.alloc(room * 4);
  const count: [number] = [room];
  return { gids, count, arguments: [userName, own, gids, count] };
}

function groupsIn({ gids, count }: GroupsCall): readonly number[] {
  return Array.from({ length: count[0] }, (_, index) => gids.readUInt32LE(index * 4));
}

/** Where an entry's texts are put. A group with many members needs most; more than the largest is refused. */
const bufferBytes = [4 * 1024, 64 * 1024, 1024 * 1024] as const;

const { ERANGE, ENOENT, ESRCH } = koffi.os.errno;

function lookup<Key extends string | number, Field extends keyof Fields>(
  ask: CFunction,
  field: Field,
): Lookup<Key, Fields[Field]> {
  return {
    now(key) {
      for (const bytes of bufferBytes) {
        const call = newCall(bytes);
        const code: number = ask(key, ...call.arguments);
        if (code !== ERANGE) return answerOf(code, call)?.[field];
      }
      throw tooLong(key);
    },
    async later(key) {
      for (const bytes of bufferBytes) {
        const call = newCall(bytes);
        const code = await new Promise<number>((resolve, reject) => {
          ask.async(key, ...call.arguments, (error: unknown, result: number) =>
            error === null ? resolve(result) : reject(new UserDatabaseError('the call failed', { cause: error })),
          );
        });
        if (code !== ERANGE) return answerOf(code, call)?.[field];
      }
      throw tooLong(key);
    },
  };
}

interface Call {
  readonly fields: Partial<Fields>;
  /** The address of the entry, or null where there is none. */
  readonly found: [bigint | null];
  readonly arguments: readonly [Partial<Fields>, Buffer, number, [bigint | null]];
}

function newCall(bytes: number): Call {
  const fields: Partial<Fields> = {};
  const found: [bigint | null] = [null];
  return { fields, found, arguments: [fields, Buffer.alloc(bytes), bytes, found] };
}

/** The entry, or `undefined` where there is none, for which the C library has several ways to say so. */
function answerOf(code: number, { fields, found }: Call): Fields | undefined {
  // Safe: a call that found an entry has filled in all of it.
  if (code === 0) return found[0] === null ? undefined : (fields as Fields);
  if (code === ENOENT || code === ESRCH) return undefined;
  throw new UserDatabaseError(`the user database does not answer: errno ${code}`);
}

function tooLong(key: string | number): UserDatabaseError {
  return new UserDatabaseError(
    `the entry of \`${key}\` in the user database is longer than ${bufferBytes.at(-1)} bytes`,
  );
}
