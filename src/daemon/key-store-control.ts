/** What an operator can do about the key stores of a running daemon. */

import type { KeyStore } from '../hsm/key-store.ts';
import { JoinedKeyStore } from '../hsm/members/joined-key-store.ts';
import type { Member } from '../hsm/members/member.ts';
import type { KeyStoreControl } from '../http/key-store-routes.ts';
import type { DomainKeyStores } from './domain-key-stores.ts';
import type { NoSuchKeyStore } from './no-such-key-store.ts';
import type { OptionalKeyStores } from './optional-key-stores.ts';

export function keyStoreControl(
  keyStores: ReadonlyMap<string, KeyStore>,
  optional: Pick<OptionalKeyStores, 'reconnect' | 'attached'>,
  domainKeyStores: Pick<DomainKeyStores, 'look'>,
  noSuchKeyStore: NoSuchKeyStore,
): KeyStoreControl {
  return {
    async reconnect(name, memberName) {
      const keyStore = keyStores.get(name);
      if (keyStore === undefined) throw noSuchKeyStore(name);
      if (memberName !== undefined) {
        const member = membersOf(optional.attached(name) ?? keyStore).find((each) => each.name === memberName);
        if (member === undefined) return undefined;
        await member.reconnect();
        await domainKeyStores.look();
        return { state: member.status().state };
      }
      if ((await optional.reconnect(name)) === undefined) await keyStore.reconnect();
      await domainKeyStores.look();
      return { state: keyStore.status().state };
    },
  };
}

/** Of a key store that is one token there are none. */
export function membersOf(keyStore: KeyStore): readonly Member[] {
  return keyStore instanceof JoinedKeyStore ? keyStore.members : [];
}
