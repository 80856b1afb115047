/** What an operator does with the members of a key store: gives all of them a new domain key, or has one leave. */

import type { KeyStore } from '../hsm/key-store.ts';
import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { DomainControl, LeftOne } from '../http/domain-routes.ts';
import type { KeyView } from '../keys/key-view.ts';
import { giveUpDomainKeys } from '../keys/life/retired-domain-keys.ts';
import { KmsError } from '../kms/errors.ts';
import type { DomainKeyUses } from './domain-key-uses.ts';
import { type DomainKeysParts, keysOfMembers } from './domain-members.ts';
import { DomainRotations } from './domain-rotation.ts';
import { DomainWideRotation, endPairsIn } from './domain-wide-rotation.ts';
import { emptyMember } from './emptied-member.ts';
import { assertNoneDamaged, assertSharesNothing, verifyAll } from './leaving-key-store.ts';
import { assertNothingIsLost } from './leaving-member.ts';
import { memberNamed } from './rotation-choices.ts';

export interface DomainRotationParts extends DomainKeysParts {
  readonly regions: readonly { readonly directory: KeyView }[];
  /** @throws KmsError when there is none of this name. */
  readonly keyStoreOf: (name: string) => KeyStore;
  /** What stands behind one that may be away. */
  readonly attached: (name: string) => KeyStore | undefined;
  readonly domainId: () => string;
  readonly uses: Pick<DomainKeyUses, 'count'>;
}

type Rotating = Pick<DomainControl, 'beginRotation' | 'finishRotation'>;

