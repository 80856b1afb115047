/** `drawbridge keys`: list, create, show. */

import { Command } from 'commander';
import { keySpecs } from '../../kms/key-specs.ts';
import { parseAliasName } from '../../kms/names.ts';
import { collectPairs, connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { KmsClient, Members } from '../requests/kms-client.ts';
import { ApiError, UsageError } from '../terminal/cli-error.ts';
import { readPolicy } from '../terminal/input.ts';
import { facts, note, print, printable, printJson, table } from '../terminal/output.ts';

type Options = SocketOptions & { readonly json?: true };

export function keysCommand(): Command {
  return new Command('keys')
    .description('list, create and show KMS keys')
    .addCommand(listCommand())
    .addCommand(createCommand())
    .addCommand(showCommand());
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
  try {
    return (await client.call('DescribeKey', { KeyId: keyId }))['KeyMetadata'] as Members;
  } catch (error) {
    if (error instanceof ApiError && error.type === 'AccessDeniedException') return undefined;
    throw error;
  }
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

function showCommand(): Command {
  return withJson(withSocket(new Command('show').description('show a key, and what the HSM says about its material')))
    .argument('<key>', 'key id, key ARN, alias/NAME or alias ARN')
    .addHelpText(
      'after',
      `
What the HSM says is shown to the account's root only.

Examples:
  drawbridge keys show alias/backup
  drawbridge keys show alias/backup --json | jq -r .Arn`,
    )
    .action(async (keyId: string, options: Options) => {
      const client = await connectTo(options);
      const key = (await client.call('DescribeKey', { KeyId: keyId }))['KeyMetadata'] as Members;
      const aliases = await aliasesOf(client, key['KeyId'] as string);
      const backingKeys = await backingKeysOf(client, key['KeyId'] as string);
      if (options.json) return printJson({ ...key, Aliases: aliases, BackingKeys: backingKeys ?? null });
      print([describeKey(key, aliases), ...(backingKeys ?? []).map(describeBackingKey)].join('\n\n'));
      if (backingKeys === undefined)
        note("what the HSM says about the key's material is shown to the account's root only");
    });
}

async function aliasesOf(client: KmsClient, keyId: string): Promise<unknown[] | null> {
  try {
    return (await client.list('ListAliases', 'Aliases', { KeyId: keyId })).map((alias) => alias['AliasName']);
  } catch (error) {
    if (error instanceof ApiError && error.type === 'AccessDeniedException') return null;
    throw error;
  }
}

async function backingKeysOf(client: KmsClient, keyId: string): Promise<Members[] | undefined> {
  try {
    return (await client.get(`/status/keys/${keyId}`))['backingKeys'] as Members[];
  } catch (error) {
    if (error instanceof ApiError && error.type === 'AccessDeniedException') return undefined;
    throw error;
  }
}

function describeKey(key: Members, aliases: readonly unknown[] | null): string {
  return facts([
    ['key', String(key['KeyId'])],
    ['arn', String(key['Arn'])],
    ['aliases', aliases === null ? 'not shown to you' : aliases.join(' ') || '-'],
    ['description', String(key['Description'] ?? '')],
    ['state', String(key['KeyState'])],
    ['spec', String(key['KeySpec'])],
    ['usage', String(key['KeyUsage'])],
    ['created', new Date(Number(key['CreationDate']) * 1000).toISOString()],
  ]);
}

function describeBackingKey(backingKey: Members): string {
  const hsm = backingKey['hsm'] as Members;
  const head = [
    ['backing key', `${backingKey['ordinal']}${backingKey['current'] ? ' (current)' : ''}`],
    ['CKA_ID', String(backingKey['backingKeyId'])],
    ['key store', String(backingKey['keyStore'])],
  ] as const;
  if (hsm['failure'] !== undefined) return facts([...head, ['the HSM says', String(hsm['message'])]]);
  return facts([
    ...head,
    ['CKA_LABEL', String(hsm['label'])],
    ['CKA_CLASS', String(hsm['objectClass'])],
    ['CKA_KEY_TYPE', `${hsm['keyType']}${hsm['keyBits'] === null ? '' : `, ${hsm['keyBits']} bits`}`],
    ['CKA_TOKEN', String(hsm['token'])],
    ['CKA_PRIVATE', String(hsm['private'])],
    ['CKA_SENSITIVE', String(hsm['sensitive'])],
    ['CKA_ALWAYS_SENSITIVE', String(hsm['alwaysSensitive'])],
    ['CKA_EXTRACTABLE', String(hsm['extractable'])],
    ['CKA_NEVER_EXTRACTABLE', String(hsm['neverExtractable'])],
    ['CKA_MODIFIABLE', String(hsm['modifiable'])],
    ['CKA_LOCAL', String(hsm['local'])],
    ['usages', (hsm['usages'] as string[]).join(' ')],
  ]);
}
