/** `drawbridge keys show`: a key, and what the HSM says about its material. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import {
  aliasesOf,
  backingKeysOf,
  grantsOf,
  lastUsageOf,
  materialsOf,
  rotationOf,
  tagsOf,
} from '../../requests/key-facts.ts';
import { keyArgument } from '../../requests/key-names.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { facts, note, print, printJson, timeText } from '../../terminal/output.ts';
import { whatDeletionDoes } from './change-key.ts';
import { expiryText, lastUsageText, materialTable, multiRegionFacts, notShown, rotationText } from './key-texts.ts';

type Options = SocketOptions & { readonly json?: true };

export function showCommand(): Command {
  return withJson(withSocket(new Command('show').description('show a key, and what the HSM says about its material')))
    .argument(...keyArgument)
    .addHelpText(
      'after',
      `
What the HSM says is shown to the account's root only; all else to whoever has the permission for it.

Examples:
  drawbridge keys show alias/backup
  drawbridge keys show alias/backup --json | jq -r .Arn`,
    )
    .action(async (name: string, options: Options) => {
      const client = await connectTo(options);
      const metadata = (await client.call('DescribeKey', { KeyId: name }))['KeyMetadata'] as Members;
      const key = await factsOf(client, metadata);
      if (options.json) return printJson({ ...metadata, ...key });
      const { Rotations: materials, BackingKeys: backingKeys } = key;
      print(
        [
          describeKey(metadata, key),
          ...(materials === null || materials.length === 0 ? [] : [materialTable(materials)]),
          ...(backingKeys ?? []).map(describeBackingKey),
        ].join('\n\n'),
      );
      if (backingKeys === null) note("what the HSM says about the key's material is shown to the account's root only");
    });
}

type KeyFacts = Awaited<ReturnType<typeof factsOf>>;

async function factsOf(client: KmsClient, metadata: Members) {
  const keyId = String(metadata['KeyId']);
  const [Aliases, Tags, Grants, Rotation, LastUsage, Rotations, BackingKeys] = await Promise.all([
    aliasesOf(client, keyId),
    tagsOf(client, keyId),
    grantsOf(client, keyId),
    rotationOf(client, keyId),
    lastUsageOf(client, keyId),
    materialsOf(client, keyId),
    backingKeysOf(client, keyId),
  ]);
  return { Aliases, Tags, Grants, Rotation, LastUsage, Rotations, BackingKeys };
}

function describeKey(
  metadata: Members,
  { Aliases: aliases, Tags: tags, Grants: grants, Rotation, LastUsage }: KeyFacts,
): string {
  return facts([
    ['key', String(metadata['KeyId'])],
    ['arn', String(metadata['Arn'])],
    ['aliases', aliases === null ? notShown : aliases.join(' ') || '-'],
    ['description', String(metadata['Description'] || '-')],
    ...tagFacts(tags),
    ['state', String(metadata['KeyState'])],
    ...awayFacts(metadata),
    ['spec', String(metadata['KeySpec'])],
    ['usage', String(metadata['KeyUsage'])],
    ['created', timeText(metadata['CreationDate'])],
    ['origin', String(metadata['Origin'])],
    ...keyStoreFacts(metadata),
    ...multiRegionFacts(metadata),
    ...(metadata['KeyManager'] === 'AWS' ? ([['manager', 'AWS']] as const) : []),
    ['grants', grants === null ? notShown : grants.length],
    ['last use', lastUsageText(LastUsage)],
    ['rotated', rotationText(Rotation)],
    ...expiryFacts(metadata),
    ...deletionFacts(metadata),
  ]);
}

type Facts = Parameters<typeof facts>[0];

/** One tag a line, since names and values may have blanks in them. */
function tagFacts(tags: readonly Members[] | null): Facts {
  const lines = tags === null ? [notShown] : tags.map((tag) => `${tag['TagKey']}=${tag['TagValue']}`);
  return (lines.length === 0 ? ['-'] : lines).map((line, index) => [index === 0 ? 'tags' : '', line]);
}

function awayFacts({ KeyState, CustomKeyStoreId: id }: Members): Facts {
  if (KeyState !== 'Unavailable' || id === undefined) return [];
  return [['', `its key store is disconnected, or its HSM is away; \`drawbridge key-stores list\` says which`]];
}

/** None of a key in the default one. */
function keyStoreFacts({ CustomKeyStoreId: id, CloudHsmClusterId: hsm }: Members): Facts {
  return id === undefined ? [] : [['key store', hsm === undefined ? String(id) : `${id} (${hsm})`]];
}

function expiryFacts(key: Members): Facts {
  const expiry = expiryText(key);
  return expiry === null ? [] : [['expires', expiry]];
}

const dateHasPassed = 'its date has come; `drawbridge upkeep` says what it waits for';

function deletionFacts(key: Members): Facts {
  if (key['PendingDeletionWindowInDays'] !== undefined)
    return [['deletion', `${key['PendingDeletionWindowInDays']} days after its last replica is deleted`]];
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
    ['lives', livesIn(backingKey)],
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

function livesIn({ residency, domainKeyId, formerDomainKeyIds, wrappedBytes }: Members): string {
  const isMoved = typeof formerDomainKeyIds === 'string' && formerDomainKeyIds !== '';
  const copies = isMoved ? `; copies from before it came there are under ${formerDomainKeyIds}` : '';
  if (residency !== 'wrapped') return `in the token${copies}`;
  return `in the metadata: ${wrappedBytes} bytes that the token wrapped under the domain key ${domainKeyId}${copies}`;
}
