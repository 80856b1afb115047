/**
 * `age-plugin-drawbridge`: age's recipients and identities whose key is in the HSM.
 *
 * age starts it with `--age-plugin=…`; people make keys with `--generate`. The socket is the environment's (DRAWBRIDGE_SOCKET), the
 * configuration's or the usual one, because age hands on no options. It loads no library that parses command lines: age waits for it.
 */

import { parseArgs } from 'node:util';
import { connectTo, socketOfEnvironment } from '../requests/configured-daemon.ts';
import type { KmsClient, Members } from '../requests/kms-client.ts';
import { describeError, UsageError } from '../terminal/cli-error.ts';
import { note, print } from '../terminal/output.ts';
import { identityOf, recipientOf } from './age-names.ts';
import { AgeStanzas } from './age-stanzas.ts';
import { unwrapFileKeys, wrapFileKeys } from './age-wrapping.ts';

const help = `Usage: age-plugin-drawbridge --generate [--alias ALIAS]
       age-plugin-drawbridge --identity KEY
       age-plugin-drawbridge --recipient KEY

Encrypts files with age under a key in the HSM. An identity holds no secret: whoever may use the key can decrypt.

  --generate       make a key, and print its identity as age's -i takes it
  --alias <alias>  with --generate: an alias for the key
  --identity <key> print the identity of a key: key id, key ARN, alias/NAME or alias ARN
  --recipient <key> print the recipient of a key, as age's -r takes it
  --help           print help

Examples:
  age-plugin-drawbridge --generate --alias alias/age > identity.txt
  age --encrypt --recipient "$(age-plugin-drawbridge --recipient alias/age)" notes.txt > notes.age
  age --decrypt --identity identity.txt notes.age
  age --decrypt -j drawbridge notes.age

Environment: DRAWBRIDGE_SOCKET is the daemon's socket.`;

const conversations = new Map([
  ['recipient-v1', wrapFileKeys],
  ['identity-v1', unwrapFileKeys],
]);

/** @param words The command line's. Sets the exit code: 0 done, 1 failed, 2 the command line was not understood. */
export async function runAgePlugin(words: readonly string[]): Promise<void> {
  try {
    await run(words);
  } catch (error) {
    note(`age-plugin-drawbridge: ${describeError(error)}`);
    process.exitCode = error instanceof UsageError ? 2 : 1;
  }
}

async function run(words: readonly string[]): Promise<void> {
  const { 'age-plugin': conversation, generate, alias, identity, recipient, help: asksHelp } = parsed(words);
  if (asksHelp) return print(help);
  const asked = [conversation, generate, identity, recipient].filter((value) => value !== undefined);
  if (asked.length !== 1) throw new UsageError('give one of --generate, --identity and --recipient; see --help');
  if (alias !== undefined && generate === undefined) throw new UsageError('--alias goes with --generate');
  const client = await connectTo(socketOfEnvironment());
  if (conversation !== undefined) return converse(client, conversation);
  if (recipient !== undefined) return print(recipientOf(await symmetricKey(client, recipient)));
  const keyArn = identity === undefined ? await makeKey(client, alias) : await symmetricKey(client, identity);
  print(`# key: ${keyArn}\n# recipient: ${recipientOf(keyArn)}\n${identityOf(keyArn)}`);
}

function parsed(words: readonly string[]) {
  try {
    return parseArgs({
      args: [...words],
      options: {
        'age-plugin': { type: 'string' },
        generate: { type: 'boolean' },
        alias: { type: 'string' },
        identity: { type: 'string' },
        recipient: { type: 'string' },
        help: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(`${describeError(error)}; see --help`);
  }
}

async function converse(client: KmsClient, name: string): Promise<void> {
  const conversation = conversations.get(name);
  if (conversation === undefined) throw new UsageError(`\`${name}\` is no conversation that this plugin knows`);
  // age interrupts its plugins as soon as it has heard the last word.
  process.on('SIGINT', () => undefined);
  process.stdout.on('error', () => process.exit(0)); // It has gone.
  await conversation(new AgeStanzas(process.stdin, process.stdout), client);
}

async function makeKey(client: KmsClient, alias: string | undefined): Promise<string> {
  const { createKey } = await import('../commands/keys/make-key.ts');
  const options = alias === undefined ? {} : { alias };
  return String((await createKey(client, options, { Description: 'file keys of age' }))['Arn']);
}

/** The ARN, which does not move on to another key as an alias does. @throws Error for a key that age cannot use. */
async function symmetricKey(client: KmsClient, key: string): Promise<string> {
  const { KeyMetadata } = await client.call('DescribeKey', { KeyId: key });
  const { Arn, KeySpec } = KeyMetadata as Members;
  if (KeySpec !== 'SYMMETRIC_DEFAULT')
    throw new Error(`\`${key}\` is a key of ${KeySpec}; age takes SYMMETRIC_DEFAULT`);
  return String(Arn);
}
