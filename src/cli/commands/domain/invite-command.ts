/** `drawbridge domain invite`: the invitation with which another HSM asks for the keys of a domain. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { note, print, printJson } from '../../terminal/output.ts';
import { joinChoices, onlyKeyStore } from './chosen-key-store.ts';
import { openDomainFile } from './domain-files.ts';

type Options = SocketOptions & { readonly out: string; readonly json?: true };

export function inviteCommand(): Command {
  return withJson(withSocket(new Command('invite').description('write the invitation with which another HSM joins')))
    .argument('[key-store]', 'its name in the configuration; the only one if not given')
    .requiredOption('--out <file>', 'where to')
    .addHelpText(
      'after',
      `
An HSM that has joined can use every wrapped key of the key store, and verify and open all that Drawbridge keeps: it gets the domain keys and
the service keys. One that is the token of another key store beside this daemon (\`join --key-store\`) gets the domain keys alone, and then serves what the two
share, such as multi-Region keys of its Region (\`drawbridge reconnect\` has the daemon look). Keys that are objects in a token (\`residency: token\`) stay in that token alone.

  1. here      drawbridge domain invite --out invitation        (a running daemon)
  2. there     drawbridge domain join invitation --out request  (beside the other HSM; prints a fingerprint)
  3. here      drawbridge domain accept request --out response  (asks for that fingerprint)
  4. there     drawbridge domain join response

On another machine \`drawbridge init --to-join\` makes what step 2 needs, a configuration and an HSM without keys of its own; afterwards a backup
is restored there.
Somebody carries the files. None of them is a secret, and none has to be kept: what protects them is the fingerprint, which has to be read
where it was printed and not from a file that came along. The invitation is good for 7 days, and until the domain key is rotated. Only the
account's root may make one; it is on record.
Domain keys and service keys of SoftHSM2 leave it once its security officer trusts the other HSM's public key; service keys that a version
before this command made there stay in it for ever.

Example:
  drawbridge domain invite --out invitation`,
    )
    .action(async (named: string | undefined, options: Options) => {
      const client = await connectTo(options);
      const keyStore = named ?? (await onlyKeyStore(client));
      const file = await openDomainFile(options.out);
      let made: Awaited<ReturnType<typeof client.post>>;
      try {
        made = await client.post(`/domains/${encodeURIComponent(keyStore)}/invite`, {});
      } catch (error) {
        await file.abandon();
        throw error;
      }
      await file.write(String(made['invitation']));
      if (options.json) return printJson({ keyStore, invitationId: made['invitationId'], path: options.out });
      print(`wrote \`${options.out}\`, an invitation into the domain of the key store \`${keyStore}\``);
      const choices = await joinChoices(client, keyStore);
      note(`next, beside the other HSM: drawbridge domain join ${options.out} --out FILE${choices}`);
    });
}
