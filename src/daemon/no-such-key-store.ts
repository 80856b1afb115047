/** What an operator is told who names a key store that this daemon does not have: where the name is that of something else, what it is. */

import type { KeyView } from '../keys/key-view.ts';
import { KmsError } from '../kms/errors.ts';

/** A `NotFoundException`. */
export type NoSuchKeyStore = (name: string) => KmsError;

/**
 * @param hsms Names of those that the configuration has for custom key stores.
 * @param regions All of them: their custom key stores may be meant, by id or by name.
 */
export function noSuchKeyStore(
  hsms: { has(name: string): boolean } | undefined,
  regions: readonly { readonly directory: Pick<KeyView, 'customKeyStores'> }[],
): NoSuchKeyStore {
  const isCustom = (name: string): boolean =>
    regions.some(
      ({ directory: { customKeyStores: stores } }) =>
        stores.record(name) !== undefined || stores.recordNamed(name) !== undefined,
    );
  return (name) => {
    const isHsm = hsms?.has(name) === true;
    if (!isHsm && !isCustom(name))
      return new KmsError('NotFoundException', `There is no key store \`${name}\` in the configuration.`);
    const what = isHsm ? 'an HSM for a custom key store' : 'a custom key store';
    return new KmsError(
      'NotFoundException',
      `\`${name}\` is ${what}, and no key store that the configuration names: its keys are objects of its token and stay in it, so that it has ` +
        'no domain key; `drawbridge key-stores` lists, connects and changes custom key stores.',
    );
  };
}
