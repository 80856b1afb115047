/** `drawbridge keys list`: all keys, with what one asks of many at a time: state, next rotation, expiry, last use. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { backingKeysOf, lastUsageOf, metadataOf, ofEachKey, rotationOf } from '../../requests/key-facts.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { note, print, printJson, table } from '../../terminal/output.ts';
import { dayText } from './key-texts.ts';

type Options = SocketOptions & { readonly json?: true; readonly material?: true };

/** Shorter than elsewhere, as it stands in columns. */
const notShown = 'not shown';

export function listCommand(): Command {
  return withJson(
    withSocket(new Command('list').description('list all keys: state, aliases, next rotation, expiry, last use')),
  )
    .option('--material', "also where the key material lives, which is shown to the account's root only")
    .addHelpText(
      'after',
      `
Of keys that you may list but not describe only the id is shown. EXPIRES is when imported key material does, LAST USE is
the last one that succeeded; days are in UTC. Each needs its permission (kms:GetKeyRotationStatus, kms:GetKeyLastUsage).
With --material the HSM is asked about each key; MATERIAL is in which key store it is, and whether as an object of its token or wrapped.

Examples:
  drawbridge keys list
  drawbridge keys list --material
  drawbridge keys list --json | jq -r '.[] | select(.KeyState == "Enabled").Arn'
  drawbridge keys list --json | jq -r '.[] | select(.LastUsage.KeyLastUsage == {}).KeyId'`,
    )
    .action(async (options: Options) => {
      const client = await connectTo(options);
      const keyIds = (await client.list('ListKeys', 'Keys')).map((key) => String(key['KeyId']));
      const aliases = Map.groupBy(await client.list('ListAliases', 'Aliases'), (alias) => alias['TargetKeyId']);
      const described = await ofEachKey(keyIds, async (keyId) => ({
        ...(await factsOf(client, keyId)),
        ...(options.material ? { BackingKeys: await backingKeysOf(client, keyId) } : {}),
        Aliases: (aliases.get(keyId) ?? []).map((alias) => String(alias['AliasName'])),
      }));
      const keys = described.filter((key) => key !== undefined);
      if (options.json) return printJson(keys);
      if (keys.length === 0) return note('there are no keys; `drawbridge keys create` makes one');
      const [first, ...others] = columns;
      if (!options.material) print(table(columns, keys.map(row)));
      else
        print(
          table(
            [first, 'MATERIAL', ...others],
            keys.map((key) => row(key).toSpliced(1, 0, materialText(key))),
          ),
        );
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

/** Most keys have all of theirs in one place. */
function materialText({ BackingKeys: backingKeys }: Members): string {
  if (!Array.isArray(backingKeys)) return notShown;
  const places = (backingKeys as readonly Members[]).map(({ keyStore, residency }) => `${keyStore} (${residency})`);
  return [...new Set(places)].join(', ') || '-';
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
