/**
 * From a Unix user to a principal: what the configuration says, and what holds where it says nothing.
 *
 * In this order: a user who is one of `roots` is the account's root; a user in `users` is the principal given there; a
 * user who is in a group of `groups` (as his own or a supplementary one) is the principal of the first such group in the
 * configured order; anybody else is `user/unix/NAME`, so that a key policy can name him with no configuration at all.
 * Whoever is mapped to a role is in a session of it that has his own name: policies can name the role, or him in it.
 *
 * Before all of that: whoever would be root by his uid, and is not shown to be the machine's, is `user/container/NAME/root`
 * (`peer-origin.ts`).
 *
 * Users and groups are given by name or number, and compared by number, which is what the kernel vouches for: a name in
 * the configuration stands for the uid that it has at the time. Whoever is identified is bound to the name that his uid has then
 * (`userName` of the caller's proof): identified again, when it is another's, he is nobody. (A JavaScript
 * object lists members that look like numbers first, so groups given by number come before those given by name.)
 */

import {
  type Account,
  containerUserArn,
  type PrincipalArn,
  parsePrincipalArn,
  rootArn,
  unixUserArn,
} from '../kms/names.ts';
import { type Caller, noGroup, type UnixPeer } from './caller.ts';
import { type ContainerNames, unnamedContainer } from './container-names.ts';
import { NameNotKnownYetError } from './name-cache.ts';
import { idOfGroup, idOfUser, knownIdOfUser, knownNames, type Names, names } from './unix-names.ts';
import { UserNames } from './user-names.ts';

export interface UnixMapping extends Account {
  /** Users, by name or uid, who are the account's root. The operating system's root is one only if 0 is among them. */
  readonly roots: readonly (string | number)[];
  /** By user name or uid. */
  readonly users: Readonly<Record<string, PrincipalArn>>;
  /** By group name or gid. */
  readonly groups: Readonly<Record<string, PrincipalArn>>;
  /** Does a group count only where the user database has the user in it now, beside the kernel's word? Absent: no. */
  readonly demandsDatabaseGroups?: boolean;
  /** How containers are called. Absent: they have no names. */
  readonly containers?: ContainerNames;
  /** Who else is a user here, so that no two are called the same. Absent: nobody. */
  readonly userNames?: UserNames;
  /** The roles that can be assumed now; nobody is mapped to one. Absent: there are none. */
  readonly assumableRoles?: () => readonly PrincipalArn[];
}

/** Only the operating system's root is the account's root, and nobody else is anybody special. */
export function defaultUnixMapping({ account }: Account): UnixMapping {
  return { account, roots: [0], users: {}, groups: {} };
}

/** The uid of somebody who was identified before is another user's now, or nobody's: he is neither of them any more. */
export class ReusedUidError extends Error {
  override readonly name = 'ReusedUidError';

  constructor(uid: number) {
    super(`uid ${uid} is another user’s than it was`);
  }
}

/** In words for the operator. */
export class UnixMappingError extends Error {
  override readonly name = 'UnixMappingError';
}

/**
 * Refuses a mapping to what no caller can be. To be called once, when a configuration is read; a mapping that was not
 * checked fails for each caller whom it concerns.
 *
 * @throws UnixMappingError
 */
export function assertUnixMapping(mapping: UnixMapping): void {
  for (const [who, arn] of Object.entries(mapping.users)) assertMappable(arn, mapping, `user \`${who}\``);
  for (const [who, arn] of Object.entries(mapping.groups)) assertMappable(arn, mapping, `group \`${who}\``);
}

/** Names of the mapping that no user or group of this machine has: worth a warning, for they may come. */
export function findUnknownNames({ roots, users, groups }: UnixMapping): readonly string[] {
  const unknown = (
    kind: string,
    named: readonly (string | number)[],
    idOf: (who: string | number) => number | undefined,
  ) => named.filter((name) => idOf(name) === undefined).map((name) => `${kind} \`${name}\``);
  return [
    ...unknown('user', [...roots, ...Object.keys(users)], idOfUser),
    ...unknown('group', Object.keys(groups), idOfGroup),
  ];
}

/**
 * As `resolveUnixCaller`, for who can wait: nothing blocks, and it is a promise only where the user database has to be asked.
 *
 * @throws (or rejects with) UserDatabaseError, UnixMappingError, ReusedUidError, or NameNotKnownYetError when too many wait already.
 */
export function findUnixCaller(peer: UnixPeer, mapping: UnixMapping): Caller | Promise<Caller> {
  try {
    return callerBy(knownNames, peer, mapping);
  } catch (error) {
    if (!(error instanceof NameNotKnownYetError) || error.answered === undefined) throw error;
    // Each time another name is known, and there are as many as the mapping has.
    return error.answered.then(() => findUnixCaller(peer, mapping));
  }
}

/**
 * @throws UserDatabaseError or NameNotKnownYetError when the name of the user cannot be told, UnixMappingError,
 * ReusedUidError. The connection is then nobody's.
 */
export function resolveUnixCaller(peer: UnixPeer, mapping: UnixMapping): Caller {
  return callerBy(names, peer, mapping);
}

