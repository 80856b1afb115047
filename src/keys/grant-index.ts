/**
 * Which grants of one KMS key may matter to a request: a look-up, not a search.
 *
 * Grants are filed by grantee, then operation, then by what they ask of the encryption context: nothing; an exact context,
 * under its canonical text; some pairs, under one of them, the one under which the fewest are filed when the grant comes.
 * A request looks at the first, at its own context, and at each of its own pairs, so its work depends on itself and not on
 * how many grants there are: AWS services make one grant for each of thousands of resources, and so will others.
 *
 * The index proposes and never decides: `authorization/grants.ts` looks at each grant that it gives. INVARIANT: it gives
 * every grant that could allow the request. A grant with a SourceArn constraint is the exception that is none: it allows
 * requests of AWS services alone, of which there are none here, and is not filed.
 */

import type { EncryptionContextPairs, GrantOperation } from '../kms/grants.ts';
import { takesEncryptionContext } from '../kms/grants.ts';
import type { GrantRecord } from '../store/metadata-store.ts';

const noPairs: EncryptionContextPairs = {};

export class GrantIndex {
  readonly #byGrantee = new Map<string, Map<GrantOperation, FiledGrants>>();

  add(grant: GrantRecord): void {
    if (grant.constraints.SourceArn !== undefined) return;
    const byOperation = entry(this.#byGrantee, grant.grantee, () => new Map<GrantOperation, FiledGrants>());
    for (const operation of grant.operations) {
      entry(byOperation, operation, () => new FiledGrants(takesEncryptionContext(operation))).add(grant);
    }
  }

  remove(grant: GrantRecord): void {
    const byOperation = this.#byGrantee.get(grant.grantee);
    if (byOperation === undefined) return;
    for (const operation of grant.operations) {
      const filed = byOperation.get(operation);
      filed?.remove(grant);
      if (filed?.isEmpty) byOperation.delete(operation);
    }
    if (byOperation.size === 0) this.#byGrantee.delete(grant.grantee);
  }

  /** The grants that may allow the grantee this operation with this encryption context. */
  candidates(
    grantee: string,
    operation: GrantOperation,
    context: EncryptionContextPairs = noPairs,
  ): Iterable<GrantRecord> {
    return this.#byGrantee.get(grantee)?.get(operation)?.candidates(context) ?? [];
  }
}

/** The grants of one grantee for one operation. */
class FiledGrants {
  readonly #isBound: boolean;
  readonly #unbound = new Set<GrantRecord>();
  readonly #byContext = new Map<string, Set<GrantRecord>>();
  readonly #byPair = new Map<string, Set<GrantRecord>>();

  /** @param isBound Do constraints on the encryption context apply to the operation? */
  constructor(isBound: boolean) {
    this.#isBound = isBound;
  }

  get isEmpty(): boolean {
    return this.#unbound.size + this.#byContext.size + this.#byPair.size === 0;
  }

  add(grant: GrantRecord): void {
    const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = grant.constraints;
    if (this.#isBound && exact !== undefined) {
      entry(this.#byContext, canonicalPairs(exact), newSet).add(grant);
      return;
    }
    const pair = this.#isBound && some !== undefined ? this.#rarestOf(some) : undefined;
    if (pair === undefined) this.#unbound.add(grant);
    else entry(this.#byPair, pair, newSet).add(grant);
  }

  remove(grant: GrantRecord): void {
    const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = grant.constraints;
    this.#unbound.delete(grant);
    if (exact !== undefined) removeFrom(this.#byContext, canonicalPairs(exact), grant);
    // Under which of its pairs it was filed depended on what was there then.
    for (const pair of pairsOf(some ?? noPairs)) removeFrom(this.#byPair, pair, grant);
  }

  *candidates(context: EncryptionContextPairs): Iterable<GrantRecord> {
    yield* this.#unbound;
    if (this.#byContext.size > 0) yield* this.#byContext.get(canonicalPairs(context)) ?? [];
    if (this.#byPair.size === 0) return;
    for (const pair of pairsOf(context)) yield* this.#byPair.get(pair) ?? [];
  }

  /** The pair under which the fewest grants are filed; `undefined` for no pairs, which every context has. */
  #rarestOf(pairs: EncryptionContextPairs): string | undefined {
    let rarest: string | undefined;
    let fewest = Number.POSITIVE_INFINITY;
    for (const pair of pairsOf(pairs)) {
      const count = this.#byPair.get(pair)?.size ?? 0;
      if (count < fewest) [rarest, fewest] = [pair, count];
    }
    return rarest;
  }
}

/** One text for one encryption context, whatever the order of its pairs. */
export function canonicalPairs(pairs: EncryptionContextPairs): string {
  return JSON.stringify(pairsOf(pairs).sort());
}

/** Each pair as one text. */
function pairsOf(pairs: EncryptionContextPairs): string[] {
  return Object.entries(pairs).map((pair) => JSON.stringify(pair));
}

function newSet(): Set<GrantRecord> {
  return new Set();
}

function entry<Key, Value>(map: Map<Key, Value>, key: Key, create: () => Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  const created = create();
  map.set(key, created);
  return created;
}

function removeFrom(map: Map<string, Set<GrantRecord>>, key: string, grant: GrantRecord): void {
  const filed = map.get(key);
  filed?.delete(grant);
  if (filed?.size === 0) map.delete(key);
}
