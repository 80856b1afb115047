/** `drawbridge access-keys`: long-lived access keys for the loopback listener, made, listed and revoked by the account's root. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { Members } from '../requests/kms-client.ts';
import { facts, note, print, printJson, table } from '../terminal/output.ts';

type Options = SocketOptions & { readonly json?: true };

export function accessKeysCommand(): Command {
  return new Command('access-keys')
    .description('access keys for programs that sign their requests')
    .addCommand(createCommand())
    .addCommand(listCommand())
    .addCommand(revokeCommand())
    .addHelpText(
      'after',
      `
An access key is good until it is revoked, and whoever has its secret is its principal. Prefer short-lived
credentials where a program runs as a Unix user of its own: see \`drawbridge credentials --help\`.
Only the account's root may use these commands, and only over the socket.`,
    );
}

function createCommand(): Command {
  return withJson(withSocket(new Command('create').description('make an access key; its secret is shown this once')))
    .requiredOption('--principal <arn>', 'whose requests it signs: arn:aws:iam::ACCOUNT:user/NAME, or …:root')
    .addHelpText(
      'after',
      `
Example, straight into the file that AWS's tools read:
  drawbridge access-keys create --principal arn:aws:iam::000000000000:user/app --json |
    jq -r '"[app]\\naws_access_key_id = \\(.AccessKeyId)\\naws_secret_access_key = \\(.SecretAccessKey)"' >> ~/.aws/credentials`,
    )
    .action(async ({ principal, ...options }: Options & { principal: string }) => {
      const client = await connectTo(options);
      const key = await client.post('/access-keys', { Principal: principal });
      if (options.json) return printJson(key);
      print(
        facts([
          ['access key id', String(key['AccessKeyId'])],
          ['secret access key', String(key['SecretAccessKey'])],
          ['principal', String(key['Principal'])],
        ]),
      );
      note('the secret is not shown again');
    });
}

function listCommand(): Command {
  return withJson(withSocket(new Command('list').description('list all access keys, without their secrets')))
    .addHelpText(
      'after',
      `
Examples:
  drawbridge access-keys list
  drawbridge access-keys list --json | jq -r '.[].AccessKeyId'`,
    )
    .action(async (options: Options) => {
      const keys = (await (await connectTo(options)).get('/access-keys'))['AccessKeys'] as Members[];
      if (options.json) return printJson(keys);
      if (keys.length === 0) return note('there are no access keys; `drawbridge access-keys create` makes one');
      print(table(['ACCESS KEY ID', 'CREATED', 'PRINCIPAL'], keys.map(row)));
    });
}

function row(key: Members): string[] {
  return [String(key['AccessKeyId']), String(key['CreateDate']), String(key['Principal'])];
}

function revokeCommand(): Command {
  return withSocket(new Command('revoke').description('revoke an access key, at once and for ever'))
    .argument('<id>', 'the access key id')
    .addHelpText(
      'after',
      `
Example:
  drawbridge access-keys revoke AKIAIOSFODNN7EXAMPLE`,
    )
    .action(async (id: string, options: SocketOptions) => {
      await (await connectTo(options)).delete(`/access-keys/${encodeURIComponent(id)}`);
    });
}
