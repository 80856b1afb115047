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

import { randomBytes } from 'node:crypto';
import { rememberedTokens } from '../kms/budgets.ts';
import { KmsError } from '../kms/errors.ts';
import { RecentEntries } from '../kms/recent-entries.ts';
import { accessKeyIdBytes, temporaryAccessKeyId } from './access-key-id.ts';
import type { Caller, PeerOrigin, UnixPeer } from './caller.ts';
import { type DeriveKey, HourKeyRing, type HourKeys, isAuthentic, macBytes, secretOf, tokenOf } from './hour-keys.ts';
import { ScopedKeys } from './scoped-keys.ts';
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

export interface IssuedCredentials {
  readonly accessKeyId: string;
  /** A string, because it is about to be sent as one. */
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiresAtMs: number;
}

/** A token whose MAC has verified. */
interface ProvenToken {
  readonly token: DecodedToken;
  readonly keys: ScopedKeys;
  /** For whom it stands, as long as nothing has changed about that. */
  found: { readonly key: SigningKey; readonly standing: number } | undefined;
}

/** The first byte of a token says what it is of: these, or a session of a role (`role-sessions.ts`). */
const version = 4;
const fixedBytes = 1 + 4 + 4 + accessKeyIdBytes + 4 + 4 + 4 + 2;
const maxOriginBytes = 80;
const maxUserNameBytes = 256;
/** A header with this many is 3 KB long, of the 16 KB that all headers may have. */
export const maxGroups = 512;
const maxTokenBytes = fixedBytes + maxGroups * 4 + 1 + maxOriginBytes + 1 + maxUserNameBytes + macBytes;
const labelPrefix = 'drawbridge/session-credentials/1/';

export class SessionCredentials {
  readonly #options: SessionCredentialsOptions;
  readonly #hourKeys: HourKeyRing;
  /** By the token as it is sent. */
  readonly #proven = new RecentEntries<ProvenToken>(rememberedTokens);

  constructor(options: SessionCredentialsOptions) {
    this.#options = options;
    this.#hourKeys = new HourKeyRing(options.deriveKey, labelPrefix, 1);
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
    const nowMs = this.#options.clock();
    const issuedAt = Math.floor(nowMs / 1000);
    const expiresAt = issuedAt + lifetimeSeconds;
    const body = encodeBody({ issuedAt, expiresAt, id: randomBytes(accessKeyIdBytes), peer });
    const keys = await this.#hourKeys.of(issuedAt, nowMs);
    if (keys === undefined) throw new TypeError('there are keys of this hour');
    using secret = secretOf(keys, body);
    return {
      accessKeyId: temporaryAccessKeyId(body.subarray(9, 9 + accessKeyIdBytes)),
      secretAccessKey: secret.reveal().toString('latin1'),
      sessionToken: tokenOf(keys, body),
      expiresAtMs: expiresAt * 1000,
    };
  }

  /**
   * What a request with this access key id and session token must be signed with; `undefined` when they were not issued
   * here or not together.
   * @throws KmsError `ExpiredTokenException`
   */
  find(accessKeyId: string, sessionToken: string): SigningKey | undefined | Promise<SigningKey | undefined> {
    const proven = this.#proven.get(sessionToken);
    const token = proven?.token ?? decodeToken(sessionToken);
    if (token === undefined || token.accessKeyId !== accessKeyId) return undefined;
    const nowMs = this.#options.clock();
    // Before the MAC, whose key may be gone by now: that a time has passed is no secret.
    if (token.expiresAt * 1000 <= nowMs) {
      throw new KmsError('ExpiredTokenException', 'The security token included in the request is expired');
    }
    if (proven !== undefined) return this.#keyOf(proven);
    const keys = this.#hourKeys.of(token.issuedAt, nowMs);
    if (keys === undefined) return undefined;
    return keys instanceof Promise
      ? keys.then((found) => this.#prove(sessionToken, token, found))
      : this.#prove(sessionToken, token, keys);
  }

  #prove(
    sessionToken: string,
    token: DecodedToken,
    keys: HourKeys,
  ): SigningKey | undefined | Promise<SigningKey | undefined> {
    if (!isAuthentic(keys, token.body, token.mac)) return undefined;
    const derived = new ScopedKeys((derive) => {
      using secret = secretOf(keys, token.body);
      return derive(secret);
    });
    const proven = { token, keys: derived, found: undefined };
    this.#proven.set(sessionToken, proven);
    return this.#keyOf(proven);
  }

