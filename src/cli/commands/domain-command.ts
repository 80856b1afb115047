/** `drawbridge domain`: the keys under which wrapped keys are wrapped, and the HSMs that have them. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { Members } from '../requests/kms-client.ts';
import { domainKeysOf, rewrappingText } from '../requests/rewrapping-text.ts';
import { note, print, printJson, table } from '../terminal/output.ts';
import { acceptCommand } from './domain/accept-command.ts';
import { keyStoresOf, onlyKeyStore } from './domain/chosen-key-store.ts';
import { inviteCommand } from './domain/invite-command.ts';
import { joinCommand } from './domain/join-command.ts';
import { leaveCommand } from './domain/leave-command.ts';
import { showRetired } from './domain/retired-keys.ts';
import { type MemberRotationOptions, rotateMembers } from './domain/rotate-members.ts';

type Options = SocketOptions & { readonly json?: true };

export function domainCommand(): Command {
  return new Command('domain')
    .description('the keys under which wrapped keys are wrapped, and the HSMs that have them')
    .addCommand(showCommand())
    .addCommand(inviteCommand())
    .addCommand(joinCommand())
    .addCommand(acceptCommand())
    .addCommand(leaveCommand())
    .addCommand(rotateCommand());
}

function showCommand(): Command {
  return withJson(
    withSocket(
      new Command('show').description('show the domain keys, how many keys each wraps, and which members have them'),
    ),
  )
    .addHelpText(
      'after',
      `
Of a key store of several members it shows what each of them lacks of the domain's keys, which it gets by joining again
(\`drawbridge domain invite\`, \`join --member\`, \`accept\`). Only the account's root may see it.

Example:
  drawbridge domain show`,
    )
    .action(async (options: Options) => {
      const keyStores = await keyStoresOf(await connectTo(options));
      const rows = keyStores.flatMap(({ name, domainKeys }) =>
        domainKeysOf(domainKeys).map((key) => ({ keyStore: String(name), ...key })),
      );
      const members = keyStores.flatMap(({ name, members: all = [] }) =>
        (all as Members[]).map((member) => ({ ...member, keyStore: String(name), member: member['name'] })),
      );
      if (options.json)
        return printJson(rows.map(({ standing: _, ...row }) => ({ ...row, members: holdersOf(row, members) })));
      if (rows.length === 0) print('there is none: no key was ever wrapped');
      else print(table(['KEY STORE', 'DOMAIN KEY (CKA_ID)', 'STATE', 'MADE', 'WRAPS'], rows.map(rowOf)));
      if (members.length > 0)
        print(table(['KEY STORE', 'MEMBER', 'STATE', 'TOKEN', 'LACKS'], members.map(memberRowOf)));
      for (const domain of domainsOf(keyStores)) note(`one domain: the key stores ${domain}`);
      for (const keyStore of keyStores) {
        const progress = rewrappingText(keyStore);
        if (progress !== null) note(progress);
      }
    });
}

/** Key stores that wrap what is new under the same domain key, each domain once. */
function domainsOf(keyStores: readonly Members[]): ReadonlySet<string> {
  const all = keyStores.map(({ domain = [] }) => [...(domain as string[])].sort());
  return new Set(all.flatMap((names) => (names.length > 1 ? [names.join(', ')] : [])));
}

/** Who has a domain key; `null` of a member of which that is not known. */
function holdersOf(row: Members, members: readonly Members[]): readonly object[] {
  return members
    .filter(({ keyStore }) => keyStore === row['keyStore'])
    .map(({ name, state, lacks }) => ({
      ...{ name, state },
      has: lacks === null ? null : !(lacks as readonly unknown[]).includes(row['backingKeyId']),
    }));
}

/** What it lacks is owed to it: it joins again, by `drawbridge domain join --member`. */
function memberRowOf(member: Members): string[] {
  const { label, serial } = (member['token'] ?? {}) as Members;
  const lacks = member['lacks'] as readonly string[] | null;
  return [
    ...['keyStore', 'member', 'state'].map((name) => String(member[name])),
    label === undefined ? 'never seen' : `${label}, serial ${serial}`,
    lacks === null ? 'not known' : lacks.length === 0 ? 'nothing' : lacks.join(', '),
  ];
}

function rowOf(key: Members): string[] {
  return ['keyStore', 'backingKeyId', 'standing', 'createdAt', 'backingKeys'].map((name) => String(key[name]));
}

function rotateCommand(): Command {
  return withJson(withSocket(new Command('rotate').description('wrap what is new under another domain key')))
    .argument('[key-store]', 'its name in the configuration; the only one if not given')
    .option('--member <name>', 'of a key store of several members: which of them makes it; the first if not given')
    .option(
      '--so-pin-file <file>',
      "with that member's security officer's PIN (mode 0600), where its token wants his trust",
    )
    .option('--retire', 'make none, and destroy the former ones under which nothing is wrapped')
    .addHelpText(
      'after',
      `
What is wrapped already is wrapped anew in the background, where the token does that; \`drawbridge domain show\` says how far it is. A token that
keeps to CKA_EXTRACTABLE (SoftHSM2) does not: there it stays under the former domain key, until its KMS key is moved into the token or deleted, or
imported material is deleted and imported again. Once nothing is wrapped under a former domain key, --retire destroys it, and with it whatever
old copies of the metadata have that was wrapped under it: make new backups first, and be sure that no old one is needed. Exit code 1 of --retire says that one
stays, and why. Only the account's root may; it is on record.
In a key store of several members all of them have to be there: the new key is in each of them before anything is wrapped under it, or there
is none. A member that stays away has to leave first (\`drawbridge domain leave\`). An HSM that joined on another machine joins again.

Examples:
  drawbridge domain rotate
  drawbridge domain rotate --so-pin-file /media/officer/so-pin --config /etc/drawbridge/drawbridge.yaml
  drawbridge domain rotate --retire`,
    )
    .action(async (named: string | undefined, options: Options & MemberRotationOptions & { retire?: true }) => {
      const client = await connectTo(options);
      const keyStore = named ?? (await onlyKeyStore(client));
      const { members = [], domain = [] } = (await keyStoresOf(client)).find(({ name }) => name === keyStore) ?? {};
      const isGiven = (members as Members[]).length > 1 || (domain as string[]).length > 1;
      const act = options.retire ? 'retire' : 'rotate';
      const answer =
        !options.retire && isGiven
          ? await rotateMembers(client, keyStore, options)
          : await client.post(`/domains/${encodeURIComponent(keyStore)}/${act}`, {});
      if (options.retire && (answer['needed'] as readonly unknown[]).length > 0) process.exitCode = 1;
      if (options.json) return printJson(answer);
      if (options.retire) showRetired(answer);
      else
        print(`the key store \`${keyStore}\` wraps what is new under the domain key ${String(answer['domainKeyId'])}`);
    });
}
