/** What an operator does with the members of a key store: gives all of them a new domain key, or has one leave. */

import type { KeyStore } from '../hsm/key-store.ts';
import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { DomainControl } from '../http/domain-routes.ts';
import type { KeyView } from '../keys/key-view.ts';
import { KmsError } from '../kms/errors.ts';
import { type DomainKeysParts, keysOfMembers } from './domain-members.ts';
import { DomainRotations, destroyInLeaver, memberNamed } from './domain-rotation.ts';
import { DomainWideRotation } from './domain-wide-rotation.ts';
import { assertNothingIsLost } from './leaving-member.ts';

export interface DomainRotationParts extends DomainKeysParts {
  readonly regions: readonly { readonly directory: Pick<KeyView, 'onRecord'> }[];
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
  const joined = (name: string): JoinedKeyStore => {
    const keyStore = keyStoreOf(name);
    if (keyStore instanceof JoinedKeyStore && keyStore.members.length > 1) return keyStore;
    throw new KmsError('ValidationException', `The key store ${name} has one token, and no members.`);
  };
  return {
    async beginRotation(name, choices) {
      if (wide.isNeeded(name)) {
        if (choices.leaver !== undefined) throw leavesAlone(name, domainKeys.domainOf(name));
        return wide.begin(name, choices.member);
      }
      const { domainKeyId, member, pairs } = await rotations.begin(joined(name), choices);
      const shown = pairs.map((pair) => ({ ...pair, publicKey: pair.publicKey.toString('base64') }));
      return { domainKeyId, member, pairs: shown };
    },
    async finishRotation(name, domainKeyId) {
      if (wide.isNeeded(name)) return { domainKeyId, members: await wide.finish(name, domainKeyId), left: null };
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
      `(\`drawbridge domain leave --key-store ${others.length === 1 ? domain.find((other) => other !== name) : 'KEY-STORE'}\`)`,
  );
}