  #keyOf(proven: ProvenToken): SigningKey | undefined | Promise<SigningKey | undefined> {
    const { standing: standingOf, callerOf } = this.#options;
    // Before it is asked: what changes meanwhile is asked again.
    const standing = standingOf();
    if (proven.found?.standing === standing) return proven.found.key;
    const { token, keys } = proven;
    const learn = ({ proof, ...caller }: Caller): SigningKey => {
      // With the groups that count by now.
      const issuedTo = { ...(proof.kind === 'unix' ? proof : token.peer), issuedAtMs: token.issuedAt * 1000 };
      const key = { keys, caller, issuedTo };
      proven.found = { key, standing };
      return key;
    };
    try {
      const caller = callerOf(token.peer);
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

interface TokenBody {
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly id: Buffer;
  readonly peer: UnixPeer;
}

interface DecodedToken extends TokenBody {
  readonly accessKeyId: string;
  readonly body: Buffer;
  readonly mac: Buffer;
}

function encodeBody({ issuedAt, expiresAt, id, peer }: TokenBody): Buffer {
  const origin = Buffer.from(originText(peer.origin), 'latin1');
  const userName = Buffer.from(peer.userName === undefined ? '' : `=${peer.userName ?? ''}`);
  const body = Buffer.alloc(fixedBytes + peer.groups.length * 4 + 1 + origin.length + userName.length);
  let at = body.writeUInt8(version);
  at = body.writeUInt32BE(issuedAt, at);
  at = body.writeUInt32BE(expiresAt, at);
  at += id.copy(body, at);
  at = body.writeUInt32BE(peer.uid, at);
  at = body.writeUInt32BE(peer.gid, at);
  at = body.writeInt32BE(peer.pid, at);
  at = body.writeUInt16BE(peer.groups.length, at);
  for (const group of peer.groups) at = body.writeUInt32BE(group, at);
  at = body.writeUInt8(origin.length, at);
  at += origin.copy(body, at);
  userName.copy(body, at);
  return body;
}

const containerPrefix = 'container ';

function originText(origin: PeerOrigin | undefined): string {
  return typeof origin === 'object' ? `${containerPrefix}${origin.container}` : (origin ?? '');
}

function originIn(text: string): PeerOrigin {
  return text === 'machine' ? text : { container: text.slice(containerPrefix.length) };
}

/** Reads it; believes nothing. A token has one spelling: what decodes to the same bytes otherwise is none. */
function decodeToken(text: string): DecodedToken | undefined {
  if (text.length > Math.ceil(maxTokenBytes / 3) * 4) return undefined;
  // Memory of its own: a proven one is kept.
  const bytes = Buffer.alloc(Buffer.byteLength(text, 'base64'));
  bytes.write(text, 'base64');
  if (bytes.length < fixedBytes + 1 + macBytes || bytes.toString('base64') !== text) return undefined;
  const body = bytes.subarray(0, -macBytes);
  const groupCount = body.readUInt16BE(fixedBytes - 2);
  const originAt = fixedBytes + groupCount * 4;
  if (body.readUInt8(0) !== version || body.length <= originAt) return undefined;
  const userNameAt = originAt + 1 + body.readUInt8(originAt);
  if (body.length < userNameAt) return undefined;
  const origin = body.toString('latin1', originAt + 1, userNameAt);
  const userName = body.toString('utf8', userNameAt);
  const peerAt = 9 + accessKeyIdBytes;
  const id = body.subarray(9, peerAt);
  return {
    accessKeyId: temporaryAccessKeyId(id),
    body,
    mac: bytes.subarray(-macBytes),
    issuedAt: body.readUInt32BE(1),
    expiresAt: body.readUInt32BE(5),
    id,
    peer: {
      kind: 'unix',
      uid: body.readUInt32BE(peerAt),
      gid: body.readUInt32BE(peerAt + 4),
      pid: body.readInt32BE(peerAt + 8),
      groups: Array.from({ length: groupCount }, (_, index) => body.readUInt32BE(fixedBytes + index * 4)),
      ...(origin === '' ? {} : { origin: originIn(origin) }),
      ...(userName === '' ? {} : { userName: userName.slice(1) || null }),
    },
  };
}
