/**
 * Is a token the one in which the keys of a data folder were made? Label and PIN do not say: a token that was initialised anew, or
 * another one that was set up in the same way, has the same.
 */

import { ConfigurationError } from '../config/load.ts';
import { type KeyStore, KeyStoreError } from '../hsm/key-store.ts';
import { listServiceKeys } from '../keys/life/service-keys.ts';
import type { BackingKeyId } from '../kms/names.ts';

/** So many keys of each key store are looked for: one that is there is enough, and a few may have got lost. */
export const keysLookedFor = 8;

/**
 * @param backingKeyIds That the metadata names: of more than `keysLookedFor` the first ones. None: any token may be.
 * @param isOfServiceKeys Is it the key store without which there is no instance?
 * @throws ConfigurationError when the token has none of them, with what that means and what to do; KeyStoreError when it does not
 * tell.
 */
export async function assertTokenIsOurs(
  keyStore: KeyStore,
  dataDir: string,
  backingKeyIds: readonly BackingKeyId[],
  isOfServiceKeys = false,
): Promise<void> {
  const looked = backingKeyIds.slice(0, keysLookedFor);
  for (const backingKeyId of looked) if (await isThere(keyStore, backingKeyId)) return;
  if (looked.length > 0) throw new ConfigurationError(await describe(keyStore, dataDir, isOfServiceKeys));
}

async function isThere(keyStore: KeyStore, backingKeyId: BackingKeyId): Promise<boolean> {
  try {
    await keyStore.describeKey({ backingKeyId });
    return true;
  } catch (error) {
    if (error instanceof KeyStoreError && error.failure === 'keyUnavailable') return false;
    // In a member of the key store that is not there; those that are were proven one by one.
    if (error instanceof KeyStoreError && error.failure === 'away') return true;
    throw error;
  }
}

async function describe(keyStore: KeyStore, dataDir: string, isOfServiceKeys: boolean): Promise<string> {
  const { token, profile } = keyStore.capabilities();
  const others = await listServiceKeys(keyStore);
  const found = `key store \`${keyStore.name}\`: the token \`${token.label}\`, serial ${token.serial}, has none of the keys that \`${dataDir}\` knows`;
  const choose = 'name the right one by its serial number (`token: { serial: … }`)';
  if (others.length > 0) return `${found}: it is another one, which holds the keys of another data folder; ${choose}`;
  const lost = `${found}: it is another one with this label, or it was initialised anew and its keys are gone; ${choose}`;
  const without = 'What its keys have encrypted cannot be decrypted without them';
  if (!isOfServiceKeys) return `${lost}, or restore the token from its backup. ${without}`;
  const anew = `drawbridge init --profile ${profile} --token-label '${token.label}' --pin-file FILE --config NEW.yaml --dir NEW-FOLDER`;
  return (
    `${lost}, restore the token from its backup, or, where another HSM has them, have this one join that (\`drawbridge domain invite --help\`). ` +
    `${without}; a fresh start is \`${anew}\``
  );
}
