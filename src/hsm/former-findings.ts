/** What a host that connects need not find out, because another one of its key store has. */

import type { OpenSettings } from './calls.ts';
import type { KeyStoreCapabilities } from './key-store.ts';

/**
 * @param former What the last host to connect found, if any did.
 * @param isServing Does a host of the key store serve the token now?
 */
export function findingsFor(
  former: KeyStoreCapabilities | undefined,
  { isServing }: { readonly isServing: boolean },
): OpenSettings['formerly'] {
  if (former === undefined) return undefined;
  const { library, token, protection, mechanisms, capabilities, imports } = former;
  return { library, token, protection, ...(isServing && { probed: { mechanisms, capabilities, imports } }) };
}
