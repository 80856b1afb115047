/**
 * Session tokens, from their issue to the proof that they were issued here: what all kinds of temporary credentials have in common.
 *
 *     token  = base64(body ‖ HMAC-SHA-256(hour key "token", body))
 *     secret = base64 of the first 30 bytes of HMAC-SHA-256(hour key "secret", body)
 *     body   = u8 version · u32 issue · u32 expiry (both in epoch seconds) · 10 random bytes, of which the access key id is made · …
 *
 * What stands behind that, and whom it stands for now, is each kind's own. Tokens that verified are remembered for a while; each use
 * of one still asks whether its time has passed.
 */

import { randomBytes } from 'node:crypto';
import { KmsError } from '../kms/errors.ts';
import { RecentEntries } from '../kms/recent-entries.ts';
import { accessKeyIdBytes, temporaryAccessKeyId } from './access-key-id.ts';
import { type DeriveKey, HourKeyRing, type HourKeys, isAuthentic, macBytes, secretOf, tokenOf } from './hour-keys.ts';
import { ScopedKeys } from './scoped-keys.ts';
import type { SigningKey } from './signing-key.ts';

/** Of a body: what all kinds begin with. */
export const tokenHeadBytes = 1 + 4 + 4 + accessKeyIdBytes;

export interface IssuedCredentials {
  readonly accessKeyId: string;
  /** A string, because it is about to be sent as one. */
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  readonly expiresAtMs: number;
}

/** What a token says before its MAC is looked at. */
export interface DecodedToken {
  readonly accessKeyId: string;
  readonly body: Buffer;
  readonly mac: Buffer;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/** A token whose MAC has verified. */
export interface ProvenToken<Said> {
  readonly token: DecodedToken;
  /** What the rest of its body says. */
  readonly said: Said;
  readonly keys: ScopedKeys;
  /** For whom it stands, as long as nothing has changed about that. */
  found: { readonly key: SigningKey; readonly standing: number } | undefined;
}

export interface TokenKind<Said> {
  /** The first byte of a body. */
  readonly version: number;
  /** Of a body with its MAC. */
  readonly maxBytes: number;
  /** So much of a body there is in any case. */
  readonly minBodyBytes: number;
  /** As `HourKeyRing` has it. */
  readonly labelPrefix: string;
  readonly hoursBack: number;
  readonly remembered: number;
  /** Of a body whose MAC has verified. */
  readonly read: (body: Buffer) => Said;
}

export class ProvenTokens<Said> {
  readonly #kind: TokenKind<Said>;
  readonly #clock: () => number;
  readonly #hourKeys: HourKeyRing;
  /** By the token as it is sent. */
  readonly #proven: RecentEntries<ProvenToken<Said>>;

  constructor(kind: TokenKind<Said>, { deriveKey, clock }: { deriveKey: DeriveKey; clock: () => number }) {
    this.#kind = kind;
    this.#clock = clock;
    this.#hourKeys = new HourKeyRing(deriveKey, kind.labelPrefix, kind.hoursBack, clock);
    this.#proven = new RecentEntries(kind.remembered);
  }

  /** @param rest Of the body, after what all kinds begin with. */
  async issue(lifetimeSeconds: number, rest: Buffer): Promise<IssuedCredentials> {
    const nowMs = this.#clock();
    const issuedAt = Math.floor(nowMs / 1000);
    const expiresAt = issuedAt + lifetimeSeconds;
    const head = Buffer.alloc(tokenHeadBytes);
    let at = head.writeUInt8(this.#kind.version);
    at = head.writeUInt32BE(issuedAt, at);
    at = head.writeUInt32BE(expiresAt, at);
    randomBytes(accessKeyIdBytes).copy(head, at);
    const body = Buffer.concat([head, rest]);
    const keys = await this.#hourKeys.of(issuedAt, nowMs);
    if (keys === undefined) throw new TypeError('there are keys of this hour');
    using secret = secretOf(keys, body);
    return {
      accessKeyId: temporaryAccessKeyId(head.subarray(at)),
      secretAccessKey: secret.reveal().toString('latin1'),
      sessionToken: tokenOf(keys, body),
      expiresAtMs: expiresAt * 1000,
    };
  }

  /**
   * `undefined` where they were not issued here, or not together. A promise only where the HSM has to be asked.
   * @throws KmsError `ExpiredTokenException`
   */
  find(
    accessKeyId: string,
    sessionToken: string,
  ): ProvenToken<Said> | undefined | Promise<ProvenToken<Said> | undefined> {
    const proven = this.#proven.get(sessionToken);
    const token = proven?.token ?? this.#decode(sessionToken);
    if (token === undefined || token.accessKeyId !== accessKeyId) return undefined;
    const nowMs = this.#clock();
    // Before the MAC, whose key may be gone by now: that a time has passed is no secret.
    if (token.expiresAt * 1000 <= nowMs) throw expiredToken();
    if (proven !== undefined) return proven;
    const keys = this.#hourKeys.of(token.issuedAt, nowMs);
    if (keys === undefined) return undefined;
    return keys instanceof Promise
      ? keys.then((found) => this.#prove(sessionToken, token, found))
      : this.#prove(sessionToken, token, keys);
  }

  #prove(sessionToken: string, token: DecodedToken, keys: HourKeys): ProvenToken<Said> | undefined {
    if (!isAuthentic(keys, token.body, token.mac)) return undefined;
    const derived = new ScopedKeys((derive) => {
      using secret = secretOf(keys, token.body);
      return derive(secret);
    });
    const proven = { token, said: this.#kind.read(token.body), keys: derived, found: undefined };
    this.#proven.set(sessionToken, proven);
    return proven;
  }

  /** Reads what does not take the MAC; believes nothing. A token has one spelling: what decodes to the same bytes otherwise is none. */
  #decode(text: string): DecodedToken | undefined {
    const { version, maxBytes, minBodyBytes } = this.#kind;
    if (text.length > Math.ceil(maxBytes / 3) * 4) return undefined;
    // Memory of its own: a proven one is kept.
    const bytes = Buffer.alloc(Buffer.byteLength(text, 'base64'));
    bytes.write(text, 'base64');
    if (bytes.length < minBodyBytes + macBytes || bytes.toString('base64') !== text) return undefined;
    const body = bytes.subarray(0, -macBytes);
    if (body.readUInt8(0) !== version) return undefined;
    return {
      body,
      mac: bytes.subarray(-macBytes),
      issuedAt: body.readUInt32BE(1),
      expiresAt: body.readUInt32BE(5),
      accessKeyId: temporaryAccessKeyId(body.subarray(9, tokenHeadBytes)),
    };
  }
}

export function expiredToken(): KmsError {
  return new KmsError('ExpiredTokenException', 'The security token included in the request is expired');
}
