/**
 * Key policies as decisions use them: compiled when they are asked, and forgotten again when memory is short.
 *
 * Compiled, a document of 32 KB takes up to a few megabytes, and whoever may CreateKey could fill the memory with them. So
 * a key holds its document as text, and the compiled forms are kept within a budget of bytes: those that were asked since the
 * last look stay, the others make room (`second chance`), and are compiled anew on use, which costs their caller a few
 * milliseconds for the longest. All keys with one document share its policy; most have the one that CreateKey gives them.
 */

import type { ApplicableStatements } from '../authorization/language/applicable-statements.ts';
import type { CompiledPolicy, WeighedPolicy } from '../authorization/language/compiled-policy.ts';
import type { CompiledStatement } from '../authorization/language/compiled-statement.ts';

/** Different documents in use at the same time are few, or as many as keys: then sharing more of them helps nobody. */
const maxShared = 128;

type Compile = (document: string) => WeighedPolicy;

export class CompiledPolicies {
  readonly #compiled: CompiledForms;
  /** The one that was asked for last is the last one. */
  readonly #shared = new Map<string, KeptPolicy>();
  #latest: KeptPolicy | undefined;

  /**
   * @param compile Depends on the document alone.
   * @param maxBytes Of all compiled forms together; the one that is in use stays, whatever it takes.
   */
  constructor(compile: Compile, maxBytes: number) {
    this.#compiled = new CompiledForms(compile, maxBytes);
  }

  /** What the compiled forms take, as far as it was looked at. */
  get bytes(): number {
    return this.#compiled.bytes;
  }

  /** Throws what `compile` throws. */
  get(document: string): KeptPolicy {
    // Most keys have one policy, so that the same one is asked for again and again.
    if (this.#latest?.document === document) {
      this.#latest.isShared = true;
      return this.#latest;
    }
    let policy = this.#shared.get(document);
    if (policy !== undefined) policy.isShared = true;
    else {
      policy = new KeptPolicy(document, this.#compiled);
      // A document that cannot be compiled is found now, and not when somebody is refused for it.
      this.#compiled.of(policy);
    }
    this.#shared.delete(document);
    this.#shared.set(document, policy);
    if (this.#shared.size > maxShared) {
      for (const oldest of this.#shared.keys()) {
        this.#shared.delete(oldest);
        break;
      }
    }
    this.#latest = policy;
    return policy;
  }

  /** A key that has this one is in memory no more. Where it was the only one, whoever asks for the policy again has it compiled again. */
  left(policy: CompiledPolicy | undefined): void {
    if (policy instanceof KeptPolicy && !policy.isShared) this.#compiled.drop(policy);
  }
}

/** A key policy, whose document is there and its compiled form perhaps. */
export class KeptPolicy implements CompiledPolicy {
  readonly document: string;
  readonly #compiled: CompiledForms;
  /** Of `CompiledForms` alone. */
  form: CompiledForm | undefined;
  /** Have several keys got it? */
  isShared = false;

  constructor(document: string, compiled: CompiledForms) {
    this.document = document;
    this.#compiled = compiled;
  }

  get statements(): readonly CompiledStatement[] {
    return this.#compiled.of(this).statements;
  }

  applicableTo(action: string, resource: string): ApplicableStatements {
    return this.#compiled.of(this).applicableTo(action, resource);
  }
}

interface CompiledForm {
  readonly policy: WeighedPolicy;
  readonly of: KeptPolicy;
  /** When it was looked at last. */
  bytes: number;
  wasAsked: boolean;
}

class CompiledForms {
  readonly #compile: Compile;
  readonly #maxBytes: number;
  /** In the order in which they are to be looked at. */
  readonly #forms = new Set<CompiledForm>();
  #bytes = 0;

  constructor(compile: Compile, maxBytes: number) {
    this.#compile = compile;
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  of(kept: KeptPolicy): WeighedPolicy {
    const known = kept.form;
    if (known === undefined) return this.#add(kept);
    known.wasAsked = true;
    // It grows with what it was asked.
    if (known.policy.bytes !== known.bytes) this.#weigh(known);
    return known.policy;
  }

  drop(kept: KeptPolicy): void {
    const { form } = kept;
    if (form === undefined) return;
    this.#forms.delete(form);
    this.#bytes -= form.bytes;
    kept.form = undefined;
  }

  #add(kept: KeptPolicy): WeighedPolicy {
    const form: CompiledForm = { policy: this.#compile(kept.document), of: kept, bytes: 0, wasAsked: true };
    kept.form = form;
    this.#forms.add(form);
    this.#weigh(form);
    return form.policy;
  }

  #weigh(form: CompiledForm): void {
    const { bytes } = form.policy;
    this.#bytes += bytes - form.bytes;
    form.bytes = bytes;
    if (this.#bytes > this.#maxBytes) this.#makeRoom(form);
  }

  /** Whoever was asked since the last look goes to the end, once; the others go. */
  #makeRoom(inUse: CompiledForm): void {
    for (const form of this.#forms) {
      if (this.#bytes <= this.#maxBytes || this.#forms.size === 1) return;
      this.#forms.delete(form);
      if (form === inUse || form.wasAsked) {
        form.wasAsked = false;
        // At the end, where this very loop comes by again.
        this.#forms.add(form);
        continue;
      }
      form.of.form = undefined;
      this.#bytes -= form.bytes;
    }
  }
}
