/**
 * `drawbridge keys rotate | rotation`: new current key material for a symmetric key, now or by itself.
 *
 * Former material stays and decrypts what was encrypted under it. The operations take no aliases, so one is looked up first.
 */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../../requests/command-options.ts';
import { materialsOf, metadataOf, rotationOf } from '../../requests/key-facts.ts';
import { keyArgument, withoutAlias } from '../../requests/key-names.ts';
import type { KmsClient, Members } from '../../requests/kms-client.ts';
import { ApiError, UsageError } from '../../terminal/cli-error.ts';
import { facts, note, print, printJson } from '../../terminal/output.ts';
import { wholeNumber } from './change-key.ts';
import { materialTable, notShown, rotationText } from './key-texts.ts';

type Options = SocketOptions & { readonly json?: true };

export function rotateCommand(): Command {
  return withJson(withSocket(new Command('rotate').description('give a symmetric key new key material now')))
    .argument(...keyArgument)
    .addHelpText(
      'after',
      `
What is encrypted from now on is encrypted under the new key material; what was encrypted before is still decrypted. Names,
policy and the dates of automatic rotation stay. A key with imported material is rotated to what \`drawbridge keys import --new\`
brought. A key can be rotated on demand 25 times.

Example:
  drawbridge keys rotate alias/backup`,
    )
    .action(async (key: string, options: Options) => {
      const client = await connectTo(options);
      const keyId = await withoutAlias(client, key);
      const answer = await rotating(client.call('RotateKeyOnDemand', { KeyId: keyId }));
      if (options.json) return printJson(answer);
      const material = (await metadataOf(client, keyId))?.['CurrentKeyMaterialId'];
      print(`${keyId} is rotated${material === undefined ? '' : ` to the key material ${material}`}`);
    });
}

interface RotationOptions extends Options {
  readonly enable?: true;
  readonly period?: number;
  readonly disable?: true;
}

export function rotationCommand(): Command {
  const command = new Command('rotation').description(
    'show or change how a symmetric key is rotated by itself, and list its key material',
  );
  return withJson(withSocket(command))
    .argument(...keyArgument)
    .option('--enable', 'have it rotated by itself from now on, or with another period')
    .option('--period <days>', 'with --enable: 90 to 2,560 days; 365 if not given', wholeNumber)
    .option('--disable', 'have it no longer rotated by itself')
    .addHelpText(
      'after',
      `
Without an option it shows whether and when the key is rotated, and all key material that it has or had, the oldest first.
The first rotation is one period after --enable. Keys with imported material are rotated on demand alone.

Examples:
  drawbridge keys rotation alias/backup
  drawbridge keys rotation alias/backup --enable --period 90
  drawbridge keys rotation alias/backup --json | jq '.Rotations | length'`,
    )
    .action(async (key: string, options: RotationOptions) => {
      const { enable, disable, period, json } = options;
      if (enable && disable) throw new UsageError('give --enable or --disable');
      if (period !== undefined && !enable) throw new UsageError('--period says how often: give --enable too');
      const client = await connectTo(options);
      const keyId = await withoutAlias(client, key);
      if (!enable && !disable) return showRotation(client, keyId, json);
      const members = { KeyId: keyId, ...(period === undefined ? {} : { RotationPeriodInDays: period }) };
      const answer = await rotating(client.call(enable ? 'EnableKeyRotation' : 'DisableKeyRotation', members));
      if (json) return printJson(answer);
      if (disable) return print(`${keyId} is no longer rotated by itself`);
      const rotation = await rotationOf(client, keyId);
      print(`${keyId} is rotated ${rotation === null ? 'by itself' : rotationText(rotation)}`);
    });
}

/** AWS's refusal has a name and no words. */
async function rotating(answer: Promise<Members>): Promise<Members> {
  try {
    return await answer;
  } catch (error) {
    // Of a replica the words say what there is to do.
    const isPlain = error instanceof ApiError && !error.message.includes('multi-Region replica key');
    if (isPlain && error.type === 'UnsupportedOperationException') {
      note(
        'only symmetric encryption keys are rotated; those with imported key material on demand alone, and none in a key store other than the default one',
      );
    }
    throw error;
  }
}

/** Whoever may see one of the two sees that one. */
async function showRotation(client: KmsClient, keyId: string, json: true | undefined): Promise<void> {
  const rotation = await rotationOf(client, keyId);
  const materials = await materialsOf(client, keyId);
  if (rotation === null && materials === null) {
    // Refused once more, in the daemon's words.
    await client.call('GetKeyRotationStatus', { KeyId: keyId });
  }
  if (json) return printJson({ KeyId: keyId, ...rotation, Rotations: materials });
  print(
    facts([
      ['key', keyId],
      ['rotated', rotationText(rotation)],
    ]),
  );
  if (materials === null) note(`its key material is ${notShown}`);
  else if (materials.length > 0) print(`\n${materialTable(materials)}`);
}
