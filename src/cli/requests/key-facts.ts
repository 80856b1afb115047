/**
 * What there is to know of one key, each by the operation that tells it: for commands that show a key, or what would be lost with it.
 *
 * Each is `null` for whoever may not have it; then the command shows the rest. All of them take a key id or ARN and no alias. What is
 * shown as a part of a key does not name the key again: scripts take the one `KeyId` that they find.
 */

import { ApiError } from '../terminal/cli-error.ts';
import { ifAllowed, type KmsClient, type Members } from './kms-client.ts';

/** How many requests of one command are under way at a time: enough to keep a daemon busy, and far from anybody's share of it. */
const requestsAtOnce = 8;

/** `KeyMetadata`. */
export async function metadataOf(client: KmsClient, keyId: string): Promise<Members | null> {
  return ((await ifAllowed(client.call('DescribeKey', { KeyId: keyId })))?.['KeyMetadata'] ?? null) as Members | null;
}

export async function aliasesOf(client: KmsClient, keyId: string): Promise<readonly string[] | null> {
  const aliases = await ifAllowed(client.list('ListAliases', 'Aliases', { KeyId: keyId }));
  return aliases?.map((alias) => String(alias['AliasName'])) ?? null;
}

export async function tagsOf(client: KmsClient, keyId: string): Promise<readonly Members[] | null> {
  return (await ifAllowed(client.list('ListResourceTags', 'Tags', { KeyId: keyId }))) ?? null;
}

export async function grantsOf(client: KmsClient, keyId: string): Promise<readonly Members[] | null> {
  return (await ifAllowed(client.list('ListGrants', 'Grants', { KeyId: keyId })))?.map(withoutKeyId) ?? null;
}

/** As `GetKeyRotationStatus` answers. */
export async function rotationOf(client: KmsClient, keyId: string): Promise<Members | null> {
  const status = await ifAllowed(client.call('GetKeyRotationStatus', { KeyId: keyId }));
  return status === undefined ? null : withoutKeyId(status);
}

/** As `GetKeyLastUsage` answers. */
export async function lastUsageOf(client: KmsClient, keyId: string): Promise<Members | null> {
  const usage = await ifAllowed(client.call('GetKeyLastUsage', { KeyId: keyId }));
  return usage === undefined ? null : withoutKeyId(usage);
}

/** All key material, as `ListKeyRotations` lists it; none for a key that has no such list: no symmetric encryption key, or in a custom key store. */
export async function materialsOf(client: KmsClient, keyId: string): Promise<readonly Members[] | null> {
  const members = { KeyId: keyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' };
  try {
    return (await ifAllowed(client.list('ListKeyRotations', 'Rotations', members)))?.map(withoutKeyId) ?? null;
  } catch (error) {
    if (error instanceof ApiError && error.type === 'UnsupportedOperationException') return [];
    throw error;
  }
}

function withoutKeyId({ KeyId: _, ...members }: Members): Members {
  return members;
}

/** The answers in the order of the keys; `undefined` for one that is gone by the time it is asked for. */
export async function ofEachKey<Answer>(
  keyIds: readonly string[],
  facts: (keyId: string) => Promise<Answer>,
): Promise<(Answer | undefined)[]> {
  const answers: (Answer | undefined)[] = new Array(keyIds.length);
  const waiting = keyIds.entries();
  const worker = async (): Promise<void> => {
    // All of them take from the same iterator.
    for (const [index, keyId] of waiting) answers[index] = await ifThere(facts(keyId));
  };
  await Promise.all(Array.from({ length: requestsAtOnce }, worker));
  return answers;
}

async function ifThere<Answer>(answer: Promise<Answer>): Promise<Answer | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ApiError && error.type === 'NotFoundException') return undefined;
    throw error;
  }
}

/** What is on record of its material, and what the HSM says of it: for the account's root alone, `null` for others. */
export async function backingKeysOf(client: KmsClient, keyId: string): Promise<readonly Members[] | null> {
  const status = await ifAllowed(client.get(`/status/keys/${keyId}`));
  return status === undefined ? null : (status['backingKeys'] as readonly Members[]);
}