export function domainRotationControl(parts: DomainRotationParts): Rotating {
  const { regions, keyStoreOf, attached, domainKeys, members, domainId } = parts;
  const rotations = new DomainRotations({
    domainKeys,
    members,
    domainId,
    assertNothingIsLost: (keyStore, choices) => assertNothingIsLost(regions, keyStore, choices),
  });
  const wide = new DomainWideRotation({
    domainKeys,
    members,
    domainId,
    assertNothingIsLost: (keyStore, choices) => assertNothingIsLost(regions, keyStore, choices),
    keyStoreOf: (name) => {
      const keyStore = keyStoreOf(name);
      return attached(name) ?? keyStore;
    },
  });
  /** One that has, or had, the domain keys of this one. */
  const isOtherKeyStore = (name: string, leaver: string): boolean => {
    const keyStore = keyStoreOf(name);
    const isMember = keyStore instanceof JoinedKeyStore && keyStore.members.some((each) => each.name === leaver);
    const theirs = new Set(domainKeys.of(leaver).map(({ backingKeyId }) => backingKeyId));
    return !isMember && leaver !== name && domainKeys.of(name).some(({ backingKeyId }) => theirs.has(backingKeyId));
  };
  /** What of the domain is not needed in it any more; if it is there. */
  const empty = async (leaver: string) => {
    const keyStore = keyStoreOf(leaver);
    if (keyStore.status().state !== 'connected') return { member: leaver, isEmpty: false };
    await verifyAll(regions);
    // One that joined before key stores asked for no service keys has them.
    const foreign = leaver === parts.serviceKeyStore ? [] : parts.serviceKeys;
    for (const { backingKeyId } of foreign) await keyStore.destroyKey({ backingKeyId });
    await endPairsIn(keyStore);
    using counted = await parts.uses.count();
    const inUse = await giveUpDomainKeys(domainKeys, leaver, keyStore, () => counted.usedIn(leaver));
    return { member: leaver, isEmpty: inUse === 0, inUse };
  };
  /** Members of all key stores of the domain that have left, each told as it is to whoever begins. */
  const goneElsewhere = (name: string): readonly string[] =>
    domainKeys.domainOf(name).flatMap((each) => {
      const keyStore = attached(each) ?? keyStoreOf(each);
      if (!(keyStore instanceof JoinedKeyStore)) return [];
      const gone = keyStore.members.filter((member) => keyStore.isGone(member));
      return gone.map((member) => (each === name ? member.name : `${each}/${member.name}`));
    });
  const joined = (name: string): JoinedKeyStore => {
    const keyStore = attached(name) ?? keyStoreOf(name);
    if (keyStore instanceof JoinedKeyStore && keyStore.members.length > 1) return keyStore;
    throw new KmsError('ValidationException', `The key store ${name} has one token, and no members.`);
  };
  /** They may have come back meanwhile, with keys that were thought to be lost: what was accepted was said of what is not there. */
  const assertNothingReturned = (keyStore: JoinedKeyStore, leavers: readonly string[]): void => {
    const returned = leavers.filter((leaver) => memberNamed(keyStore, leaver).hasLeft);
    assertNothingIsLost(regions, keyStore, { leavers: returned });
  };
  /** Members that have left, each if it is there. */
  const emptyMembers = async (name: string, leavers: readonly string[]) => {
    const all: LeftOne[] = [];
    for (const leaver of leavers) {
      const marks = parts.members.of(name).filter((record) => record.name === leaver);
      const ids = [...marks.map(({ backingKeyId }) => backingKeyId), ...keysOfMembers(name, parts)];
      const became = await emptyMember(memberNamed(joined(name), leaver), ids, domainKeys.newestOf(name));
      const held = became === 'noneOfOurs' ? { heldNothing: true as const } : {};
      all.push({ member: leaver, isEmpty: became === 'emptied', ...held });
    }
    return all;
  };
  // One after the other, over all key stores: what one of them has begun another one gives up, and neither may be half done then.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <Result>(work: () => Promise<Result>): Promise<Result> => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
  const control: Rotating = {
    async beginRotation(name, choices) {
      const { member: chosen, leavers = [] } = choices;
      const leaver = leavers.find((each) => isOtherKeyStore(name, each));
      if (leavers.length > 0) await verifyAll(regions);
      if (leaver !== undefined) {
        if (leavers.length > 1)
          throw new KmsError(
            'ValidationException',
            `\`${leaver}\` is a key store, and leaves by a command of its own.`,
          );
        const isAway = keyStoreOf(leaver).status().state !== 'connected';
        if (!(choices.isLossAccepted && isAway)) {
          assertNoneDamaged(regions);
          using counted = await parts.uses.count();
          assertSharesNothing(counted, leaver);
        }
      }
      const isEmptied = leaver === undefined && leavers.length > 0 && rotations.haveLeft(joined(name), leavers);
      if (leaver !== undefined || (wide.isNeeded(name) && !isEmptied)) {
        const members = leaver === undefined ? { ...choices, leavers } : {};
        const begun = await wide.begin(name, { ...members, member: chosen, leaver });
        return { ...begun, empties: false, gone: goneElsewhere(name) };
      }
      const { domainKeyId, member, pairs, empties, gone } = await rotations.begin(joined(name), choices);
      const shown = pairs.map((pair) => ({ ...pair, publicKey: pair.publicKey.toString('base64') }));
      return { domainKeyId, member, pairs: shown, empties, gone };
    },
    async finishRotation(name, domainKeyId) {
      if (!rotations.isBegun(name, domainKeyId) && (wide.isPending(domainKeyId) || wide.isNeeded(name))) {
        const { members: had, leaver, leavers = [] } = await wide.finish(name, domainKeyId);
        if (leavers.length > 0) assertNothingReturned(joined(name), leavers);
        const allLeft = leaver === undefined ? await emptyMembers(name, leavers) : [await empty(leaver)];
        return { domainKeyId, members: had, left: allLeft[0] ?? null, allLeft };
      }
      const keyStore = joined(name);
      const { member, pairs, choices, empties } = await rotations.finish(keyStore, domainKeyId);
      if (!empties) assertNothingReturned(keyStore, choices.leavers ?? []);
      const all = await emptyMembers(name, choices.leavers ?? []);
      const [left = null] = all;
      return { domainKeyId, members: [member, ...pairs.map((pair) => pair.member)], left, allLeft: all };
    },
  };
  return {
    beginRotation: (name, choices) => inTurn(() => control.beginRotation(name, choices)),
    finishRotation: (name, domainKeyId) => inTurn(() => control.finishRotation(name, domainKeyId)),
  };
}
