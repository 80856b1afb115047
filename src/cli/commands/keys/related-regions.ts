/** `drawbridge keys replicate | set-primary-region`: a multi-Region key in other Regions of the daemon. */

import { Command } from 'commander';
import { collectPairs, connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { keyArgument, withoutAlias } from '../../requests/key-names.ts';
import type { Members } from '../../requests/kms-client.ts';
import { readPolicy } from '../../terminal/input.ts';
import { print, printJson } from '../../terminal/output.ts';

type Options = SocketOptions & { readonly region: string; readonly json?: true };

interface ReplicaOptions extends Options {
  readonly description?: string;
  readonly policy?: string;
  readonly tag?: Readonly<Record<string, string>>;
}

export function replicateCommand(): Command {
  const command = new Command('replicate').description('make a replica of a multi-Region key in another Region');
  return withJson(withSocket(command))
    .argument(...keyArgument)
    .requiredOption('--region <name>', 'where: a Region that the daemon serves')
    .option('--description <text>', 'what the replica is for')
    .option('--policy <file>', "the replica's key policy; without it, the account decides")
    .option('--tag <name=value>', 'a tag of the replica; can be repeated', collectPairs)
    .addHelpText(
      'after',
      `
The replica has the same id and the same key material: what is encrypted in one Region is decrypted in the other. Its policy, grants,
aliases, tags, description and state are its own. The key is asked for where it is the primary key.

Example:
  drawbridge keys replicate alias/orders --region eu-central-1`,
    )
    .action(async (key: string, options: ReplicaOptions) => {
      const client = await connectTo(options);
      const { region, description, policy, tag = {}, json } = options;
      const answer = await client.call('ReplicateKey', {
        KeyId: await withoutAlias(client, key),
        ReplicaRegion: region,
        ...(description === undefined ? {} : { Description: description }),
        ...(policy === undefined ? {} : { Policy: await readPolicy(policy) }),
        Tags: Object.entries(tag).map(([TagKey, TagValue]) => ({ TagKey, TagValue })),
      });
      const replica = answer['ReplicaKeyMetadata'] as Members;
      if (json) printJson(replica);
      else print(String(replica['Arn']));
    });
}

export function setPrimaryRegionCommand(): Command {
  const command = new Command('set-primary-region').description('make a replica the primary key of a multi-Region key');
  return withJson(withSocket(command))
    .argument(...keyArgument)
    .requiredOption('--region <name>', 'where the replica is')
    .addHelpText(
      'after',
      `
The primary key is the one that is rotated and replicated. The former one becomes a replica; both are used meanwhile as ever.

Example:
  drawbridge keys set-primary-region alias/orders --region eu-central-1`,
    )
    .action(async (key: string, options: Options) => {
      const client = await connectTo(options);
      const keyId = await withoutAlias(client, key);
      const answer = await client.call('UpdatePrimaryRegion', { KeyId: keyId, PrimaryRegion: options.region });
      if (options.json) printJson(answer);
      else print(`the primary key of ${keyId} is in ${options.region}`);
    });
}
