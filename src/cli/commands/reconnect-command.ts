/** `drawbridge reconnect`: lets the daemon log into its token again, after it had refused the PIN. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { KmsClient, Members } from '../requests/kms-client.ts';
import { UsageError } from '../terminal/cli-error.ts';
import { print, printJson } from '../terminal/output.ts';

type Options = SocketOptions & { readonly json?: true };

export function reconnectCommand(): Command {
  return withJson(withSocket(new Command('reconnect').description('log into the token again, after a refused PIN')))
    .argument('[key-store]', 'its name in the configuration; the only one if not given')
    .argument('[member]', 'of a key store with several members, the one; all that are left alone if not given')
    .addHelpText(
      'after',
      `
A token locks itself after a few wrong PINs, so the daemon never tries a refused one again by itself: "drawbridge status"
then shows the state pinRefused. Put the right PIN where the configuration says, and run this; the PIN is tried once.
A member of a key store that holds none of its keys (state notOurs) is left alone as well: put the right token back first.
Only the account's root may.

Examples:
  drawbridge reconnect
  drawbridge reconnect default second`,
    )
    .action(async (named: string | undefined, member: string | undefined, options: Options) => {
      const client = await connectTo(options);
      const keyStore = named ?? (await onlyKeyStore(client));
      const path = ['key-stores', keyStore, ...(member === undefined ? [] : ['members', member]), 'reconnect'];
      const answer = await client.post(`/${path.map(encodeURIComponent).join('/')}`, {});
      if (options.json) return printJson(answer);
      const what =
        member === undefined ? `the key store \`${keyStore}\`` : `the member \`${member}\` of \`${keyStore}\``;
      print(`${what} is ${String(answer['state'])}`);
    });
}

async function onlyKeyStore(client: KmsClient): Promise<string> {
  const keyStores = (await client.get('/status'))['keyStores'] as Members[];
  const [only, ...others] = keyStores.map(({ name }) => String(name));
  if (only !== undefined && others.length === 0) return only;
  throw new UsageError(`there are several key stores; name one of ${[only, ...others].join(', ')}`);
}
