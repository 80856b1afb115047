/**
 * Short-lived credentials: what the kernel says about a caller on a Unix socket, turned into an access key, a secret and
 * a session token that any AWS client can sign with on the loopback listener.
 *
 * Nothing is stored. The session token carries the kernel's word itself, and a MAC; the secret is computed from it. Both
 * come from keys that the HSM derives from a service key for each clock hour, so that the path of a request needs no call
 * to the HSM, a restart changes nothing, and a forger without a valid token costs one hash. Tokens that verified are remembered
 * for a while, with whom they stand for; each use of one still asks whether its time has passed and whether its user is who he was.
 *
 *     hour key   = HMAC-SHA-256(service key, "drawbridge/session-credentials/1/" purpose "/" hour of issue)    in the HSM
 *     token      = base64(body ‖ HMAC-SHA-256(hour key "token", body))
 *     secret     = base64 of the first 30 bytes of HMAC-SHA-256(hour key "secret", body)
 *     body       = u8 version (4) · u32 issue · u32 expiry (both in epoch seconds) · 10 random bytes, of which the access
 *                  key id is made · u32 uid · u32 gid · i32 pid · u16 number of groups · u32 each group
 *                  · u8 length of the origin · the origin in ASCII: empty, `machine` or `container NAME`
 *                  · the user's name in UTF-8: empty for the machine's root, `=` for a uid without a name, or `=` and the name
 *
 * The price: whoever reads the daemon's memory gets keys for the hour before and this one, and can make credentials that
 * are good for another hour at most. (Whoever controls the daemon can do so anyway, for as long as they do.)
 *
 * The token says who asked, not what they may: their principal follows from the mapping that is in force when they use
 * it. Their groups are those that they had when they asked. Nothing revokes one credential; it ends by itself, and where
 * the uid is another user's than it was.
 */

import { rememberedTokens } from '../kms/budgets.ts';
import { KmsError } from '../kms/errors.ts';
import type { Caller, PeerOrigin, UnixPeer } from './caller.ts';
import { type DeriveKey, macBytes } from './hour-keys.ts';
import { type IssuedCredentials, type ProvenToken, ProvenTokens, tokenHeadBytes } from './proven-tokens.ts';
import type { SigningKey } from './signing-key.ts';
import { ReusedUidError } from './unix-caller.ts';

/** As AWS bounds the sessions of an account's root. */
export const sessionSeconds = { min: 900, max: 3600, default: 3600 } as const;

export interface SessionCredentialsOptions {
  readonly deriveKey: DeriveKey;
  /** The principal of a Unix user, by the mapping in force. */
  readonly callerOf: (peer: UnixPeer) => Caller | Promise<Caller>;
  /** Another number: `callerOf` may say something else of anybody. */
  readonly standing: () => number;
  readonly clock: () => number;
}

/** The first byte of a token says what it is of: these, or a session of a role (`role-sessions.ts`). */
const version = 4;
const fixedBytes = tokenHeadBytes + 4 + 4 + 4 + 2;
const maxOriginBytes = 80;
const maxUserNameBytes = 256;
/** A header with this many is 3 KB long, of the 16 KB that all headers may have. */
export const maxGroups = 512;
const maxTokenBytes = fixedBytes + maxGroups * 4 + 1 + maxOriginBytes + 1 + maxUserNameBytes + macBytes;
const labelPrefix = 'drawbridge/session-credentials/1/';

const kind = {
  version,
  labelPrefix,
  maxBytes: maxTokenBytes,
  minBodyBytes: fixedBytes + 1,
  hoursBack: 1,
  remembered: rememberedTokens,
  read: peerIn,
};

export class SessionCredentials {
  readonly #options: SessionCredentialsOptions;
  readonly #tokens: ProvenTokens<UnixPeer>;

  constructor(options: SessionCredentialsOptions) {
    this.#options = options;
    this.#tokens = new ProvenTokens(kind, options);
  }

