/**
 * Temporary credentials of sessions of roles, as AssumeRole gives them: an access key, a secret and a session token.
 *
 * As `session-credentials.ts`, and with keys of its own (`hour-keys.ts`): nothing is stored, the token says it all and carries a MAC,
 * so that any number of sessions takes no more memory than those that were used last and are remembered.
 *
 *     token = base64(body ‖ HMAC-SHA-256(hour key "token", body))
 *     body  = u8 version (5) · u32 issue · u32 expiry (both in epoch seconds) · 10 random bytes, of which the access key id is
 *             made · JSON in UTF-8 (`SessionBody`)
 *
 * Whether the caller might assume the role was decided when he did. What a session rests on is looked at again whenever it is used:
 *
 *  - the roles, its own and those before it in its chain, are those that the configuration has, with the trust policies that they had
 *    (`Role.binding`). One that was taken out, or whose trust policy was changed, has no sessions any more;
 *  - whoever assumed the (first) role is still who he was: his access key is not revoked, his uid is not another user's, and the
 *    configuration calls him as it did;
 *  - it is no older than its role's sessions may be by now.
 *
 * In AWS, sessions survive the first two. The price of tokens that are their own record: whoever reads the daemon's memory can make
 * sessions for as long as roles allow, at most 12 hours. Nobody is shown to be in a role by a token alone: it takes the secret to sign.
 */

import { rememberedRoleSessions } from '../kms/budgets.ts';
import { KmsError } from '../kms/errors.ts';
import { type Account, type PrincipalArn, parsePrincipalArn } from '../kms/names.ts';
import { roleIdOf } from './access-key-id.ts';
import type { Caller, PeerOrigin, UnixPeer } from './caller.ts';
import { type DeriveKey, macBytes } from './hour-keys.ts';
import {
  expiredToken,
  type IssuedCredentials,
  type ProvenToken,
  ProvenTokens,
  tokenHeadBytes,
} from './proven-tokens.ts';
import { unlessReused } from './session-credentials.ts';
import type { SigningKey } from './signing-key.ts';

/** AWS's bounds of a session, and of one that was had by a session of another role. */
export const roleSessionSeconds = { min: 900, max: 43_200, default: 3600, maxInChain: 3600 } as const;

/** What a session rests on of its role. */
export interface Role {
  readonly arn: PrincipalArn;
  readonly maxSessionSeconds: number;
  /** Stands for its ARN and its trust policy: another one of either is another binding. */
  readonly binding: string;
}

export interface RoleSessionsOptions extends Account {
  readonly deriveKey: DeriveKey;
  /** The principal of a Unix user, by the mapping in force. */
  readonly callerOf: (peer: UnixPeer) => Caller | Promise<Caller>;
  /** Of an access key that is in force. */
  readonly principalOfAccessKey: (accessKeyId: string) => PrincipalArn | undefined;
  /** Those that the configuration has now. */
  readonly roles: () => RolesInForce;
  /** Another number: `callerOf` may say something else of anybody. */
  readonly standing: () => number;
  readonly clock: () => number;
}

export interface RolesInForce {
  find(arn: string): Role | undefined;
  isInForce(binding: string): boolean;
}

/** What is asked for, once it is allowed. */
export interface NewSession {
  readonly role: Role;
  readonly sessionName: string;
  readonly lifetimeSeconds: number;
  readonly policy?: string | undefined;
  readonly sourceIdentity?: string | undefined;
}

interface SessionBody {
  readonly role: PrincipalArn;
  readonly name: string;
  /** Bindings of the roles that were assumed to come here, each once; its own is the last. */
  readonly chain: readonly string[];
  readonly by: PrincipalArn;
  /** Who he is: the holder of an access key, or a Unix peer. */
  readonly key?: string | undefined;
  readonly peer?: PeerInBody | undefined;
  readonly policy?: string | undefined;
  readonly sourceIdentity?: string | undefined;
}

interface PeerInBody extends Pick<UnixPeer, 'uid' | 'gid' | 'pid' | 'groups'> {
  readonly origin?: PeerOrigin;
  readonly userName?: string | null;
}

const version = 5;
/** In base64 11 KB, of the 16 that all headers of a request may have. The longest policy takes 4, and 512 groups 6. */
const maxTokenBytes = 8192;
/** Chains can go to and fro between two roles, and this counts them once; there are not more in one than people can follow. */
const maxRolesInChain = 16;
const labelPrefix = 'drawbridge/role-sessions/1/';

const kind = {
  version,
  labelPrefix,
  maxBytes: maxTokenBytes,
  minBodyBytes: tokenHeadBytes,
  hoursBack: roleSessionSeconds.max / 3600,
  remembered: rememberedRoleSessions,
  // Safe: its MAC shows that `issue` has made it.
  read: (body: Buffer) => JSON.parse(body.toString('utf8', tokenHeadBytes)) as SessionBody,
};

export class RoleSessions {
  readonly #options: RoleSessionsOptions;
  readonly #tokens: ProvenTokens<SessionBody>;

  constructor(options: RoleSessionsOptions) {
    this.#options = options;
    this.#tokens = new ProvenTokens(kind, options);
  }

