/**
 * Which of two key stores left the other one's domain, as the records of their domain keys tell it.
 *
 *     they have domain keys in common, the last of which was the newest of both
 *     the one that stays    got another one when the other one left
 *     the one that left     has that as its newest still, or made one of its own later
 *
 * One that took a domain key of the other one for a former one, without being in its domain, has had the next one before that.
 */

import type { BackingKeyId } from '../../kms/names.ts';
import type { DomainKeyRecord } from '../../store/records/records.ts';
import type { DomainKeys } from './domain-keys.ts';

/** Has a key store left the domain of another one, so that nothing more is for it? Where that cannot be told any more, it has. */
export function hasLeftDomainOf(domainKeys: Pick<DomainKeys, 'of'>, leaver: string, staying: string): boolean {
  const activeIn = (name: string) => domainKeys.of(name).filter(({ state }) => state === 'Active');
  const [theirs, ours] = [activeIn(leaver), activeIn(staying)];
  const since = afterLastCommon(ours, theirs);
  if (since.next === undefined) return false;
  const { next } = afterLastCommon(theirs, ours);
  // Of one that was retired the time is not on record any more.
  return next === undefined || since.isGap || next.createdAtMs > since.next.createdAtMs;
}

function afterLastCommon(
  own: readonly DomainKeyRecord[],
  others: readonly DomainKeyRecord[],
): { readonly next: DomainKeyRecord | undefined; readonly isGap: boolean } {
  const held = new Set<BackingKeyId>(others.map(({ backingKeyId }) => backingKeyId));
  const at = own.findLastIndex(({ backingKeyId }) => held.has(backingKeyId));
  const [last, next] = [own[at], own[at + 1]];
  if (last === undefined || next === undefined || next.createdAtMs < last.createdAtMs)
    return { next: undefined, isGap: false };
  return { next, isGap: next.ordinal > last.ordinal + 1 };
}
