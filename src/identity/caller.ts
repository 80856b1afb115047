/**
 * Who is calling, and how that was proven. Made once per connection (Unix socket) or per request (SigV4); everything
 * above believes it.
 */

import type { KmsError } from '../kms/errors.ts';
import type { PrincipalArn } from '../kms/names.ts';

export interface Caller {
  readonly type: 'Root' | 'IAMUser' | 'AssumedRole';
  readonly arn: PrincipalArn;
  readonly accountId: string;
  /** The user's name without its path; absent for the root and for sessions of roles. */
  readonly userName?: string;
  /** Of a session, the role, `arn:aws:iam::ACCOUNT:role/NAME`: policies that name it are about the session too. */
  readonly role?: PrincipalArn;
  /** Of a session that was had by AssumeRole, the role's unique id. */
  readonly roleId?: string;
  readonly proof: UnixPeer | SignedRequest;
}

/** `SO_PEERCRED` and `SO_PEERGROUPS`: what the kernel recorded when the peer called `connect`. */
export interface UnixPeer {
  readonly kind: 'unix';
  readonly uid: number;
  /** `noGroup` where none counts. */
  readonly gid: number;
  readonly pid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
  /** When the connection was accepted, by the monotonic clock (`performance.now()`); absent where there is none. */
  readonly acceptedAtMs?: number;
  /** What the uid was called when he was identified, `null` for a uid without a name; absent: he was not, or is the machine's root. */
  readonly userName?: string | null;
  /** Absent: nobody has looked, as of whoever is no operator by his uid. Nobody is root without having been looked at. */
  readonly origin?: PeerOrigin;
}

/** Where a process is (`peer-origin.ts`): shown to be the machine's, or in the container of that name. */
export type PeerOrigin = 'machine' | { readonly container: string };

/** No group has it as its number: the kernel uses it for "none". */
export const noGroup = 0xffff_ffff;

/**
 * What can be found out about a Unix peer beyond its numbers, looked up when it is asked for. Each throws when the user
 * database does not answer: a policy may deny by name.
 */
export interface PeerFacts {
  /** `undefined`: the uid has no name. */
  userName(): string | undefined;
  /** Of all groups, his own and the supplementary ones, that have a name. */
  groupNames(): readonly string[];
  /** The program that the process runs, as far as it is still the process that connected. */
  executable(): string | undefined;
  /** The unit of the system's service manager that the process belongs to, `app.service`. */
  systemdUnit(): string | undefined;
}

/** A Unix peer as he was when short-lived credentials were issued to him. */
export interface SessionPeer extends UnixPeer {
  /** By the clock of the machine, to the second; absent of a caller who is only supposed. */
  readonly issuedAtMs?: number;
}

/** A session of a role, as AssumeRole gave it (`role-sessions.ts`). */
export interface RoleSession {
  /** By the clock of the machine, to the second; absent of a caller who is only supposed. */
  readonly issuedAtMs?: number;
  /** JSON that bounds what it has of its role's permissions. Absent: it has all of them. */
  readonly policy?: string;
  readonly sourceIdentity?: string;
  /** Who assumed the role; in a chain of roles, who assumed the first. */
  readonly by: PrincipalArn;
  /** The access key with which he signed; absent: he was vouched for by the kernel. */
  readonly accessKeyId?: string;
  /** What stands for the roles that were assumed to come here (`Role.binding`). */
  readonly chain: readonly string[];
}

/** How a connection is encrypted, in the names of RFC 8446: `TLSv1.3`, `TLS_AES_128_GCM_SHA256`. */
export interface TlsFacts {
  readonly tlsVersion: string;
  readonly cipherSuite: string;
}

/** A request signed with an access key (AWS Signature Version 4) over the loopback listener or over TLS. */
export interface SignedRequest {
  readonly kind: 'sigv4';
  readonly accessKeyId: string;
  /** The Region that it was signed for; absent of a caller who is only supposed. */
  readonly region?: string;
  readonly sourceIp: string;
  /** Absent: it came in the clear. */
  readonly tls?: TlsFacts;
  /**
   * To whom the access key was given, where that was by the kernel's word: his groups are the caller's. Of a session of a role, who
   * assumed it, or the first of a chain: his groups are not the role's.
   */
  readonly issuedTo?: SessionPeer;
  /** Absent: it is no session that AssumeRole gave. */
  readonly session?: RoleSession;
  /** Why the request is not taken any more, once its access key is revoked. Absent: nothing revokes it. */
  readonly refusal?: () => KmsError | undefined;
}