  /** @throws KmsError `LimitExceededException` for a caller with more groups than a token holds. */
  async issue(peer: UnixPeer, lifetimeSeconds: number): Promise<IssuedCredentials> {
    if (peer.groups.length > maxGroups) {
      // Leaving some out could take away what a policy denies to a group.
      throw new KmsError('LimitExceededException', `Credentials are issued to users of at most ${maxGroups} groups.`);
    }
    if (Buffer.byteLength(peer.userName ?? '') > maxUserNameBytes) {
      const text = `Credentials are issued to users with a name of at most ${maxUserNameBytes} bytes.`;
      throw new KmsError('LimitExceededException', text);
    }
    return this.#tokens.issue(lifetimeSeconds, encodePeer(peer));
  }

  /**
   * What a request with this access key id and session token must be signed with; `undefined` when they were not issued
   * here or not together.
   * @throws KmsError `ExpiredTokenException`
   */
  find(accessKeyId: string, sessionToken: string): SigningKey | undefined | Promise<SigningKey | undefined> {
    const proven = this.#tokens.find(accessKeyId, sessionToken);
    if (proven instanceof Promise) return proven.then((found) => found && this.#keyOf(found));
    return proven && this.#keyOf(proven);
  }

  #keyOf(proven: ProvenToken<UnixPeer>): SigningKey | undefined | Promise<SigningKey | undefined> {
    const { standing: standingOf, callerOf } = this.#options;
    // Before it is asked: what changes meanwhile is asked again.
    const standing = standingOf();
    if (proven.found?.standing === standing) return proven.found.key;
    const { token, said: peer, keys } = proven;
    const learn = ({ proof, ...caller }: Caller): SigningKey => {
      // With the groups that count by now.
      const issuedTo = { ...(proof.kind === 'unix' ? proof : peer), issuedAtMs: token.issuedAt * 1000 };
      const key = { keys, caller, issuedTo };
      proven.found = { key, standing };
      return key;
    };
    try {
      const caller = callerOf(peer);
      return caller instanceof Promise ? caller.then(learn).catch(unlessReused) : learn(caller);
    } catch (error) {
      return unlessReused(error);
    }
  }
}

/** Credentials of a user who has not his uid any more are nobody's. */
export function unlessReused(error: unknown): undefined {
  if (!(error instanceof ReusedUidError)) throw error;
}

function encodePeer(peer: UnixPeer): Buffer {
  const origin = Buffer.from(originText(peer.origin), 'latin1');
  const userName = Buffer.from(peer.userName === undefined ? '' : `=${peer.userName ?? ''}`);
  const fixed = fixedBytes - tokenHeadBytes;
  const rest = Buffer.alloc(fixed + peer.groups.length * 4 + 1 + origin.length + userName.length);
  let at = rest.writeUInt32BE(peer.uid, 0);
  at = rest.writeUInt32BE(peer.gid, at);
  at = rest.writeInt32BE(peer.pid, at);
  at = rest.writeUInt16BE(peer.groups.length, at);
  for (const group of peer.groups) at = rest.writeUInt32BE(group, at);
  at = rest.writeUInt8(origin.length, at);
  at += origin.copy(rest, at);
  userName.copy(rest, at);
  return rest;
}

const containerPrefix = 'container ';

function originText(origin: PeerOrigin | undefined): string {
  return typeof origin === 'object' ? `${containerPrefix}${origin.container}` : (origin ?? '');
}

function originIn(text: string): PeerOrigin {
  return text === 'machine' ? text : { container: text.slice(containerPrefix.length) };
}

/** Of a body that `issue` made. */
function peerIn(body: Buffer): UnixPeer {
  const groupCount = body.readUInt16BE(fixedBytes - 2);
  const originAt = fixedBytes + groupCount * 4;
  const userNameAt = originAt + 1 + body.readUInt8(originAt);
  const origin = body.toString('latin1', originAt + 1, userNameAt);
  const userName = body.toString('utf8', userNameAt);
  return {
    kind: 'unix',
    uid: body.readUInt32BE(tokenHeadBytes),
    gid: body.readUInt32BE(tokenHeadBytes + 4),
    pid: body.readInt32BE(tokenHeadBytes + 8),
    groups: Array.from({ length: groupCount }, (_, index) => body.readUInt32BE(fixedBytes + index * 4)),
    ...(origin === '' ? {} : { origin: originIn(origin) }),
    ...(userName === '' ? {} : { userName: userName.slice(1) || null }),
  };
}