function callerBy(by: Names, peer: UnixPeer, mapping: UnixMapping): Caller {
  const { account: accountId, roots, users, groups } = mapping;
  const { uidOf, gidOf, nameOf, groupsOf } = by;
  const isRoot = roots.some((who) => uidOf(who) === peer.uid);
  if ((isRoot || peer.uid === 0) && peer.origin !== 'machine') return rootOfContainer(peer, mapping);
  const root = { type: 'Root', arn: rootArn(mapping), accountId } as const;
  // Nobody else ever has this uid, and he gets in where the user database does not answer.
  if (isRoot && peer.uid === 0) return { ...root, proof: peer };
  const named = bound(peer, nameOf(peer.uid));
  const proof = mapping.demandsDatabaseGroups === true ? withGroupsOfBoth(named, groupsOf) : named;
  if (isRoot) return { ...root, proof };
  const mapped =
    findMapped(users, (who) => uidOf(who) === proof.uid) ?? findMapped(groups, (who) => isMember(proof, gidOf(who)));
  const userName = proof.userName ?? undefined;
  if (mapped !== undefined && isRole(mapped, mapping)) return sessionOf(mapped, proof, mapping, userName);
  const arn = mapped ?? unixUserArn(mapping, proof.uid, userName);
  assertUser(arn, mapping, `uid ${proof.uid}`);
  return { type: 'IAMUser', arn, accountId, userName: namesOf(mapping).nameOf(arn), proof };
}

type BoundPeer = UnixPeer & Required<Pick<UnixPeer, 'userName'>>;

/** Of the groups that his process has, those that the user database has him in as well. A uid without a name is in none. */
function withGroupsOfBoth(peer: BoundPeer, groupsOf: Names['groupsOf']): BoundPeer {
  const theirs = new Set(peer.userName === null ? [] : groupsOf(peer.userName));
  return {
    ...peer,
    gid: theirs.has(peer.gid) ? peer.gid : noGroup,
    groups: peer.groups.filter((gid) => theirs.has(gid)),
  };
}

/** @throws ReusedUidError where the uid was another's when he was identified first. */
function bound(peer: UnixPeer, name: string | undefined): BoundPeer {
  const userName = name ?? null;
  if (peer.userName !== undefined && peer.userName !== userName) throw new ReusedUidError(peer.uid);
  return { ...peer, userName };
}

/**
 * Whoever has a root's uid and is not shown to be the machine's. Nothing that the mapping says of his uid or groups is about him:
 * those are his container's, and its root chooses among them.
 */
function rootOfContainer(peer: UnixPeer, mapping: UnixMapping): Caller {
  const container = typeof peer.origin === 'object' ? peer.origin.container : unnamedContainer;
  const arn = containerUserArn(mapping, container, peer.uid);
  const userName = namesOf(mapping).nameOf(arn);
  const proof: UnixPeer = { ...peer, gid: noGroup, groups: [] };
  return { type: 'IAMUser', arn, accountId: mapping.account, userName, proof };
}

/**
 * Could this uid be the account's root, or have what is kept for operators? Then it has to be shown that it is the machine's
 * (`peer-origin.ts`). Never blocks: of a root by a name that is not known yet, everybody could be him.
 */
export function couldBeOperator(uid: number, { roots }: UnixMapping): boolean {
  if (uid === 0 || uid === process.geteuid?.()) return true;
  return roots.some((who) => {
    const known = knownIdOfUser(who);
    return known === undefined || known === uid;
  });
}

/** `arn:aws:sts::ACCOUNT:assumed-role/ROLE/USER`, where a user without a name that IAM allows is `uid=NUMBER`. */
function sessionOf(role: PrincipalArn, peer: UnixPeer, account: Account, name: string | undefined): Caller {
  const lastPart = (arn: string): string => arn.slice(arn.lastIndexOf('/') + 1);
  const session = lastPart(unixUserArn(account, peer.uid, name));
  const arn = parsePrincipalArn(`arn:aws:sts::${account.account}:assumed-role/${lastPart(role)}/${session}`);
  if (arn === undefined) throw new UnixMappingError(`uid ${peer.uid} cannot be in a session of \`${role}\``);
  return { type: 'AssumedRole', arn, role, accountId: account.account, proof: peer };
}

function findMapped(
  principals: Readonly<Record<string, PrincipalArn>>,
  matches: (who: string) => boolean,
): PrincipalArn | undefined {
  const who = Object.keys(principals).find(matches);
  return who === undefined ? undefined : principals[who];
}

function isMember({ gid, groups }: UnixPeer, id: number | undefined): boolean {
  return id !== undefined && (gid === id || groups.includes(id));
}

function assertMappable(arn: PrincipalArn, account: Account, who: string): void {
  if (!isRole(arn, account)) assertUser(arn, account, who);
}

function isRole(arn: PrincipalArn, { account }: Account): boolean {
  return /^arn:aws:iam::\d+:role\/(?:[\x21-\x7e]+\/)?[\w+=,.@-]{1,64}$/.test(arn) && arn.split(':')[4] === account;
}

/** What users are called, with regard to who else there is. */
export function namesOf({ userNames = new UserNames() }: UnixMapping): UserNames {
  return userNames;
}

/**
 * The Unix user of that name, where he is a principal by it: neither root nor anybody whom the configuration maps. Whether one
 * of his groups maps him is not asked.
 * @throws UserDatabaseError or NameNotKnownYetError
 */
export function unixUserCalled(name: string, mapping: UnixMapping): PrincipalArn | undefined {
  const uid = /^\d+$/.test(name) ? undefined : idOfUser(name);
  if (uid === undefined) return undefined;
  const isOther = [...mapping.roots, ...Object.keys(mapping.users)].some((who) => idOfUser(who) === uid);
  return isOther ? undefined : unixUserArn(mapping, uid, name);
}

function assertUser(arn: PrincipalArn, { account }: Account, who: string): void {
  const start = `arn:aws:iam::${account}:user/`;
  const name = arn.slice(arn.lastIndexOf('/') + 1);
  if (arn.startsWith(start) && name !== '' && parsePrincipalArn(arn) !== undefined) return;
  throw new UnixMappingError(
    `${who} is mapped to \`${arn}\`, which is neither a user nor a role of this account; write \`${start}NAME\``,
  );
}
