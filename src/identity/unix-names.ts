/**
 * Names and numbers of Unix users and groups, as the whole process remembers them (`name-cache.ts`), and when what is remembered
 * may be another's by now (`user-database-watch.ts`).
 *
 * Names that are only digits are numbers.
 */

import { BlockingAllowance, NameCache, type NameCacheOptions, QuestionThreads } from './name-cache.ts';
import { groupIds, groupNames, groupsOfUsers, userIds, userNames } from './user-database.ts';
import { UserDatabaseWatch } from './user-database-watch.ts';

/** What the user database says of somebody by now, and said before. `null`: there is none. */
export interface UserDatabaseChange {
  readonly of: 'uid' | 'user' | 'gid' | 'group' | 'groups of user';
  readonly who: string | number;
  readonly before: unknown;
  readonly now: unknown;
}

/** How names are looked up; each throws UserDatabaseError or NameNotKnownYetError. */
export interface Names {
  readonly uidOf: (who: string | number) => number | undefined;
  readonly gidOf: (who: string | number) => number | undefined;
  readonly nameOf: (uid: number) => string | undefined;
  /** All groups of a user by his name, his own one included; `undefined`: there is no such user. */
  readonly groupsOf: (userName: string) => readonly number[] | undefined;
}

const clock = (): number => performance.now();
const paths = { passwd: '/etc/passwd', group: '/etc/group', nsswitch: '/etc/nsswitch.conf' };
const watch = new UserDatabaseWatch(paths, clock);
const shared = { allowance: new BlockingAllowance(clock), threads: new QuestionThreads(), clock, watch };
const followers = new Set<(change: UserDatabaseChange) => void>();

function cache<Key extends string | number, Value>(
  of: UserDatabaseChange['of'],
  lookup: NameCacheOptions<Key, Value>['lookup'],
): NameCache<Key, Value> {
  return new NameCache({
    ...shared,
    lookup,
    answeredOtherwise(who, before, now) {
      watch.hasAnsweredOtherwise();
      for (const follower of followers) follower({ of, who, before: before ?? null, now: now ?? null });
    },
  });
}

const cachedUserNames = cache('uid', userNames);
const cachedUserIds = cache('user', userIds);
const cachedGroupIds = cache('group', groupIds);
const cachedGroupNames = cache('gid', groupNames);
const cachedGroupsOfUsers = cache('groups of user', groupsOfUsers);

/** These may block. */
export const names: Names = {
  uidOf: idOfUser,
  gidOf: idOfGroup,
  nameOf: nameOfUser,
  groupsOf: (userName) => cachedGroupsOfUsers.get(userName),
};

/** These never do. */
export const knownNames: Names = {
  uidOf: (who) => numberOf(who) ?? cachedUserIds.getKnown(String(who)),
  gidOf: (who) => numberOf(who) ?? cachedGroupIds.getKnown(String(who)),
  nameOf: (uid) => cachedUserNames.getKnown(uid),
  groupsOf: (userName) => cachedGroupsOfUsers.getKnown(userName),
};

/**
 * Another number than before: whoever was identified before may be another one, and has to be identified again. Asked for each
 * request.
 */
export function userDatabaseState(): number {
  return watch.state();
}

/**
 * Tells of each answer that is another one than the last one to the same question. It says so when the question is asked, which is
 * when it matters to somebody.
 * @returns What ends it.
 */
export function followUserDatabase(follower: (change: UserDatabaseChange) => void): () => void {
  followers.add(follower);
  return () => void followers.delete(follower);
}

/** @throws UserDatabaseError or NameNotKnownYetError, as the three below. */
export function nameOfUser(uid: number): string | undefined {
  return cachedUserNames.get(uid);
}

export function nameOfGroup(gid: number): string | undefined {
  return cachedGroupNames.get(gid);
}

export function idOfGroup(nameOrGid: string | number): number | undefined {
  return numberOf(nameOrGid) ?? cachedGroupIds.get(String(nameOrGid));
}

export function idOfUser(nameOrUid: string | number): number | undefined {
  return numberOf(nameOrUid) ?? cachedUserIds.get(String(nameOrUid));
}

/** As `idOfUser`, and never blocks or throws: `undefined` as well where nothing is known, or nothing yet. */
export function knownIdOfUser(nameOrUid: string | number): number | undefined {
  try {
    return knownNames.uidOf(nameOrUid);
  } catch {
    return undefined;
  }
}

function numberOf(who: string | number): number | undefined {
  if (typeof who === 'number') return who;
  return /^\d+$/.test(who) ? Number(who) : undefined;
}
