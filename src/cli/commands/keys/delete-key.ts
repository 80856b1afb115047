/**
 * `drawbridge keys delete`: schedules the deletion of a key, after the person has seen what will break with it.
 *
 * What can be known of that: the names that lead to the key, who was granted its use, when it was used last and for what. At a
 * terminal the person types a name of the key, so that it is this key and no other. Elsewhere nobody is asked and nothing is looked up:
 * scripts call this as they call AWS, and until the date comes a deletion can be cancelled.
 */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { aliasesOf, grantsOf, lastUsageOf, metadataOf, tagsOf } from '../../requests/key-facts.ts';
import { keyArgument, withoutAlias } from '../../requests/key-names.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { facts, note, print, printable, printJson, timeText } from '../../terminal/output.ts';
import { ask, canAsk } from '../../terminal/questions.ts';
import { whatDeletionDoes, wholeNumber } from './change-key.ts';
import { lastUsageText, multiRegionFacts, notShown } from './key-texts.ts';

interface Options extends SocketOptions {
  readonly window?: number;
  readonly dryRun?: true;
  readonly yes?: true;
  readonly json?: true;
}

export function deleteCommand(): Command {
  const command = new Command('delete').description('show what a key is in use for, and schedule its deletion');
  return withJson(withSocket(command))
    .argument(...keyArgument)
    .option('--window <days>', 'the waiting period, 7 to 30 days; 30 if not given', wholeNumber)
    .option('--dry-run', 'show what the key is in use for, and change nothing')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      `
From now on the key cannot be used. When its date comes, its material is destroyed in the HSM, and its
aliases and grants go with it. Until then, "drawbridge keys cancel-deletion" keeps the key.
The primary key of a multi-Region key waits until its replicas are deleted, each by this command in its Region; its waiting period
begins then.
Of a wrapped key ("lives in the metadata" in "drawbridge keys show") backups and other copies of the metadata keep the material, for
whoever has the HSM too, until its domain key is gone: "drawbridge status" counts such deletions, and "drawbridge domain rotate", with
--retire once it is done, makes them final.

At a terminal it first shows what breaks: the key's aliases, who has grants for it, when it was used last; and asks for the key's
alias or id to be typed. Without a terminal, and with --yes, nobody is asked, as scripts expect; --dry-run shows the same.

Examples:
  drawbridge keys delete alias/backup
  drawbridge keys delete alias/backup --dry-run --json | jq .Grants
  drawbridge keys delete alias/backup --window 7 --yes`,
    )
    .action(async (key: string, options: Options) => {
      const client = await connectTo(options);
      const keyId = await withoutAlias(client, key);
      if (options.dryRun) {
        const use = await useOf(client, keyId);
        const { key: metadata, ...rest } = use;
        return options.json ? printJson({ ...metadata, ...rest }) : print(describeUse(use));
      }
      if (!options.yes && canAsk()) await assertConfirmed(key, await useOf(client, keyId));
      const window = options.window === undefined ? {} : { PendingWindowInDays: options.window };
      const answer: Members = await client.call('ScheduleKeyDeletion', { KeyId: keyId, ...window });
      if (options.json) return printJson(answer);
      // A primary key waits for its replicas, and has no date before they are gone.
      if (answer['DeletionDate'] === undefined) {
        const days = answer['PendingWindowInDays'];
        print(`${keyId} is pending the deletion of its replicas, and is deleted ${days} days after the last of them`);
        note('delete these in their Regions; until then, `drawbridge keys cancel-deletion` keeps the key');
        return;
      }
      print(`${keyId} is pending deletion, on ${timeText(answer['DeletionDate'])}`);
      note(whatDeletionDoes);
    });
}

/** What a key is in use for, as far as this caller may know: `null` is what is not shown. */
type KeyUse = Awaited<ReturnType<typeof useOf>>;

async function useOf(client: KmsClient, keyId: string) {
  const [metadata, Aliases, Grants, Tags, LastUsage] = await Promise.all([
    metadataOf(client, keyId),
    aliasesOf(client, keyId),
    grantsOf(client, keyId),
    tagsOf(client, keyId),
    lastUsageOf(client, keyId),
  ]);
  const key: Members = metadata ?? { KeyId: keyId };
  return { key, Aliases, Grants, Tags, LastUsage };
}

function describeUse({ key, Aliases, Grants, Tags, LastUsage }: KeyUse): string {
  const text = (name: string): string => String((key[name] ?? notShown) || '-');
  return facts([
    ['key', text('KeyId')],
    ['description', text('Description')],
    ['state', text('KeyState')],
    ['spec', text('KeySpec')],
    ['usage', text('KeyUsage')],
    ...multiRegionFacts(key),
    ...lines('tags', Tags, (tag) => `${tag['TagKey']}=${tag['TagValue']}`),
    ['last use', lastUsageText(LastUsage)],
    ...lines('aliases', Aliases, (alias) => `${alias}, which is deleted with the key`),
    ...lines('grants', Grants, (grant) => `${granteeOf(grant)}: ${(grant['Operations'] as string[]).join(' ')}`),
  ]);
}

function lines<Item>(
  name: string,
  items: readonly Item[] | null,
  text: (item: Item) => string,
): Parameters<typeof facts>[0] {
  const texts = items === null ? [notShown] : items.map(text);
  return (texts.length === 0 ? ['-'] : texts).map((line, index) => [index === 0 ? name : '', line]);
}

function granteeOf(grant: Members): string {
  return String(grant['GranteePrincipal'] ?? grant['GranteeServicePrincipal']);
}

/** @throws Error when something else was typed than a name of this key. */
async function assertConfirmed(asked: string, use: KeyUse): Promise<void> {
  note(`${describeUse(use)}\n`);
  const { key, Aliases } = use;
  const names = new Set([asked, key['KeyId'], key['Arn'], ...(Aliases ?? [])]);
  const typed = await ask(`To have it deleted, type ${printable(asked)} (or another alias of it, or its id): `);
  if (!names.has(typed)) throw new Error('this is no name of the key: nothing was changed');
}
