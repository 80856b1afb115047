/** `drawbridge keys`: list and create, and the commands on one key that stand in `keys/`. */

import { Command } from 'commander';
import { keySpecs } from '../../kms/key-specs.ts';
import { parseAliasName } from '../../kms/names.ts';
import { collectPairs, connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import { ifAllowed, type KmsClient, type Members } from '../requests/kms-client.ts';
import { ApiError, UsageError } from '../terminal/cli-error.ts';
import { readPolicy } from '../terminal/input.ts';
import { note, print, printable, printJson, table } from '../terminal/output.ts';
import {
  cancelDeletionCommand,
  deleteCommand,
  disableCommand,
  enableCommand,
  setDescriptionCommand,
} from './keys/change-key.ts';
import { tagCommand, untagCommand } from './keys/key-tags.ts';
import { showCommand } from './keys/show-key.ts';

type Options = SocketOptions & { readonly json?: true };

export function keysCommand(): Command {
  return new Command('keys')
    .description('list, create, show, enable, disable, tag and delete KMS keys')
    .addCommand(listCommand())
    .addCommand(createCommand())
    .addCommand(showCommand())
    .addCommand(setDescriptionCommand())
    .addCommand(enableCommand())
    .addCommand(disableCommand())
    .addCommand(deleteCommand())
    .addCommand(cancelDeletionCommand())
    .addCommand(tagCommand())
    .addCommand(untagCommand());
}

function listCommand(): Command {
  return withJson(withSocket(new Command('list').description('list all keys and their aliases')))
    .addHelpText(
      'after',
      `
Of keys that you may list but not describe only the id is shown.

Examples:
  drawbridge keys list
  drawbridge keys list --json | jq -r '.[] | select(.KeyState == "Enabled").Arn'`,
    )
    .action(async (options: Options) => {
      const client = await connectTo(options);
      const keys = await client.list('ListKeys', 'Keys');
      const aliases = Map.groupBy(await client.list('ListAliases', 'Aliases'), (alias) => alias['TargetKeyId']);
      const described: Members[] = [];
      for (const { KeyId } of keys) {
        const metadata = await describeIfAllowed(client, KeyId as string);
        const names = (aliases.get(KeyId) ?? []).map((alias) => alias['AliasName']);
        described.push({ ...(metadata ?? { KeyId }), Aliases: names });
      }
      if (options.json) return printJson(described);
      if (described.length === 0) return note('there are no keys; `drawbridge keys create` makes one');
      print(table(['KEY ID', 'STATE', 'SPEC', 'USAGE', 'ALIASES', 'DESCRIPTION'], described.map(row)));
    });
}

function row(key: Members): string[] {
  const text = (name: string): string => String(key[name] ?? '?');
  const aliases = (key['Aliases'] as string[]).join(' ') || '-';
  return [
    text('KeyId'),
    text('KeyState'),
    text('KeySpec'),
    text('KeyUsage'),
    aliases,
    String(key['Description'] ?? ''),
  ];
}

/** Listing needs no permission on each key; describing does. */
async function describeIfAllowed(client: KmsClient, keyId: string): Promise<Members | undefined> {
  return (await ifAllowed(client.call('DescribeKey', { KeyId: keyId })))?.['KeyMetadata'] as Members | undefined;
}

interface CreateOptions extends Options {
  readonly alias?: string;
  readonly description?: string;
  readonly spec?: string;
  readonly usage?: string;
  readonly policy?: string;
  readonly tag?: Readonly<Record<string, string>>;
}

function createCommand(): Command {
  return withJson(withSocket(new Command('create').description('create a key in the HSM')))
    .option('--alias <name>', 'give it this alias, alias/…')
    .option('--description <text>', 'what it is for')
    .option('--spec <KeySpec>', 'SYMMETRIC_DEFAULT if not given; `drawbridge doctor` shows what this HSM has')
    .option('--usage <KeyUsage>', 'needed where the spec has several: RSA_2048, ECC_NIST_P256, …')
    .option('--policy <file>', 'the key policy; without it, the account decides')
    .option('--tag <name=value>', 'a tag; can be repeated', collectPairs)
    .addHelpText(
      'after',
      `
Examples:
  drawbridge keys create --alias alias/backup --description 'nightly backups' --tag owner=ops
  drawbridge keys create --alias alias/releases --spec ECC_NIST_P256 --usage SIGN_VERIFY`,
    )
    .action(async (options: CreateOptions) => {
      const client = await connectTo(options);
      const { alias, description, spec, usage, policy, tag = {} } = options;
      const chosen = usage ?? onlyUsageOf(spec);
      if (alias !== undefined) await assertFree(client, alias);
      const { KeyMetadata } = await client.call('CreateKey', {
        ...(description === undefined ? {} : { Description: description }),
        ...(spec === undefined ? {} : { KeySpec: spec }),
        ...(chosen === undefined ? {} : { KeyUsage: chosen }),
        ...(policy === undefined ? {} : { Policy: await readPolicy(policy) }),
        Tags: Object.entries(tag).map(([TagKey, TagValue]) => ({ TagKey, TagValue })),
      });
      const key = KeyMetadata as Members;
      if (alias !== undefined) await nameKey(client, key, alias);
      if (options.json) return printJson({ ...key, Aliases: alias === undefined ? [] : [alias] });
      print(String(key['Arn']));
    });
}

/** The KeyUsage of a KeySpec that has one alone; AWS wants it said for all but symmetric keys. */
function onlyUsageOf(spec: string | undefined): string | undefined {
  const row = Object.entries(keySpecs).find(([name]) => name === spec)?.[1];
  const [usage, ...others] = Object.keys(row?.usages ?? {});
  return others.length === 0 ? usage : undefined;
}

/** Before there is a key: one that then does not get its name would stay. */
async function assertFree(client: KmsClient, alias: string): Promise<void> {
  if (parseAliasName(alias) === undefined) {
    throw new UsageError(`\`${printable(alias)}\` is no alias: it is alias/ and then letters, digits, /, _ and -`);
  }
  try {
    await client.call('DescribeKey', { KeyId: alias });
  } catch (error) {
    if (error instanceof ApiError && error.type === 'NotFoundException') return;
    // A key that this caller may not see has it.
    if (!(error instanceof ApiError && error.type === 'AccessDeniedException')) throw error;
  }
  throw new Error(`the alias \`${alias}\` is taken; no key was created`);
}

async function nameKey(client: KmsClient, key: Members, alias: string): Promise<void> {
  try {
    await client.call('CreateAlias', { AliasName: alias, TargetKeyId: key['KeyId'] });
  } catch (error) {
    note(`the key ${key['KeyId']} was created, but it did not get its alias`);
    throw error;
  }
}
