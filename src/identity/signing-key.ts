/** What a signature is checked with, and who has signed when it holds. */

import type { Secret } from '../secrets/secret-bytes.ts';
import type { Caller, SessionPeer } from './caller.ts';

export interface SigningKey {
  readonly secret: Secret;
  readonly caller: Omit<Caller, 'proof'>;
  /**
   * For short-lived credentials: to whom they were issued, by the kernel's word at that time. Their secret is computed
   * for one request and is wiped by whoever asked for it.
   */
  readonly issuedTo?: SessionPeer;
  /** Was it, since it was found? Absent: nothing revokes it. */
  readonly isRevoked?: () => boolean;
}

/** Finds the key that a request names. The session token is the request's, if it has one. */
export type FindSigningKey = (
  accessKeyId: string,
  sessionToken: string | undefined,
) => SigningKey | undefined | Promise<SigningKey | undefined>;
