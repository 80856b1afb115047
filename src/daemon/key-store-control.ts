/** What an operator can do about the key stores of a running daemon. */

import type { KeyStore } from '../hsm/key-store.ts';
import type { KeyStoreControl } from '../http/key-store-routes.ts';
import type { OptionalKeyStores } from './optional-key-stores.ts';

export function keyStoreControl(
  keyStores: ReadonlyMap<string, KeyStore>,
  optional: Pick<OptionalKeyStores, 'reconnect'>,
): KeyStoreControl {
  return {
    async reconnect(name) {
      const keyStore = keyStores.get(name);
      if (keyStore === undefined) return undefined;
      if ((await optional.reconnect(name)) === undefined) await keyStore.reconnect();
      return { state: keyStore.status().state };
    },
  };
}
