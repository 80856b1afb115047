/** Which key store a command of `drawbridge domain` is about: the named one, or the only one that has a domain or could have one. */

import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { UsageError } from '../../terminal/cli-error.ts';

/**
 * Those of the daemon, with what its status says of each.
 * @throws Error while the daemon waits for its tokens: what is on record is verified by them, and told of no sooner.
 */
export async function keyStoresOf(client: KmsClient): Promise<readonly Members[]> {
  const { keyStores, waitsFor } = await client.get('/status');
  if (waitsFor != null) throw new Error(`nothing is known of domains yet, while the daemon waits: ${waitsFor}`);
  const found = keyStores as Members[];
  return found.filter(({ domainKeys }) => domainKeys !== undefined);
}

/** @param option By which the command is told, where that is not by an argument. */
export async function onlyKeyStore(client: KmsClient, option?: '--key-store'): Promise<string> {
  const names = (await keyStoresOf(client)).map(({ name }) => String(name));
  return onlyOf(names, option);
}

export function onlyOf(names: readonly string[], option?: '--key-store'): string {
  const [only, ...others] = names;
  if (only !== undefined && others.length === 0) return only;
  const by = option === undefined ? '' : ` by ${option}`;
  throw new UsageError(`there are several key stores; name one of them${by}: ${names.join(', ')}`);
}

/**
 * What `drawbridge domain join` has to be given, where it is beside this daemon and cannot know.
 * @returns With a space before each option; empty where nothing is to be chosen.
 */
export async function joinChoices(client: KmsClient, keyStore: string): Promise<string> {
  const all = (await client.get('/status'))['keyStores'] as Members[];
  const members = (all.find(({ name }) => name === keyStore)?.['members'] ?? []) as Members[];
  const joining = members.filter(
    ({ state, lacks }) => state === 'notOurs' || (Array.isArray(lacks) && lacks.length > 0),
  );
  const [one, ...others] = joining.map(({ name }) => String(name));
  if (all.length <= 1) return member(one, others);
  // None of its own members waits to join it: then it is another key store that does, or an HSM on another machine.
  return one === undefined ? ' --key-store NAME' : ` --key-store ${keyStore}${member(one, others)}`;
}

function member(one: string | undefined, others: readonly string[]): string {
  return one === undefined ? '' : ` --member ${others.length === 0 ? one : 'NAME'}`;
}
