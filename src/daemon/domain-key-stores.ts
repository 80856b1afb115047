/**
 * Which of the configured key stores are one domain: looked at when an instance opens, when one of them, or one of its members, is connected that was not there, and
 * when an operator says so (`drawbridge reconnect`). What is found is on record from then on (`keys/domain/adoption.ts`).
 */

import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import { type AdoptionParts, adoptDomainKeys, tokensOf } from '../keys/domain/adoption.ts';

export interface DomainKeyStoresParts extends Omit<AdoptionParts, 'domainId'> {
  readonly domainId: () => string;
  /** What a key store is that stands for another one, which may be away. */
  readonly attached?: (name: string) => KeyStore | undefined;
}

export class DomainKeyStores {
  readonly #parts: DomainKeyStoresParts;
  #looking = Promise.resolve();

  constructor(parts: DomainKeyStoresParts) {
    this.#parts = parts;
  }

  /** At all that are connected: what one of them has is found in it when the one that it has it from is there, too. Never rejects. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look());
    return this.#looking;
  }

  async #look(): Promise<void> {
    const { keyStores, attached = () => undefined, log } = this.#parts;
    if (keyStores.size < 2) return;
    for (const [name, keyStore] of keyStores) {
      if (keyStore.status().state !== 'connected') continue;
      try {
        const parts = { ...this.#parts, domainId: this.#parts.domainId() };
        await adoptDomainKeys(name, parts, tokensOf(attached(name) ?? keyStore));
      } catch (error) {
        const problem = { keyStore: name, err: error };
        if (error instanceof KeyStoreError)
          log.warn(problem, 'which domain keys a key store has could not be found out');
        else log.error(problem, 'which domain keys a key store has could not be put on record');
      }
    }
  }
}
