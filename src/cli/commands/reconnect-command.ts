/** `drawbridge reconnect`: lets the daemon log into its token again, after it had refused the PIN. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import { print, printJson } from '../terminal/output.ts';

type Options = SocketOptions & { readonly json?: true };

export function reconnectCommand(): Command {
  return withJson(withSocket(new Command('reconnect').description('log into the token again, after a refused PIN')))
    .argument('[key-store]', 'its name in the configuration', 'default')
    .addHelpText(
      'after',
      `
A token locks itself after a few wrong PINs, so the daemon never tries a refused one again by itself: "drawbridge status"
then shows the state pinRefused. Put the right PIN where the configuration says, and run this; the PIN is tried once.
Only the account's root may.

Example:
  drawbridge reconnect`,
    )
    .action(async (keyStore: string, options: Options) => {
      const client = await connectTo(options);
      const answer = await client.post(`/key-stores/${encodeURIComponent(keyStore)}/reconnect`, {});
      if (options.json) return printJson(answer);
      print(`the key store \`${keyStore}\` is ${String(answer['state'])}`);
    });
}
