/** `drawbridge keys list`: all keys, with what one asks of many at a time: state, next rotation, expiry, last use. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { lastUsageOf, metadataOf, ofEachKey, rotationOf } from '../../requests/key-facts.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { note, print, printJson, table } from '../../terminal/output.ts';
import { dayText } from './key-texts.ts';

type Options = SocketOptions & { readonly json?: true };

/** Shorter than elsewhere, as it stands in columns. */
const notShown = 'not shown';

export function listCommand(): Command {
  return withJson(
    withSocket(new Command('list').description('list all keys: state, aliases, next rotation, expiry, last use')),
  )
    .addHelpText(
      'after',
      `
Of keys that you may list but not describe only the id is shown. EXPIRES is when imported key material does, LAST USE is
the last one that succeeded; days are in UTC. Each needs its permission (kms:GetKeyRotationStatus, kms:GetKeyLastUsage).

Examples:
  drawbridge keys list
  drawbridge keys list --json | jq -r '.[] | select(.KeyState == "Enabled").Arn'
  drawbridge keys list --json | jq -r '.[] | select(.LastUsage.KeyLastUsage == {}).KeyId'`,
    )
    .action(async (options: Options) => {
      const client = await connectTo(options);
      const keyIds = (await client.list('ListKeys', 'Keys')).map((key) => String(key['KeyId']));
      const aliases = Map.groupBy(await client.list('ListAliases', 'Aliases'), (alias) => alias['TargetKeyId']);
      const described = await ofEachKey(keyIds, async (keyId) => ({
        ...(await factsOf(client, keyId)),
        Aliases: (aliases.get(keyId) ?? []).map((alias) => String(alias['AliasName'])),
      }));
      const keys = described.filter((key) => key !== undefined);
      if (options.json) return printJson(keys);
      if (keys.length === 0) return note('there are no keys; `drawbridge keys create` makes one');
      print(table(columns, keys.map(row)));
    });
}

const columns = [
  'KEY ID',
  'STATE',
  'SPEC',
  'USAGE',
  'ALIASES',
  'NEXT ROTATION',
  'EXPIRES',
  'LAST USE',
  'DESCRIPTION',
] as const;

/** Listing needs no permission on each key; describing does. */
async function factsOf(client: KmsClient, keyId: string): Promise<Members> {
  const metadata = await metadataOf(client, keyId);
  if (metadata === null) return { KeyId: keyId };
  const [Rotation, LastUsage] = await Promise.all([rotationOf(client, keyId), lastUsageOf(client, keyId)]);
  return { ...metadata, Rotation, LastUsage };
}

function row(key: Members & { readonly Aliases: readonly string[] }): string[] {
  const text = (name: string): string => String(key[name] ?? '?');
  const isDescribed = key['KeyState'] !== undefined;
  const rotation = key['Rotation'] as Members | null | undefined;
  const usage = key['LastUsage'] as Members | null | undefined;
  const lastUse = (usage?.['KeyLastUsage'] ?? {}) as Members;
  return [
    text('KeyId'),
    text('KeyState'),
    text('KeySpec'),
    text('KeyUsage'),
    key.Aliases.join(' ') || '-',
    rotation ? dayText(rotation['NextRotationDate']) : notShown,
    isDescribed ? dayText(key['ValidTo']) : notShown,
    usage ? dayText(lastUse['Timestamp']) : notShown,
    String(key['Description'] ?? ''),
  ];
}
