/** `drawbridge domain`: the keys under which wrapped keys are wrapped, and the HSMs that have them. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { Members } from '../requests/kms-client.ts';
import { note, print, printJson, table } from '../terminal/output.ts';
import { acceptCommand } from './domain/accept-command.ts';
import { keyStoresOf, onlyKeyStore } from './domain/chosen-key-store.ts';
import { inviteCommand } from './domain/invite-command.ts';
import { joinCommand } from './domain/join-command.ts';

type Options = SocketOptions & { readonly json?: true };

export function domainCommand(): Command {
  return new Command('domain')
    .description('the keys under which wrapped keys are wrapped, and the HSMs that have them')
    .addCommand(showCommand())
    .addCommand(inviteCommand())
    .addCommand(joinCommand())
    .addCommand(acceptCommand())
    .addCommand(rotateCommand());
}

function showCommand(): Command {
  return withJson(withSocket(new Command('show').description('show the domain keys, and how many keys each wraps')))
    .addHelpText(
      'after',
      `
Only the account's root may see it.

Example:
  drawbridge domain show`,
    )
    .action(async (options: Options) => {
      const keyStores = await keyStoresOf(await connectTo(options));
      const rows = keyStores.flatMap(({ name, domainKeys }) =>
        (domainKeys as Members[]).map((key) => ({ keyStore: String(name), ...key })),
      );
      if (options.json) return printJson(rows);
      if (rows.length === 0) return print('there is none: no key was ever wrapped');
      print(table(['KEY STORE', 'DOMAIN KEY (CKA_ID)', 'STATE', 'MADE', 'WRAPS'], rows.map(rowOf)));
    });
}

function rowOf(key: Members): string[] {
  return ['keyStore', 'backingKeyId', 'state', 'createdAt', 'backingKeys'].map((name) => String(key[name]));
}

function rotateCommand(): Command {
  return withJson(withSocket(new Command('rotate').description('wrap what is new under another domain key')))
    .argument('[key-store]', 'its name in the configuration; the only one if not given')
    .option('--retire', 'make none, and destroy the former ones under which nothing is wrapped')
    .addHelpText(
      'after',
      `
What is wrapped already stays under the former domain key: a token that lets nothing out again wraps it under no other. A key gets new
material under the new one when it is rotated, and leaves the former one when it is deleted. Once nothing is wrapped under a former domain key,
--retire destroys it, and with it whatever old copies of the metadata have that was wrapped under it: make new backups first, and be
sure that no old one is needed. Only the account's root may; it is on record.

Examples:
  drawbridge domain rotate
  drawbridge domain rotate --retire`,
    )
    .action(async (named: string | undefined, options: Options & { retire?: true }) => {
      const client = await connectTo(options);
      const keyStore = named ?? (await onlyKeyStore(client));
      const act = options.retire ? 'retire' : 'rotate';
      const answer = await client.post(`/domains/${encodeURIComponent(keyStore)}/${act}`, {});
      if (options.json) return printJson(answer);
      if (options.retire) showRetired(answer);
      else
        print(`the key store \`${keyStore}\` wraps what is new under the domain key ${String(answer['domainKeyId'])}`);
    });
}

function showRetired({ retired, needed }: Members): void {
  for (const id of retired as string[]) print(`the domain key ${id} is gone`);
  for (const { domainKeyId, backingKeys } of needed as Members[])
    note(`the domain key ${domainKeyId} stays: ${backingKeys} backing keys are wrapped under it`);
  if ((retired as string[]).length === 0) print('nothing was retired');
}
