/** `drawbridge domain leave`: a member gets nothing of what is new. */

import { Command } from 'commander';
import { connectTo, withJson, withSocket } from '../../requests/command-options.ts';
import type { Members } from '../../requests/kms-client.ts';
import { note, print, printJson } from '../../terminal/output.ts';
import { onlyKeyStore } from './chosen-key-store.ts';
import { type MemberRotationOptions, rotateMembers } from './rotate-members.ts';

export function leaveCommand(): Command {
  return withJson(
    withSocket(
      new Command('leave').description('have members of a key store, or another key store, leave their domain'),
    ),
  )
    .argument('<leaver...>', 'their names in the configuration')
    .option('--key-store <name>', 'whose members they are, or which stays; the only one if not given')
    .option('--member <name>', 'which of the others makes the new domain key; the first if not given')
    .option(
      '--so-pin-file <file>',
      "with that member's security officer's PIN (mode 0600), where its token wants his trust",
    )
    .option('--yes', 'accept that keys are lost which are in one alone that is not there, or has left')
    .addHelpText(
      'after',
      `
The members that stay get a new domain key, under which what is new is wrapped from then on; all of them have to be there. The one that
leaves does not get it, which is on record: from then on nothing is served by it, whenever it comes back and whatever it is called. If it is there, all of
Drawbridge's keys in it are destroyed; take it out of the configuration. One that was not there is seen when it comes back (state \`left\`), and the same
command, repeated, empties it and makes no other key; of one that holds none of our keys any more it says that. Members that are away leave by one command together. Keys that are objects in it alone have to be moved first (\`drawbridge keys move\`); where it is not there, and may have the only
objects of keys, how many these are is said, and --yes accepts that they are lost.
If it is not there (it was stolen, or has failed), whoever has it and its PIN still can, with a copy of the metadata, use what was wrapped until
now, and open the secrets of access keys; with its service keys he can make credentials of sessions of roles. Then rotate the keys that matter
(\`RotateKeyOnDemand\`), make other access keys and revoke the former ones. Only the account's root may; it is on record.

Another key store of the domain leaves in the same way. Multi-Region keys that are used on both sides hold it back: delete their replicas on one side first.
What is wrapped in it already stays under the domain keys that it had: give it one of its own (\`drawbridge domain rotate LEAVER\`), and have it leave
once more when nothing that it serves is under the others any more; then these are destroyed in it.

Examples:
  drawbridge domain leave second
  drawbridge domain leave second third --yes
  drawbridge domain leave annex --key-store default
  drawbridge domain leave second --so-pin-file /media/officer/so-pin --config /etc/drawbridge/drawbridge.yaml`,
    )
    .action(
      async (
        leavers: string[],
        options: MemberRotationOptions & { readonly keyStore?: string; readonly json?: true },
      ) => {
        const client = await connectTo(options);
        const keyStore = options.keyStore ?? (await onlyKeyStore(client, '--key-store'));
        const done = await rotateMembers(client, keyStore, options, leavers);
        if (options.json) return printJson({ keyStore, ...done });
        for (const left of done['allLeft'] as readonly Members[]) {
          const domainKey = `the domain key ${String(done['domainKeyId'])}`;
          print(`\`${left['member']}\` has left: what is new in \`${keyStore}\` is wrapped under ${domainKey}`);
          note(whatIsIn(left));
        }
      },
    );
}

/** What of ours is in one that has left. */
function whatIsIn({ member, isEmpty, inUse, heldNothing }: Members): string {
  if (isEmpty) return `our keys in it are destroyed${inUse === undefined ? '; take it out of the configuration' : ''}`;
  if (inUse !== undefined)
    return `${inUse} domain keys of the others stay in it, under which something is wrapped that it serves: give it one of its own (drawbridge domain rotate ${member}), and have it leave again later`;
  if (heldNothing)
    return 'the token that is in its place holds none of our keys: it was emptied before, or it is another token, and the one that left has what it had; take it out of the configuration';
  return 'it is not there, and has what it had: `drawbridge domain leave --help` tells what that means; take it out of the configuration, unless it is to be emptied when it is back';
}
