/**
 * What was begun, could not be undone, and is nobody's any more: a member that may have the object was not there, or its key store was not.
 *
 * It is undone when a member serves again, and otherwise tried again from time to time; a start does what is left even then (`open-keys.ts`).
 */

import type { KeyStore } from '../../hsm/key-store.ts';
import { KeyStoreError } from '../../hsm/key-store.ts';
import { JoinedKeyStore } from '../../hsm/members/joined-key-store.ts';
import type { Logger } from '../../kms/logger.ts';
import type { BackingKeyId } from '../../kms/names.ts';
import { removed } from '../../store/records/changes.ts';
import type { BackingKeyRecord } from '../../store/records/records.ts';
import { StoreError } from '../../store/store-error.ts';
import type { Turns } from '../../store/turns.ts';
import type { DomainKeys } from './domain-keys.ts';
import { isDestroyed } from './unfinished.ts';

export interface LeftIntentsParts {
  readonly turns: Turns;
  readonly keyStores: ReadonlyMap<string, KeyStore>;
  readonly log: Logger;
}

/** Between two attempts where nobody tells that a token is back. */
const retryMs = 30_000;

export class LeftIntents {
  readonly #parts: LeftIntentsParts;
  readonly #left = new Map<BackingKeyId, BackingKeyRecord>();
  /** One attempt at a time. */
  #last: Promise<void> = Promise.resolve();
  readonly #retry: NodeJS.Timeout;
  #isClosed = false;

  constructor(parts: LeftIntentsParts) {
    this.#parts = parts;
    this.#retry = setInterval(() => {
      for (const name of new Set([...this.#left.values()].map(({ keyStore }) => keyStore))) this.#settle(name);
    }, retryMs).unref();
  }

  /** @param intent A record in state `Creating` that no one makes any more, and that no key names. */
  add(intent: BackingKeyRecord): void {
    this.#left.set(intent.backingKeyId, intent);
  }

  /** Undoes what is left in a key store whenever one of its members begins to serve, domain keys as well. */
  follow(keyStore: unknown, domainKeys: Pick<DomainKeys, 'settle'>): void {
    if (!(keyStore instanceof JoinedKeyStore)) return;
    keyStore.followAdmissions(() => this.#settle(keyStore.name, () => domainKeys.settle(keyStore.name, keyStore)));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#retry);
    await this.#last;
  }

  #settle(name: string, also: () => Promise<void> = async () => undefined): void {
    this.#last = this.#last.then(async () => {
      try {
        await this.#undo(name);
        if (!this.#isClosed) await also();
      } catch (error) {
        if (!(error instanceof KeyStoreError || error instanceof StoreError)) throw error;
        this.#parts.log.warn({ keyStore: name, err: error }, 'what was begun in a key store is not undone yet');
      }
    });
  }

  async #undo(name: string): Promise<void> {
    const { keyStores, turns, log } = this.#parts;
    const keyStore = keyStores.get(name);
    for (const intent of this.#left.values()) {
      if (this.#isClosed || keyStore === undefined) return;
      const { backingKeyId, keyId } = intent;
      if (intent.keyStore !== name || !(await isDestroyed(keyStore, backingKeyId, log))) continue;
      this.#left.delete(backingKeyId);
      const undone = { changes: [removed('backingKey', intent)], response: undefined };
      await turns.take(() => undone, { isPatient: true, isQuiet: true });
      log.info({ keyStore: name, backingKeyId, keyId }, 'undid an unfinished key creation');
    }
  }
}
