/**
 * Is a member of a key store one of ours, or the token of a key store that has one? Told by what it holds and computes, and not by its label or serial number: a group of HSMs may
 * answer with a serial of whichever node it is, and a token that was initialised anew has the label and the PIN that it had.
 *
 * In the key store of the service keys a member has to have the service key of the records. Elsewhere it has to have one of the keys that
 * the records name, or the service key; where there is none yet, any token may be. As soon as the records were verified, the
 * service key that a member holds also has to compute what it computed for the records: an id and a label can be given to any key. What
 * has left holds that service key still: `left-members.ts` tells it from those that stayed.
 */

import { randomBytes, timingSafeEqual } from 'node:crypto';
import { ConfigurationError } from '../config/load.ts';
import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import { LeftError } from '../hsm/members/left-error.ts';
import type { TokenConnection } from '../hsm/token-connection.ts';
import type { KeyView } from '../keys/key-view.ts';
import { assertServiceKey } from '../keys/life/service-keys.ts';
import { materialsOfRegions } from '../keys/regions-of-material.ts';
import type { Logger } from '../kms/logger.ts';
import type { BackingKeyId } from '../kms/names.ts';
import { assertHasNotLeft, holds, type LeaveRecords, type MemberPlace } from './left-members.ts';
import { keysLookedFor } from './own-token.ts';

export interface MemberProofsOptions {
  readonly serviceKeyStore: string;
  /** That of the records; `undefined` before there are any. */
  readonly serviceKey: () => BackingKeyId | undefined;
  readonly log: Logger;
}

/** The records, once they are verified. */
export interface ProofRecords extends LeaveRecords {
  readonly regions: readonly { readonly directory: Pick<KeyView, 'onRecord'> }[];
}

const algorithm = 'HMAC_SHA_256';
const challengeBytes = 32;

export class MemberProofs {
  readonly #options: MemberProofsOptions;
  #records: ProofRecords | undefined;
  #leaves: LeaveRecords | undefined;
  #challenge: { readonly message: Buffer; readonly mac: Buffer } | undefined;

  constructor(options: MemberProofsOptions) {
    this.#options = options;
  }

  /**
   * Before anything is done by what the records say: from now on what has left serves nothing.
   * @throws KeyStoreError `unavailable` when nobody else is there.
   */
  async exclude(leaves: LeaveRecords, open: Iterable<KeyStore>): Promise<void> {
    this.#leaves = leaves;
    for (const keyStore of open) {
      if (!(keyStore instanceof JoinedKeyStore)) {
        // A key store that had several members once may be left with the one that is none any more.
        await assertHasNotLeft({ keyStore: keyStore.name, name: keyStore.name, member: keyStore }, leaves).catch(
          (error: unknown) => {
            throw error instanceof LeftError ? onlyLeft(keyStore.name, [keyStore], error) : error;
          },
        );
        continue;
      }
      await Promise.all(keyStore.members.map((member) => member.reexamine()));
      const serving = keyStore.members.some(({ isServing }) => isServing);
      const left = keyStore.members.filter(({ hasLeft }) => hasLeft);
      if (!serving && left.length > 0) throw onlyLeft(keyStore.name, left);
    }
  }

  /**
   * From now on more is asked, and of the members that serve by now first.
   * @param serviceKeyStore Under whose service key the records were found to be ours.
   */
  async use(records: ProofRecords, serviceKeyStore: Pick<KeyStore, 'macs'>, open: readonly KeyStore[]): Promise<void> {
    const joined = open.filter((keyStore) => keyStore instanceof JoinedKeyStore);
    this.#records = records;
    this.#leaves = records;
    const backingKeyId = this.#options.serviceKey();
    if (backingKeyId === undefined) return;
    const message = randomBytes(challengeBytes);
    try {
      const [mac] = await serviceKeyStore.macs({ backingKeyId, algorithm, messages: [message] });
      if (mac !== undefined) this.#challenge = { message, mac };
    } catch (error) {
      if (!(error instanceof KeyStoreError)) throw error;
      this.#options.log.warn({ err: error }, 'members of key stores are proven by the ids of their keys alone');
    }
    await Promise.all(joined.flatMap(({ members }) => members.map((member) => member.reexamine())));
  }

