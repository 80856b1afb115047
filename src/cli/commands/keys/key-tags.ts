/** `drawbridge keys tag | untag`: tags, which policies can ask for. */

import { Command } from 'commander';
import { collectPairs, connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { keyArgument, withoutAlias } from '../../requests/key-names.ts';
import { print, printable, printJson } from '../../terminal/output.ts';

type Options = SocketOptions & { readonly json?: true };

export function tagCommand(): Command {
  return withJson(withSocket(new Command('tag').description('put tags on a key, or other values to its tags')))
    .argument(...keyArgument)
    .argument('<name=value...>', 'the tags', collectPairs)
    .addHelpText(
      'after',
      `
Policies can ask for tags (aws:ResourceTag): a tag may give or take permissions, at once.

Example:
  drawbridge keys tag alias/backup owner=ops cost-centre=4711`,
    )
    .action(async (key: string, tags: Readonly<Record<string, string>>, options: Options) => {
      const client = await connectTo(options);
      const keyId = await withoutAlias(client, key);
      const Tags = Object.entries(tags).map(([TagKey, TagValue]) => ({ TagKey, TagValue }));
      const answer = await client.call('TagResource', { KeyId: keyId, Tags });
      if (options.json) printJson(answer);
      else print(`${keyId} is tagged`);
    });
}

export function untagCommand(): Command {
  return withJson(withSocket(new Command('untag').description('take tags off a key')))
    .argument(...keyArgument)
    .argument('<name...>', 'the names of the tags; one that the key does not have is passed over')
    .addHelpText(
      'after',
      `
Example:
  drawbridge keys untag alias/backup owner cost-centre`,
    )
    .action(async (key: string, names: readonly string[], options: Options) => {
      const client = await connectTo(options);
      const keyId = await withoutAlias(client, key);
      const answer = await client.call('UntagResource', { KeyId: keyId, TagKeys: names });
      if (options.json) printJson(answer);
      else print(`${keyId} no longer has these tags: ${names.map(printable).join(', ')}`);
    });
}
