/** What a signature is checked with, and who has signed when it holds. */

import type { Caller, RoleSession, SessionPeer } from './caller.ts';
import type { ScopedKeys } from './scoped-keys.ts';

export interface SigningKey {
  readonly keys: ScopedKeys;
  readonly caller: Omit<Caller, 'proof'>;
  /** For short-lived credentials: to whom they were issued, by the kernel's word at that time. */
  readonly issuedTo?: SessionPeer;
  /** Of a session of a role. */
  readonly session?: RoleSession;
  /** Was it, since it was found? Absent: nothing revokes it. */
  readonly isRevoked?: () => boolean;
}

/**
 * Finds the key that a request names: the same value as long as nothing about it has changed. The session token is the request's,
 * if it has one.
 */
export type FindSigningKey = (
  accessKeyId: string,
  sessionToken: string | undefined,
) => SigningKey | undefined | Promise<SigningKey | undefined>;
