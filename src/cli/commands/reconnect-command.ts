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
    .addHelpText(
      'after',
      `
A token locks itself after a few wrong PINs, so the daemon never tries a refused one again by itself: "drawbridge status"
then shows the state pinRefused. Put the right PIN where the configuration says, and run this; the PIN is tried once.
Only the account's root may.

Example:
  drawbridge reconnect`,
    )
    .action(async (named: string | undefined, options: Options) => {
      const client = await connectTo(options);
      const keyStore = named ?? (await onlyKeyStore(client));
      const answer = await client.post(`/key-stores/${encodeURIComponent(keyStore)}/reconnect`, {});
      if (options.json) return printJson(answer);
      print(`the key store \`${keyStore}\` is ${String(answer['state'])}`);
    });
}

async function onlyKeyStore(client: KmsClient): Promise<string> {
  const keyStores = (await client.get('/status'))['keyStores'] as Members[];
  const [only, ...others] = keyStores.map(({ name }) => String(name));
  if (only !== undefined && others.length === 0) return only;
  throw new UsageError(`there are several key stores; name one of ${[only, ...others].join(', ')}`);
}
