/**
 * The keys of temporary credentials: two for each clock hour, which the HSM derives from a service key.
 *
 *     hour key = HMAC-SHA-256(service key, label purpose "/" hour of issue)      in the HSM
 *
 * `token` authenticates session tokens, and of `secret` their secret access keys are made. They are derived when the first
 * credentials of an hour are issued or used, and forgotten when no credentials of that hour can be good any more, whether anybody
 * asks then or not.
 */

import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { Secret } from '../secrets/secret-bytes.ts';
import { secretAccessKeyBytes, secretAccessKeyOf } from './secret-access-key.ts';

/** Computes HMAC-SHA-256 under the service key for session credentials, in the HSM. */
export type DeriveKey = (label: Buffer) => Promise<Buffer>;

/** Node.js zeroes their memory when nobody has them any more. */
export interface HourKeys {
  readonly token: KeyObject;
  readonly secret: KeyObject;
}

export const macBytes = 32;
const hourMs = 3_600_000;

export class HourKeyRing {
  readonly #deriveKey: DeriveKey;
  readonly #clock: () => number;
  readonly #labelPrefix: string;
  readonly #hoursBack: number;
  readonly #hours = new Map<number, HourKeys | Promise<HourKeys>>();
  #forgetting: NodeJS.Timeout | undefined;

  /**
   * @param labelPrefix No other ring of the same service key has it.
   * @param hoursBack So many hours before this one, credentials that are still good may have been issued.
   */
  constructor(deriveKey: DeriveKey, labelPrefix: string, hoursBack: number, clock: () => number) {
    this.#clock = clock;
    this.#deriveKey = deriveKey;
    this.#labelPrefix = labelPrefix;
    this.#hoursBack = hoursBack;
  }

  /**
   * Those of the hour in which something was issued; `undefined` where that is so long ago, or to come, that nothing of that hour
   * can be good. A promise only where the HSM has to be asked.
   */
  of(issuedAtSeconds: number, nowMs: number): HourKeys | Promise<HourKeys> | undefined {
    const hour = Math.floor((issuedAtSeconds * 1000) / hourMs);
    const thisHour = Math.floor(nowMs / hourMs);
    if (hour > thisHour || hour < thisHour - this.#hoursBack) return undefined;
    const known = this.#hours.get(hour);
    if (known !== undefined) return known;
    const derived = this.#derive(hour);
    this.#hours.set(hour, derived);
    this.#forgetBefore(thisHour - this.#hoursBack);
    return derived;
  }

  /** Of how many hours there are any. */
  get size(): number {
    return this.#hours.size;
  }

  async #derive(hour: number): Promise<HourKeys> {
    try {
      const [token, secret] = await Promise.all(
        ['token', 'secret'].map((purpose) => this.#deriveKey(Buffer.from(`${this.#labelPrefix}${purpose}/${hour}`))),
      );
      if (token?.length !== macBytes || secret?.length !== macBytes) throw new TypeError('a derived key has 32 bytes');
      const keys = { token: createSecretKey(token), secret: createSecretKey(secret) };
      token.fill(0);
      secret.fill(0);
      this.#hours.set(hour, keys);
      this.#forgetInTime();
      return keys;
    } catch (error) {
      this.#hours.delete(hour);
      throw error;
    }
  }

  /** At the end of each hour for as long as there are any. By the wall clock, as the hours are: it is looked at anew each time. */
  #forgetInTime(): void {
    if (this.#forgetting !== undefined || this.#hours.size === 0) return;
    const forget = (): void => {
      this.#forgetting = undefined;
      this.#forgetBefore(Math.floor(this.#clock() / hourMs) - this.#hoursBack);
      this.#forgetInTime();
    };
    this.#forgetting = setTimeout(forget, hourMs - (this.#clock() % hourMs)).unref();
  }

  #forgetBefore(hour: number): void {
    for (const [known, keys] of this.#hours) {
      if (known < hour && !(keys instanceof Promise)) this.#hours.delete(known);
    }
  }
}

/** A session token: its body, and the MAC that shows that it was issued here. */
export function tokenOf(keys: HourKeys, body: Buffer): string {
  return Buffer.concat([body, hmac(keys.token, body)]).toString('base64');
}

export function isAuthentic(keys: HourKeys, body: Buffer, mac: Buffer): boolean {
  return timingSafeEqual(hmac(keys.token, body), mac);
}

/** The secret access key that goes with a session token. */
export function secretOf(keys: HourKeys, body: Buffer): Secret {
  const derived = hmac(keys.secret, body);
  const secret = secretAccessKeyOf(derived.subarray(0, secretAccessKeyBytes));
  derived.fill(0);
  return secret;
}

function hmac(key: KeyObject, data: Buffer): Buffer {
  return createHmac('sha256', key).update(data).digest();
}
