/**
 * How long calls keep a lane busy: estimates, learnt from when replies came.
 *
 * A lane carries out one call after the other, so the time between two reads of its pipe is what the calls took whose replies
 * were read; among several it is divided as they were expected. What a key does with its private half depends on the key (RSA-4096 in
 * software takes 500 times what AES takes, and as long as all of a smart card's), so these calls have an estimate for each key; all
 * others have one for each kind of call. Only successes teach: somebody could make his calls fail quickly to have them taken for quick.
 */

import type { CallName } from './calls.ts';

/** What one call is thought to take. Shared by all calls that are alike, and changes with what they took. */
export interface CallCost {
  ms: number;
}

export interface AnsweredCall {
  readonly cost: CallCost;
  /** What it was thought to take when it was sent. */
  readonly expectedMs: number;
  /** Nothing is learnt of a generation: nobody knows how much of the time it took. */
  readonly generates: boolean;
  readonly succeeded: boolean;
}

/** Calls that are as slow as the key in their first field. */
const dependOnKey: ReadonlySet<CallName> = new Set<CallName>([
  'sign',
  'decryptAsymmetric',
  'deriveSharedSecret',
  'examineImport',
  'importKey',
  'importWrappedKey',
  'wrapKey',
  'keepWrappedKey',
]);
const idBytes = 16;
/** Before anything is known: those that depend on a key go alone, so that the first one tells what it takes. */
const unknownOfKeyMs = 5;
const unknownMs = 0.02;
/** Estimates rise slowly, because a reply may have waited for this process, and fall faster. */
const riseFactor = 0.05;
const fallFactor = 0.25;
/**
 * From here on a call is dear: one that is before somebody's AES call is as much as the hundred AES calls that a lane has at once,
 * so nobody can notice that it was there. It is no multiple of what AES is thought to take: behind dear calls AES would be thought
 * to be as slow, and they would be dear no longer.
 */
const dearMs = 2;
/** Of keys. Beyond that all begin anew. */
const maxEstimates = 4096;
/** As often a call goes to the token and back at most, where that is what takes long: to begin, to look, to do it. */
const roundTripsOfCall = 3;

export class CallCosts {
  readonly #ofKind = new Map<CallName, CallCost>();
  readonly #ofKey = new Map<string, CallCost>();
  #dearMs = dearMs;

  of(name: CallName, fields: readonly Uint8Array[]): CallCost {
    if (!dependOnKey.has(name)) return this.#ofKind.get(name) ?? remember(this.#ofKind, name, unknownMs);
    // A wrapped key begins with its id, and changes what follows when it is wrapped anew.
    const key = `${name} ${Buffer.from(fields[0]?.subarray(0, idBytes) ?? []).toString('latin1')}`;
    return this.#ofKey.get(key) ?? remember(this.#ofKey, key, unknownOfKeyMs);
  }

  /** Should it have a lane to itself, away from those that take little? What takes as long whatever the key is one of those. */
  isDear(name: CallName, { ms }: CallCost): boolean {
    return ms >= this.#dearMs && dependOnKey.has(name);
  }

  /** The way to the token makes no call dear: all have it, and nothing is done on it that others could do. */
  learnRoundTrip(roundTripMs: number): void {
    this.#dearMs = dearMs + travelMs(roundTripMs);
  }
}

/** Does it take as long as the private key that it uses? */
export function dependsOnKey(name: CallName): boolean {
  return dependOnKey.has(name);
}

/** How much longer calls may take for nothing but the way to the token and back. */
export function travelMs(roundTripMs: number): number {
  return roundTripMs * roundTripsOfCall;
}

function remember<Name>(costs: Map<Name, CallCost>, name: Name, ms: number): CallCost {
  if (costs.size >= maxEstimates) costs.clear();
  const cost = { ms };
  costs.set(name, cost);
  return cost;
}

/**
 * @param took All calls that were answered together, with what they were expected to take. Nothing is learnt from what was
 * answered together with a generation.
 * @param elapsedMs In which all of them were carried out.
 */
export function learnCosts(took: readonly AnsweredCall[], elapsedMs: number): void {
  let expectedMs = 0;
  for (const each of took) {
    if (each.generates) return;
    expectedMs += each.expectedMs;
  }
  if (expectedMs === 0) return;
  const factor = elapsedMs / expectedMs;
  for (const { cost, expectedMs: share, succeeded } of took) {
    if (!succeeded) continue;
    cost.ms = learnt(cost.ms, share * factor);
  }
}

/** The estimate after another measurement. */
export function learnt(estimateMs: number, measuredMs: number): number {
  return estimateMs + (measuredMs - estimateMs) * (measuredMs > estimateMs ? riseFactor : fallFactor);
}
