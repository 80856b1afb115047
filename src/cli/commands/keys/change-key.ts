/**
 * `drawbridge keys enable | disable | cancel-deletion | set-description`: changes of one key.
 *
 * The operations take no aliases; people do. An alias is looked up first, which takes kms:DescribeKey.
 */

import { Command, InvalidArgumentError } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { metadataOf } from '../../requests/key-facts.ts';
import { keyArgument, withoutAlias } from '../../requests/key-names.ts';
import type { Members } from '../../requests/kms-client.ts';
import { print, printJson } from '../../terminal/output.ts';

type Options = SocketOptions & { readonly json?: true };

/** To be said wherever deletions are shown. */
export const whatDeletionDoes =
  'then its material is destroyed in the HSM, and what it encrypted is lost; until then, `drawbridge keys cancel-deletion` keeps the key';

/** A command that runs one operation on one key, and has nothing to tell but that it is done. */
function simpleCommand(name: string, operation: string, description: string, done: string, example: string): Command {
  return withJson(withSocket(new Command(name).description(description)))
    .argument(...keyArgument)
    .addHelpText('after', `\nExample:\n  ${example}`)
    .action(async (key: string, options: Options) => {
      const client = await connectTo(options);
      const keyId = await withoutAlias(client, key);
      const answer = await client.call(operation, { KeyId: keyId });
      if (options.json) printJson(answer);
      else print(`${keyId} ${done}`);
    });
}

export function enableCommand(): Command {
  return simpleCommand(
    'enable',
    'EnableKey',
    'let a disabled key be used again',
    'is enabled',
    'drawbridge keys enable alias/backup',
  );
}

export function disableCommand(): Command {
  return simpleCommand(
    'disable',
    'DisableKey',
    'keep a key from being used, until it is enabled again',
    'is disabled',
    'drawbridge keys disable alias/backup',
  );
}

export function cancelDeletionCommand(): Command {
  return withJson(withSocket(new Command('cancel-deletion').description('keep a key that is pending deletion')))
    .argument(...keyArgument)
    .addHelpText(
      'after',
      `
The key is disabled then; one whose imported key material is missing waits for it.

Example:
  drawbridge keys cancel-deletion 1234abcd-12ab-34cd-56ef-1234567890ab`,
    )
    .action(async (key: string, options: Options) => {
      const client = await connectTo(options);
      const keyId = await withoutAlias(client, key);
      const answer = await client.call('CancelKeyDeletion', { KeyId: keyId });
      if (options.json) return printJson(answer);
      print(`${keyId} is not deleted, and ${whatIsKept(await metadataOf(client, keyId))}`);
    });
}

/** What became of the key, as far as one may know. */
function whatIsKept(metadata: Members | null): string {
  if (metadata?.['KeyState'] === 'PendingImport') {
    return 'waits for its key material; `drawbridge keys import` brings it';
  }
  return 'is disabled; `drawbridge keys enable` lets it be used again';
}

export function setDescriptionCommand(): Command {
  return withJson(withSocket(new Command('set-description').description('describe a key anew')))
    .argument(...keyArgument)
    .argument('<text>', 'what it is for; may be empty')
    .addHelpText(
      'after',
      `
Example:
  drawbridge keys set-description alias/backup 'nightly backups, since 2026'`,
    )
    .action(async (key: string, text: string, options: Options) => {
      const client = await connectTo(options);
      const keyId = await withoutAlias(client, key);
      const answer = await client.call('UpdateKeyDescription', { KeyId: keyId, Description: text });
      if (options.json) printJson(answer);
      else print(`${keyId} is described anew`);
    });
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}
