/** `drawbridge keys show`: a key, and what the HSM says about its material. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { keyArgument } from '../../requests/key-names.ts';
import { ifAllowed, type KmsClient, type Members } from '../../requests/kms-client.ts';
import { facts, note, print, printJson, timeText } from '../../terminal/output.ts';
import { whatDeletionDoes } from './change-key.ts';

type Options = SocketOptions & { readonly json?: true };

export function showCommand(): Command {
  return withJson(withSocket(new Command('show').description('show a key, and what the HSM says about its material')))
    .argument(...keyArgument)
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
      const tags = await tagsOf(client, key['KeyId'] as string);
      const backingKeys = await backingKeysOf(client, key['KeyId'] as string);
      if (options.json) return printJson({ ...key, Aliases: aliases, Tags: tags, BackingKeys: backingKeys });
      print([describeKey(key, aliases, tags), ...(backingKeys ?? []).map(describeBackingKey)].join('\n\n'));
      if (backingKeys === null) note("what the HSM says about the key's material is shown to the account's root only");
    });
}

async function aliasesOf(client: KmsClient, keyId: string): Promise<readonly unknown[] | null> {
  const aliases = await ifAllowed(client.list('ListAliases', 'Aliases', { KeyId: keyId }));
  return aliases?.map((alias) => alias['AliasName']) ?? null;
}

async function tagsOf(client: KmsClient, keyId: string): Promise<readonly Members[] | null> {
  return (await ifAllowed(client.list('ListResourceTags', 'Tags', { KeyId: keyId }))) ?? null;
}

async function backingKeysOf(client: KmsClient, keyId: string): Promise<readonly Members[] | null> {
  const status = await ifAllowed(client.get(`/status/keys/${keyId}`));
  return status === undefined ? null : (status['backingKeys'] as readonly Members[]);
}

const notShown = 'not shown to you';

function describeKey(key: Members, aliases: readonly unknown[] | null, tags: readonly Members[] | null): string {
  return facts([
    ['key', String(key['KeyId'])],
    ['arn', String(key['Arn'])],
    ['aliases', aliases === null ? notShown : aliases.join(' ') || '-'],
    ['description', String(key['Description'] ?? '')],
    ...tagFacts(tags),
    ['state', String(key['KeyState'])],
    ['spec', String(key['KeySpec'])],
    ['usage', String(key['KeyUsage'])],
    ['created', timeText(key['CreationDate'])],
    ...deletionFacts(key),
  ]);
}

type Facts = Parameters<typeof facts>[0];

/** One tag a line, since names and values may have blanks in them. */
function tagFacts(tags: readonly Members[] | null): Facts {
  const lines = tags === null ? [notShown] : tags.map((tag) => `${tag['TagKey']}=${tag['TagValue']}`);
  return (lines.length === 0 ? ['-'] : lines).map((line, index) => [index === 0 ? 'tags' : '', line]);
}

const dateHasPassed = 'its date has come; `drawbridge upkeep` says what it waits for';

function deletionFacts(key: Members): Facts {
  if (key['DeletionDate'] === undefined) return [];
  return [
    ['deletion', timeText(key['DeletionDate'])],
    ['', Number(key['DeletionDate']) * 1000 > Date.now() ? whatDeletionDoes : dateHasPassed],
  ];
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
