/** Keys as people name them, also for operations that take no aliases. */

import type { KmsClient, Members } from './kms-client.ts';

/** The argument of commands on one key. */
export const keyArgument = ['<key>', 'key id, key ARN, alias/NAME or alias ARN'] as const;

export function isAlias(key: string): boolean {
  return key.startsWith('alias/') || key.includes(':alias/');
}

/** Asks only where there is an alias: it needs kms:DescribeKey. */
export async function withoutAlias(client: KmsClient, key: string): Promise<string> {
  if (!isAlias(key)) return key;
  const { KeyMetadata } = await client.call('DescribeKey', { KeyId: key });
  return String((KeyMetadata as Members)['KeyId']);
}
