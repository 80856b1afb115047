/**
 * A caller who does not call: what he would be to the daemon if he did, for questions about what he may do.
 *
 * A Unix user is mapped as if he were connected; of somebody who is given by his ARN, nothing is known but what the
 * question says. Nobody is ever served as such a caller.
 */

import { type Account, type PrincipalArn, parsePrincipalArn, rootArn, unixUserArn } from '../kms/names.ts';
import { roleIdOf } from './access-key-id.ts';
import type { Caller, PeerFacts, PeerOrigin, RoleSession, SignedRequest, TlsFacts, UnixPeer } from './caller.ts';
import { peerFacts } from './peer-facts.ts';
import { namesOf, resolveUnixCaller, type UnixMapping } from './unix-caller.ts';
import { idOfGroup, idOfUser } from './unix-names.ts';

export interface Supposition {
  readonly who:
    | {
        readonly principal: PrincipalArn;
        /** His, where it is known. */
        readonly uid?: number | undefined;
      }
    | { readonly unixUser: string };
  /** Names or numbers of Unix groups; a user's own one comes first. */
  readonly groups: readonly string[];
  readonly transport: 'unix' | 'tcp' | 'tls';
  readonly sourceIp: string;
  /** Over tcp and tls: those that were issued to the Unix user, or an access key, of which the kernel knows nothing. */
  readonly credentials: 'issued' | 'accessKey';
  readonly issuedAtMs?: number | undefined;
  /** Of a session of a role that is assumed. */
  readonly sessionPolicy?: string | undefined;
  readonly executable?: string | undefined;
  readonly systemdUnit?: string | undefined;
}

export interface SupposedCaller {
  readonly caller: Caller;
  readonly peerFacts: (peer: UnixPeer) => PeerFacts;
}

/** In words for whoever asks. */
export class SuppositionError extends Error {
  override readonly name = 'SuppositionError';
}

/** No permission depends on it. */
const supposedTls: TlsFacts = { tlsVersion: 'TLSv1.3', cipherSuite: 'TLS_AES_128_GCM_SHA256' };

/** No user has it: the kernel uses it for "none". */
const noId = 0xffff_ffff;

/** @throws SuppositionError, UserDatabaseError, NameNotKnownYetError, UnixMappingError */
export function supposeCaller(supposition: Supposition, mapping: UnixMapping): SupposedCaller {
  const { who, groups, transport, executable, systemdUnit } = supposition;
  const uid = 'unixUser' in who ? uidOf(who.unixUser) : (who.uid ?? uidOfPrincipal(who.principal, mapping));
  const peer = peerOf(uid, groups, 'principal' in who ? originOf(who.principal) : 'machine');
  const identity = 'unixUser' in who ? resolveUnixCaller(peer, mapping) : identify(who.principal, mapping);
  const isAssumed = identity.role !== undefined && mapping.assumableRoles?.().includes(identity.role) === true;
  if (supposition.sessionPolicy !== undefined && !isAssumed) {
    throw new SuppositionError('only a session of a role that is assumed has a policy of its own');
  }
  // Whoever assumed a role signs, wherever he is.
  const proof = isAssumed
    ? { ...signedBy(peer, supposition), session: sessionOf(identity.arn, supposition) }
    : transport === 'unix'
      ? peer
      : signedBy(peer, supposition);
  return {
    caller: { ...identity, accountId: mapping.account, proof },
    peerFacts: (of) => {
      const { userName, groupNames } = peerFacts(of);
      return {
        userName: () => (of.uid === noId ? undefined : userName()),
        groupNames,
        executable: () => executable,
        systemdUnit: () => systemdUnit,
      };
    },
  };
}

function sessionOf(by: PrincipalArn, { issuedAtMs, sessionPolicy }: Supposition): RoleSession {
  const issued = issuedAtMs === undefined ? {} : { issuedAtMs };
  return { ...issued, ...(sessionPolicy === undefined ? {} : { policy: sessionPolicy }), by, chain: [] };
}

