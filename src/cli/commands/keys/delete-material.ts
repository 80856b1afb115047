/** `drawbridge keys delete-material`: takes imported key material out of the HSM; the key, its names and its policy stay. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { lastUsageOf } from '../../requests/key-facts.ts';
import { keyArgument, withoutAlias } from '../../requests/key-names.ts';
import { UsageError } from '../../terminal/cli-error.ts';
import { note, print, printJson } from '../../terminal/output.ts';
import { canAsk, confirm } from '../../terminal/questions.ts';
import { lastUsageText } from './key-texts.ts';

interface Options extends SocketOptions {
  readonly material?: string;
  readonly yes?: true;
  readonly json?: true;
}

export function deleteMaterialCommand(): Command {
  const command = new Command('delete-material').description('delete imported key material, and keep the key');
  return withJson(withSocket(command))
    .argument(...keyArgument)
    .option('--material <id>', 'the key material id; without it, the current key material')
    .option('--yes', 'do not ask; needed where there is no terminal')
    .addHelpText(
      'after',
      `
At once the key is pending import, and what was encrypted under it cannot be decrypted, until the same key material is imported
again: whoever has no copy of it has lost it. \`drawbridge keys rotation\` lists the ids.

Examples:
  drawbridge keys delete-material alias/brought
  drawbridge keys delete-material alias/brought --yes`,
    )
    .action(async (key: string, options: Options) => {
      const { material, yes, json } = options;
      if (!yes && !canAsk()) throw new UsageError('nobody is there to be asked; --yes deletes it all the same');
      const client = await connectTo(options);
      const keyId = await withoutAlias(client, key);
      if (!yes) {
        const which = material === undefined ? 'its current key material' : `the key material ${material}`;
        note(`last use of ${keyId}: ${lastUsageText(await lastUsageOf(client, keyId))}`);
        note('without key material that it needs a key cannot be used; only the same, imported again, makes up for it');
        if (!(await confirm(`Delete ${which}?`))) throw new Error('nothing was changed');
      }
      const answer = await client.call('DeleteImportedKeyMaterial', {
        KeyId: keyId,
        ...(material === undefined ? {} : { KeyMaterialId: material }),
      });
      if (json) return printJson(answer);
      const id = answer['KeyMaterialId'];
      print(`${keyId} no longer has ${id === undefined ? 'its key material' : `the key material ${id}`}`);
    });
}
