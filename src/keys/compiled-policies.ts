/**
 * Compiled key policies, one for all keys that have the same document: most have the one that CreateKey gives them, and
 * compiled it takes a few kilobytes and more time than the rest of the key.
 *
 * It remembers those that were asked for last, no more; a key holds its own, whatever is remembered here.
 */

import type { CompiledPolicy } from '../authorization/language/compiled-policy.ts';

/** Different documents in use at the same time are few, or as many as keys: then remembering more of them helps nobody. */
const maxRemembered = 128;

export class CompiledPolicies {
  readonly #compile: (document: string) => CompiledPolicy;
  /** The one asked for last is the last one. */
  readonly #remembered = new Map<string, CompiledPolicy>();

  /** @param compile Depends on the document alone. */
  constructor(compile: (document: string) => CompiledPolicy) {
    this.#compile = compile;
  }

  /** Throws what `compile` throws. */
  get(document: string): CompiledPolicy {
    const policy = this.#remembered.get(document) ?? this.#compile(document);
    this.#remembered.delete(document);
    this.#remembered.set(document, policy);
    if (this.#remembered.size > maxRemembered) {
      for (const oldest of this.#remembered.keys()) {
        this.#remembered.delete(oldest);
        break;
      }
    }
    return policy;
  }
}
