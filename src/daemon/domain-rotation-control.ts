/** What an operator does with the members of a key store: gives all of them a new domain key, or has one leave. */

import type { KeyStore } from '../hsm/key-store.ts';
import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { DomainControl } from '../http/domain-routes.ts';
import type { KeyView } from '../keys/key-view.ts';
import { giveUpDomainKeys } from '../keys/life/retired-domain-keys.ts';
import { KmsError } from '../kms/errors.ts';
import { type DomainKeysParts, keysOfMembers } from './domain-members.ts';
import { DomainRotations, destroyInLeaver, memberNamed } from './domain-rotation.ts';
import { DomainWideRotation, endPairsIn } from './domain-wide-rotation.ts';
import { assertSharesNothing, usesOfDomainKeys, verifyAll } from './leaving-key-store.ts';
import { assertNothingIsLost } from './leaving-member.ts';

export interface DomainRotationParts extends DomainKeysParts {
  readonly regions: readonly { readonly directory: KeyView }[];
  /** @throws KmsError when there is none of this name. */
  readonly keyStoreOf: (name: string) => KeyStore;
  /** What stands behind one that may be away. */
  readonly attached: (name: string) => KeyStore | undefined;
  readonly domainId: () => string;
}

export function domainRotationControl(
  parts: DomainRotationParts,
): Pick<DomainControl, 'beginRotation' | 'finishRotation'> {
  const { regions, keyStoreOf, attached, domainKeys, domainId } = parts;
  const rotations = new DomainRotations({
    domainKeys,
    domainId,
    assertNothingIsLost: (keyStore, choices) => assertNothingIsLost(regions, keyStore, choices),
  });
  const wide = new DomainWideRotation({
    domainKeys,
    domainId,
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
    const uses = () => usesOfDomainKeys(regions, leaver);
    const inUse = await giveUpDomainKeys(domainKeys, leaver, keyStore, uses);
    return { member: leaver, isEmpty: inUse === 0, inUse };
  };
  const joined = (name: string): JoinedKeyStore => {
    const keyStore = keyStoreOf(name);
    if (keyStore instanceof JoinedKeyStore && keyStore.members.length > 1) return keyStore;
    throw new KmsError('ValidationException', `The key store ${name} has one token, and no members.`);
  };
  return {
    async beginRotation(name, choices) {
      const { member: chosen, leaver } = choices;
      const isKeyStore = leaver !== undefined && isOtherKeyStore(name, leaver);
      if (isKeyStore) {
        await verifyAll(regions);
        const isAway = keyStoreOf(leaver).status().state !== 'connected';
        if (!(choices.isLossAccepted && isAway)) assertSharesNothing(regions, leaver);
      } else if (leaver !== undefined && wide.isNeeded(name)) throw leavesAlone(name, domainKeys.domainOf(name));
      if (isKeyStore || wide.isNeeded(name)) return wide.begin(name, { member: chosen, leaver });
      const { domainKeyId, member, pairs } = await rotations.begin(joined(name), choices);
      const shown = pairs.map((pair) => ({ ...pair, publicKey: pair.publicKey.toString('base64') }));
      return { domainKeyId, member, pairs: shown };
    },
    async finishRotation(name, domainKeyId) {
      if (wide.isPending(domainKeyId) || wide.isNeeded(name)) {
        const { members, leaver } = await wide.finish(name, domainKeyId);
        return { domainKeyId, members, left: leaver === undefined ? null : await empty(leaver) };
      }
      const keyStore = joined(name);
      const { member, pairs, choices } = await rotations.finish(keyStore, domainKeyId);
      const members = [member, ...pairs.map((pair) => pair.member)];
      const { leaver } = choices;
      if (leaver === undefined) return { domainKeyId, members, left: null };
      // It may have come back meanwhile, with keys that were thought to be lost.
      assertNothingIsLost(regions, keyStore, choices);
      const isEmpty = await destroyInLeaver(memberNamed(keyStore, leaver), keysOfMembers(name, parts));
      return { domainKeyId, members, left: { member: leaver, isEmpty } };
    },
  };
}

function leavesAlone(name: string, domain: readonly string[]): KmsError {
  const others = domain.filter((other) => other !== name).map((other) => `\`${other}\``);
  return new KmsError(
    'UnsupportedOperationException',
    `\`${name}\` is in one domain with ${others.join(', ')}, which would lack the domain key that its other members get: have ${others.length === 1 ? 'that' : 'each'} leave first ` +
      `(\`drawbridge domain leave ${others.length === 1 ? domain.find((other) => other !== name) : 'KEY-STORE'} --key-store ${name}\`)`,
  );
}
