/** The grants of one KMS key, in memory: in order for lists, by name for repeated requests, and indexed for decisions. */

import { createHash } from 'node:crypto';
import type { FoldedPairs } from '../../kms/context-pairs.ts';
import type { EncryptionContextPairs, GrantId, GrantOperation, GrantPrincipal } from '../../kms/grant-terms.ts';
import type { GrantRecord } from '../../store/records/records.ts';
import { SortedNames } from '../lists/sorted-names.ts';
import { GrantIndex } from './grant-index.ts';

/** All that makes a repeated request the same request: everything but id, version and time. */
export type GrantParameters = Omit<GrantRecord, 'grantId' | 'version' | 'createdAtMs'>;

export class KeyGrants {
  readonly ids = new SortedNames<GrantId>();
  readonly #idsByGrantee = new Map<GrantPrincipal, SortedNames<GrantId>>();
  /** Only of grants that were given a name. */
  readonly #byParameters = new Map<string, GrantRecord>();
  readonly #index = new GrantIndex();
  #constraintBytes = 0;

  /** What the constraints of all grants take, as `constraintBytesOf` counts. */
  get constraintBytes(): number {
    return this.#constraintBytes;
  }

  get count(): number {
    return this.ids.size;
  }

  /** To whom there is a grant. */
  grantees(): Iterable<GrantPrincipal> {
    return this.#idsByGrantee.keys();
  }

  idsOfGrantee(grantee: GrantPrincipal): SortedNames<GrantId> {
    return this.#idsByGrantee.get(grantee) ?? new SortedNames();
  }

  /** The grant that this very request made before, if it has a name. */
  findSame(parameters: GrantParameters): GrantRecord | undefined {
    return parameters.name === '' ? undefined : this.#byParameters.get(digestOf(parameters));
  }

  /** The grants that may allow the grantee this operation; each is still to be judged. */
  candidates(grantee: string, operation: GrantOperation, context: FoldedPairs | undefined): Iterable<GrantRecord> {
    return this.#index.candidates(grantee, operation, context);
  }

  add(grant: GrantRecord): void {
    this.ids.add(grant.grantId);
    const idsOfGrantee = this.#idsByGrantee.get(grant.grantee) ?? new SortedNames<GrantId>();
    this.#idsByGrantee.set(grant.grantee, idsOfGrantee);
    idsOfGrantee.add(grant.grantId);
    if (grant.name !== '') this.#byParameters.set(digestOf(grant), grant);
    this.#index.add(grant);
    this.#constraintBytes += constraintBytesOf(grant);
  }

  remove(grant: GrantRecord): void {
    this.ids.remove(grant.grantId);
    const idsOfGrantee = this.#idsByGrantee.get(grant.grantee);
    idsOfGrantee?.remove(grant.grantId);
    if (idsOfGrantee?.size === 0) this.#idsByGrantee.delete(grant.grantee);
    if (grant.name !== '') {
      const digest = digestOf(grant);
      if (this.#byParameters.get(digest) === grant) this.#byParameters.delete(digest);
    }
    this.#index.remove(grant);
    this.#constraintBytes -= constraintBytesOf(grant);
  }
}

/** The names and values of its pairs, as UTF-8. */
export function constraintBytesOf({ constraints }: Pick<GrantParameters, 'constraints'>): number {
  const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = constraints;
  const texts = [exact ?? {}, some ?? {}].flatMap((pairs) => Object.entries(pairs).flat());
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
}

/**
 * Two requests have the same digest exactly when they ask for the same grant; operations are a set. Names of pairs that differ in
 * case are another request, though the grant would mean the same: lists show a grant as it was asked for.
 */
function digestOf({ name, grantee, retiring, issuingAccount, operations, constraints }: GrantParameters): string {
  const { EncryptionContextEquals: exact, EncryptionContextSubset: some, SourceArn } = constraints;
  const text = JSON.stringify([
    name,
    grantee,
    retiring,
    issuingAccount,
    [...operations].sort(),
    exact === undefined ? null : canonicalPairs(exact),
    some === undefined ? null : canonicalPairs(some),
    SourceArn ?? null,
  ]);
  return createHash('sha256').update(text).digest('base64');
}

/** One text for one encryption context, whatever the order of its pairs. */
function canonicalPairs(pairs: EncryptionContextPairs): string {
  return JSON.stringify(
    Object.entries(pairs)
      .map((pair) => JSON.stringify(pair))
      .sort(),
  );
}
