/** Custom key stores as commands name them: by id, or by name. */

import { ApiError } from '../terminal/cli-error.ts';
import type { KmsClient, Members } from './kms-client.ts';

export function isCustomKeyStoreId(text: string): boolean {
  return /^cks-[0-9a-f]{17}$/.test(text);
}

/** As `DescribeCustomKeyStores` tells of one. @throws ApiError `CustomKeyStoreNotFoundException`. */
export async function describeCustomKeyStore(client: KmsClient, members: Members): Promise<Members> {
  const { CustomKeyStores } = await client.call('DescribeCustomKeyStores', members);
  const [store] = CustomKeyStores as readonly Members[];
  if (store === undefined) throw new Error('the daemon tells of no such key store');
  return store;
}

/** @throws as `describeCustomKeyStore`. */
export async function customKeyStoreIdOf(client: KmsClient, store: string): Promise<string> {
  if (isCustomKeyStoreId(store)) return store;
  return String((await describeCustomKeyStore(client, { CustomKeyStoreName: store }))['CustomKeyStoreId']);
}

/**
 * Something in a key store that the configuration names so, or else in the custom key store that has this id or this name.
 * @param use With what `CustomKeyStoreId` is to be.
 */
export async function inNamedKeyStore<Result>(
  client: KmsClient,
  named: string,
  use: (customKeyStoreId: string) => Promise<Result>,
): Promise<Result> {
  try {
    return await use(named);
  } catch (error) {
    const isUnknown = error instanceof ApiError && error.type === 'CustomKeyStoreNotFoundException';
    if (!isUnknown || isCustomKeyStoreId(named)) throw error;
    return await use(await customKeyStoreIdOf(client, named));
  }
}