  #objectsIn(keyStore: string): readonly BackingKeyId[] {
    const { regions, domainKeys } = this.#records ?? { regions: [] };
    const found = (domainKeys?.of(keyStore) ?? []).flatMap(({ state, backingKeyId }) =>
      state === 'Active' ? [backingKeyId] : [],
    );
    const directories = regions.map(({ directory }) => directory);
    for (const { state, residency, backingKeyId } of materialsOfRegions(directories, keyStore)) {
      if (found.length >= keysLookedFor) break;
      if (state === 'Active' && residency !== 'wrapped') found.push(backingKeyId);
    }
    return found.slice(0, keysLookedFor);
  }

  /**
   * @param member One connection to it.
   * @throws ConfigurationError when it is none of ours, with what that means and what to do; LeftError when it was; KeyStoreError when it
   * does not tell.
   */
  async prove(keyStore: string, name: string, member: TokenConnection): Promise<void> {
    await this.#proveOurs(keyStore, name, member);
    if (this.#leaves !== undefined) await assertHasNotLeft({ keyStore, name, member }, this.#leaves);
  }

  /**
   * The only token of a key store, over a connection that is made anew: another one may be in its place, in which keys would be made that nobody
   * finds again. At the start, before the records are verified, other questions are asked (`own-token.ts`).
   * @throws as `prove`.
   */
  async proveOnly(keyStore: string, token: TokenConnection): Promise<void> {
    if (this.#records !== undefined) await this.prove(keyStore, keyStore, token);
  }

  /**
   * A token that is connected later than at the start, which nobody has looked at yet. One of several members was asked over each connection.
   * @throws ConfigurationError when it has left; KeyStoreError when it does not tell.
   */
  async assertStays(keyStore: string, opened: KeyStore): Promise<void> {
    if (opened instanceof JoinedKeyStore || this.#leaves === undefined) return;
    await assertHasNotLeft({ keyStore, name: keyStore, member: opened }, this.#leaves).catch((error: unknown) => {
      throw error instanceof LeftError ? new ConfigurationError(error.message) : error;
    });
  }

  async #proveOurs(keyStore: string, name: string, member: TokenConnection): Promise<void> {
    const serviceKey = this.#options.serviceKey();
    if (serviceKey === undefined) return;
    if (await holds(member, serviceKey)) {
      await this.#proveServiceKey({ keyStore, name, member }, serviceKey);
      return;
    }
    if (keyStore === this.#options.serviceKeyStore)
      throw new ConfigurationError(notOurs({ keyStore, name, member }, 'does not hold the service key of the records'));
    const named = this.#objectsIn(keyStore);
    for (const backingKeyId of named) if (await holds(member, backingKeyId)) return;
    if (named.length > 0)
      throw new ConfigurationError(notOurs({ keyStore, name, member }, 'has none of the keys that the records name'));
  }

  async #proveServiceKey(place: MemberPlace, backingKeyId: BackingKeyId): Promise<void> {
    const { member } = place;
    try {
      await assertServiceKey(member, 'metadata-integrity', backingKeyId);
    } catch (error) {
      if (!(error instanceof KeyStoreError && error.failure === 'keyUnavailable')) throw error;
      throw new ConfigurationError(
        notOurs(place, `has another object in the place of the service key: ${error.message}`),
      );
    }
    if (this.#challenge === undefined) return;
    const { message, mac } = this.#challenge;
    const [theirs] = await member.macs({ backingKeyId, algorithm, messages: [message] });
    if (theirs?.length === mac.length && timingSafeEqual(theirs, mac)) return;
    throw new ConfigurationError(notOurs(place, 'holds another key under the id of the service key'));
  }
}

function onlyLeft(
  keyStore: string,
  left: readonly { readonly name: string }[],
  cause?: LeftError | undefined,
): KeyStoreError {
  const names = left.map(({ name }) => `\`${name}\``).join(', ');
  return new KeyStoreError(
    'unavailable',
    `key store \`${keyStore}\`: nobody is there but ${names}, which left the domain: nothing is served by what has left. Bring another member back ` +
      `(\`drawbridge status\` tells what is wrong with it)${cause === undefined ? '' : `; ${cause.message}`}`,
    { cause },
  );
}

function notOurs({ keyStore, name, member }: MemberPlace, found: string): string {
  const { label, serial } = member.capabilities().token;
  const what = `the token \`${label}\`, serial ${serial}, ${found}: it is another one, or was initialised anew and its keys are gone; nothing is done with it`;
  // It has no name of its own, and is tried again by itself.
  if (name === keyStore) return `${what}. Put the right one back, or restore it from its backup`;
  return (
    `${what}. Put the right one back, restore it from its backup, or have it join (\`drawbridge domain invite --help\`); then run ` +
    `\`drawbridge reconnect ${keyStore} ${name}\``
  );
}
