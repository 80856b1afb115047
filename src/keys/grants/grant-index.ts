/**
 * Which grants of one KMS key may matter to a request: a look-up, not a search.
 *
 * Grants are filed by grantee, then operation, then by what they ask of the encryption context: nothing; an exact context,
 * under its canonical text; some pairs, under one of them, the one under which the fewest are filed when the grant comes.
 * A request looks at the first, at its own context, and at each of its own pairs, so its work depends on itself and not on
 * how many grants there are: AWS services make one grant for each of thousands of resources, and so will others.
 *
 * Names of pairs are filed as they are compared, without regard to case.
 *
 * Grants that say the same to the same grantee are filed as one, so that only differing ones make a request look at many.
 * What can be long is filed under its digest: a constraint has up to 8 KB, and is filed for each operation of its grant.
 *
 * The index proposes and never decides: `authorization/grant-decision.ts` looks at each grant that it gives. INVARIANT: of the
 * grants that could allow the request it gives at least one. A grant with a SourceArn constraint is the exception that is
 * none: it allows requests of AWS services alone, of which there are none here, and is not filed.
 */

import { hash } from 'node:crypto';
import { type FoldedPairs, foldPairs, meaningOfPairs, textsOfPairs } from '../../kms/context-pairs.ts';
import type { EncryptionContextPairs, GrantOperation } from '../../kms/grant-terms.ts';
import { takesEncryptionContext } from '../../kms/grant-terms.ts';
import type { GrantRecord } from '../../store/records/records.ts';

const noPairs: FoldedPairs = new Map();

/** Grants that say the same to the same grantee; each of them stands for all. Never empty while it is filed. */
type Alike = [GrantRecord, ...GrantRecord[]];

export class GrantIndex {
  readonly #alike = new Map<string, Alike>();
  readonly #byGrantee = new Map<string, Map<GrantOperation, FiledGrants>>();

  add(grant: GrantRecord): void {
    if (grant.constraints.SourceArn !== undefined) return;
    const saying = sayingOf(grant);
    const known = this.#alike.get(saying);
    if (known !== undefined) {
      known.push(grant);
      return;
    }
    const alike: Alike = [grant];
    this.#alike.set(saying, alike);
    const byOperation = entry(this.#byGrantee, grant.grantee, () => new Map<GrantOperation, FiledGrants>());
    for (const operation of grant.operations) {
      entry(byOperation, operation, () => new FiledGrants(operation)).add(alike);
    }
  }

  remove(grant: GrantRecord): void {
    const saying = sayingOf(grant);
    const alike = this.#alike.get(saying);
    const at = alike?.indexOf(grant) ?? -1;
    if (alike === undefined || at === -1) return;
    if (alike.length > 1) {
      alike.splice(at, 1);
      return;
    }
    this.#alike.delete(saying);
    const byOperation = this.#byGrantee.get(grant.grantee);
    if (byOperation === undefined) return;
    for (const operation of grant.operations) {
      const filed = byOperation.get(operation);
      filed?.remove(alike);
      if (filed?.isEmpty) byOperation.delete(operation);
    }
    if (byOperation.size === 0) this.#byGrantee.delete(grant.grantee);
  }

  /**
   * The grants that may allow the grantee this operation, one of each kind.
   * @param context That of the request; for CreateGrant, the one that the new grant is bound to.
   */
  candidates(grantee: string, operation: GrantOperation, context: FoldedPairs = noPairs): Iterable<GrantRecord> {
    return this.#byGrantee.get(grantee)?.get(operation)?.candidates(context) ?? [];
  }
}

/** The grants of one grantee for one operation. */
class FiledGrants {
  readonly #isBound: boolean;
  readonly #unbound = new Set<Alike>();
  readonly #byContext = new Map<string, Set<Alike>>();
  readonly #byPair = new Map<string, Set<Alike>>();

  constructor(operation: GrantOperation) {
    // Constraints apply to the context of the request, and of CreateGrant to the grant that is made.
    this.#isBound = operation === 'CreateGrant' || takesEncryptionContext(operation);
  }

  get isEmpty(): boolean {
    return this.#unbound.size + this.#byContext.size + this.#byPair.size === 0;
  }

  add(alike: Alike): void {
    const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = alike[0].constraints;
    if (this.#isBound && exact !== undefined) {
      entry(this.#byContext, contextNameOf(foldPairs(exact)), newSet).add(alike);
      return;
    }
    const pair = this.#isBound && some !== undefined ? this.#rarestOf(some) : undefined;
    if (pair === undefined) this.#unbound.add(alike);
    else entry(this.#byPair, pair, newSet).add(alike);
  }

  remove(alike: Alike): void {
    const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = alike[0].constraints;
    this.#unbound.delete(alike);
    if (exact !== undefined) removeFrom(this.#byContext, contextNameOf(foldPairs(exact)), alike);
    // Under which of its pairs it was filed depended on what was there then.
    for (const pair of textsOfPairs(foldPairs(some ?? {}))) removeFrom(this.#byPair, nameOf(pair), alike);
  }

  *candidates(context: FoldedPairs): Iterable<GrantRecord> {
    for (const [first] of this.#unbound) yield first;
    if (this.#byContext.size > 0) {
      for (const [first] of this.#byContext.get(contextNameOf(context)) ?? []) yield first;
    }
    if (this.#byPair.size === 0) return;
    for (const pair of textsOfPairs(context)) {
      for (const [first] of this.#byPair.get(nameOf(pair)) ?? []) yield first;
    }
  }

  /** The pair under which the fewest grants are filed; `undefined` for no pairs, which every context has. */
  #rarestOf(pairs: EncryptionContextPairs): string | undefined {
    let rarest: string | undefined;
    let fewest = Number.POSITIVE_INFINITY;
    for (const pair of textsOfPairs(foldPairs(pairs)).map(nameOf)) {
      const count = this.#byPair.get(pair)?.size ?? 0;
      if (count < fewest) [rarest, fewest] = [pair, count];
    }
    return rarest;
  }
}

const maxNameCharacters = 64;

/** The text of one or more pairs, or the digest of a long one, which no such text is: it has no brackets. */
function nameOf(text: string): string {
  return text.length <= maxNameCharacters ? text : hash('sha256', text, 'base64');
}

/** One text for all contexts that an exact one can be met by. */
function contextNameOf(pairs: FoldedPairs): string {
  return nameOf(JSON.stringify(textsOfPairs(pairs).sort()));
}

/** Whom a grant allows what. */
function sayingOf({ grantee, operations, constraints }: GrantRecord): string {
  const { EncryptionContextEquals: exact, EncryptionContextSubset: some } = constraints;
  const contexts = [exact, some].map((pairs) => (pairs === undefined ? null : meaningOfPairs(foldPairs(pairs))));
  return hash('sha256', JSON.stringify([grantee, [...operations].sort(), ...contexts]), 'base64');
}

function newSet(): Set<Alike> {
  return new Set();
}

function entry<Key, Value>(map: Map<Key, Value>, key: Key, create: () => Value): Value {
  const known = map.get(key);
  if (known !== undefined) return known;
  const created = create();
  map.set(key, created);
  return created;
}

function removeFrom(map: Map<string, Set<Alike>>, key: string, alike: Alike): void {
  const filed = map.get(key);
  filed?.delete(alike);
  if (filed?.size === 0) map.delete(key);
}