function signedBy(peer: UnixPeer, { transport, sourceIp, credentials, issuedAtMs }: Supposition): SignedRequest {
  const way = transport === 'tls' ? { sourceIp, tls: supposedTls } : { sourceIp };
  const signed = { kind: 'sigv4', accessKeyId: '', ...way } as const;
  if (credentials === 'accessKey') return signed;
  return { ...signed, issuedTo: issuedAtMs === undefined ? peer : { ...peer, issuedAtMs } };
}

function uidOf(user: string): number {
  const uid = idOfUser(user);
  if (uid === undefined) throw new SuppositionError(`there is no user \`${user}\` on this machine`);
  return uid;
}

/** The uid of a principal that is called after the Unix user he is. */
function uidOfPrincipal(principal: PrincipalArn, account: Account): number {
  const name = principal.slice(principal.lastIndexOf('/') + 1);
  const uid = /^(?:uid=)?\d+$/.test(name) ? Number(name.replace('uid=', '')) : idOfUser(name);
  return uid !== undefined && unixUserArn(account, uid, name) === principal ? uid : noId;
}

/** Of somebody in a container, whose uid says nothing here: `arn:aws:iam::ACCOUNT:user/container/NAME/root`. */
function originOf(principal: PrincipalArn): PeerOrigin {
  const [, container] = /:user\/container\/([^/]+)\/(?:root|uid=\d+)$/.exec(principal) ?? [];
  return container === undefined ? 'machine' : { container };
}

function identify(
  principal: PrincipalArn,
  mapping: UnixMapping,
): Pick<Caller, 'type' | 'arn' | 'userName' | 'role' | 'roleId'> {
  const { account } = mapping;
  if (principal.split(':')[4] !== account) {
    throw new SuppositionError(`\`${principal}\` is not of account ${account}, and nobody else can call`);
  }
  if (principal === rootArn(mapping)) return { type: 'Root', arn: principal };
  const [, kind, rest = ''] = /^arn:aws:(?:iam|sts)::\d{12}:(user|role|assumed-role)\/(.+)$/.exec(principal) ?? [];
  const name = rest.slice(rest.lastIndexOf('/') + 1);
  switch (kind) {
    case 'user':
      return { type: 'IAMUser', arn: principal, userName: namesOf(mapping).nameOf(principal) };
    case 'role':
      return { type: 'AssumedRole', arn: sessionArn(mapping, name), role: principal, ...idOf(principal, mapping) };
    case 'assumed-role': {
      const role = roleCalled(rest.split('/')[0] ?? '', mapping);
      return { type: 'AssumedRole', arn: principal, ...(role === undefined ? {} : { role, ...idOf(role, mapping) }) };
    }
    default:
      throw new SuppositionError(`\`${principal}\` is no user, role or session`);
  }
}

/** As a session of it has, where it can be assumed. */
function idOf(role: PrincipalArn, { assumableRoles }: UnixMapping): Pick<Caller, 'roleId'> {
  return assumableRoles?.().includes(role) === true ? { roleId: roleIdOf(role) } : {};
}

/** The ARN of a session leaves out the path of its role, which the mapping has. */
function roleCalled(name: string, mapping: UnixMapping): PrincipalArn | undefined {
  const { account, users, groups, assumableRoles } = mapping;
  const mapped = [...Object.values(users), ...Object.values(groups), ...(assumableRoles?.() ?? [])];
  const isThis = (arn: PrincipalArn): boolean => arn.includes(':role/') && arn.endsWith(`/${name}`);
  return mapped.find(isThis) ?? parsePrincipalArn(`arn:aws:iam::${account}:role/${name}`);
}

/** Whoever is in the role; which user that is, nobody said. */
function sessionArn({ account }: Account, role: string): PrincipalArn {
  const arn = parsePrincipalArn(`arn:aws:sts::${account}:assumed-role/${role}/any-session`);
  if (arn === undefined) throw new SuppositionError(`\`${role}\` is no name of a role`);
  return arn;
}

function peerOf(uid: number, names: readonly string[], origin: PeerOrigin): UnixPeer {
  const groups = names.map((name) => {
    const gid = idOfGroup(name);
    if (gid === undefined) throw new SuppositionError(`there is no group \`${name}\` on this machine`);
    return gid;
  });
  return { kind: 'unix', uid, gid: groups[0] ?? noId, pid: 0, groups, origin };
}