  /**
   * @throws KmsError `PackedPolicyTooLargeException` where a token cannot hold it, `LimitExceededException` at the end of a chain of
   * very many roles.
   */
  async issue(caller: Caller, session: NewSession): Promise<IssuedCredentials> {
    const body = Buffer.from(JSON.stringify(bodyOf(caller, session)));
    const bytes = tokenHeadBytes + body.length;
    if (bytes + macBytes > maxTokenBytes) {
      const text = `Packed size of session policy and identity consumes ${Math.ceil((bytes * 100) / maxTokenBytes)}% of allotted space.`;
      throw new KmsError('PackedPolicyTooLargeException', text);
    }
    return this.#tokens.issue(session.lifetimeSeconds, body);
  }

  /** Does the token say that it is of a session of a role? */
  isOwn(sessionToken: string): boolean {
    return Buffer.from(sessionToken.slice(0, 4), 'base64')[0] === version;
  }

  /**
   * What a request with this access key id and session token must be signed with; `undefined` where they were not issued here or not
   * together, or the session is over.
   * @throws KmsError `ExpiredTokenException`
   */
  find(accessKeyId: string, sessionToken: string): SigningKey | undefined | Promise<SigningKey | undefined> {
    const proven = this.#tokens.find(accessKeyId, sessionToken);
    if (proven instanceof Promise) return proven.then((found) => found && this.#keyOf(found));
    return proven && this.#keyOf(proven);
  }

  #keyOf(proven: ProvenToken<SessionBody>): SigningKey | undefined | Promise<SigningKey | undefined> {
    const { token, said: session } = proven;
    const { roles, callerOf, clock, standing: standingOf } = this.#options;
    if (!this.#holds(session)) return undefined;
    const role = roles().find(session.role);
    if (role === undefined) return undefined;
    if ((token.issuedAt + role.maxSessionSeconds) * 1000 <= clock()) throw expiredToken();
    // Before it is asked: what changes meanwhile is asked again.
    const standing = standingOf();
    if (proven.found?.standing === standing) return proven.found.key;
    const learn = (peer: UnixPeer | undefined): SigningKey => {
      const key = this.#signingKeyOf(proven, peer);
      proven.found = { key, standing };
      return key;
    };
    if (session.peer === undefined) return learn(undefined);
    const learnOf = ({ arn, proof }: Caller): SigningKey | undefined =>
      // He may be called otherwise by now, and then others are trusted.
      arn === session.by && proof.kind === 'unix' ? learn(proof) : undefined;
    try {
      const caller = callerOf({ kind: 'unix', ...session.peer });
      return caller instanceof Promise ? caller.then(learnOf).catch(unlessReused) : learnOf(caller);
    } catch (error) {
      return unlessReused(error);
    }
  }

  /** Is everything that can be taken away still there? It is asked again while a request waits. */
  #holds({ chain, key, by }: SessionBody): boolean {
    const { roles, principalOfAccessKey } = this.#options;
    const inForce = roles();
    return (
      chain.every((binding) => inForce.isInForce(binding)) && (key === undefined || principalOfAccessKey(key) === by)
    );
  }

  #signingKeyOf({ token, said: session, keys }: ProvenToken<SessionBody>, peer: UnixPeer | undefined): SigningKey {
    const { role, name, by, key, policy, sourceIdentity } = session;
    const issuedAtMs = token.issuedAt * 1000;
    return {
      keys,
      caller: sessionCaller(this.#options, role, name),
      ...(peer === undefined ? {} : { issuedTo: { ...peer, issuedAtMs } }),
      session: {
        issuedAtMs,
        by,
        chain: session.chain,
        ...(key === undefined ? {} : { accessKeyId: key }),
        ...(policy === undefined ? {} : { policy }),
        ...(sourceIdentity === undefined ? {} : { sourceIdentity }),
      },
      isRevoked: () => !this.#holds(session),
    };
  }
}

/** Who somebody in a session of a role is. @throws TypeError for names that no session can have. */
export function sessionCaller({ account }: Account, role: PrincipalArn, sessionName: string): Omit<Caller, 'proof'> {
  const roleName = role.slice(role.lastIndexOf('/') + 1);
  const arn = parsePrincipalArn(`arn:aws:sts::${account}:assumed-role/${roleName}/${sessionName}`);
  if (arn === undefined) throw new TypeError('a session of a role has a name that it cannot have');
  return { type: 'AssumedRole', arn, role, roleId: roleIdOf(role), accountId: account };
}

function bodyOf(caller: Caller, { role, sessionName: name, policy, sourceIdentity }: NewSession): SessionBody {
  const { proof } = caller;
  const before = proof.kind === 'sigv4' ? proof.session : undefined;
  const peer = proof.kind === 'unix' ? proof : proof.issuedTo;
  const key = peer === undefined && proof.kind === 'sigv4' ? (before?.accessKeyId ?? proof.accessKeyId) : undefined;
  const chain = [...new Set([...(before?.chain ?? []), role.binding])];
  if (chain.length > maxRolesInChain) {
    throw new KmsError('LimitExceededException', `A chain has at most ${maxRolesInChain} roles.`);
  }
  return {
    role: role.arn,
    name,
    chain,
    by: before?.by ?? caller.arn,
    key,
    peer: peer && peerInBody(peer),
    policy,
    sourceIdentity: before?.sourceIdentity ?? sourceIdentity,
  };
}

function peerInBody({ uid, gid, pid, groups, origin, userName }: UnixPeer): PeerInBody {
  return {
    uid,
    gid,
    pid,
    groups,
    ...(origin === undefined ? {} : { origin }),
    ...(userName === undefined ? {} : { userName }),
  };
}
