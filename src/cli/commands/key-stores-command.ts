/**
 * `drawbridge key-stores`: custom key stores, each over an HSM of the configuration that has no PIN there.
 *
 * The password comes from the terminal or a file, and is no argument: those can be seen by others. On its way to the daemon it is a
 * string of this process, which ends right after.
 */

import { setTimeout as pause } from 'node:timers/promises';
import { Command } from 'commander';
import { type ConnectionErrorCode, isPasswordRefusal } from '../../kms/connection-states.ts';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import { customKeyStoreIdOf, describeCustomKeyStore } from '../requests/key-store-names.ts';
import type { KmsClient, Members } from '../requests/kms-client.ts';
import { UsageError } from '../terminal/cli-error.ts';
import { readPolicy } from '../terminal/input.ts';
import { note, print, printJson, table } from '../terminal/output.ts';
import { askSecret, canAsk } from '../terminal/questions.ts';
import { readSecretFile } from '../terminal/secret-file.ts';

type Options = SocketOptions & { readonly json?: true };

const storeArgument = ['<key-store>', 'its name or its id, cks-…'] as const;
/** AWS's limit is 32 characters, of four bytes at most, and a line end. */
const maxPasswordBytes = 32 * 4 + 2;
const pollMs = 250;

export function keyStoresCommand(): Command {
  return new Command('key-stores')
    .description('create, connect, disconnect, update and delete custom key stores')
    .addCommand(listCommand(), { isDefault: true })
    .addCommand(createCommand())
    .addCommand(connectCommand())
    .addCommand(disconnectCommand())
    .addCommand(updateCommand())
    .addCommand(deleteCommand());
}

function listCommand(): Command {
  return withJson(withSocket(new Command('list').description('list the custom key stores')))
    .addHelpText(
      'after',
      `
Key stores that the configuration names are among them, under their names, but for the default one; \`drawbridge status\` shows more of each.

Examples:
  drawbridge key-stores list
  drawbridge key-stores list --json | jq -r '.[] | select(.ConnectionState == "FAILED").ConnectionErrorCode'`,
    )
    .action(async (options: Options) => {
      const stores = await (await connectTo(options)).list('DescribeCustomKeyStores', 'CustomKeyStores');
      if (options.json) return printJson(stores);
      if (stores.length === 0) return note('there are no custom key stores; `drawbridge key-stores create` makes one');
      const rows = stores.map((store) =>
        ['CustomKeyStoreId', 'CustomKeyStoreName', 'CloudHsmClusterId', 'ConnectionState', 'ConnectionErrorCode'].map(
          (member) => String(store[member] ?? '-'),
        ),
      );
      print(table(['ID', 'NAME', 'HSM', 'STATE', 'ERROR'], rows));
    });
}

function createCommand(): Command {
  return withJson(withSocket(new Command('create').description('make a custom key store over an HSM')))
    .argument('<name>', 'what it is called')
    .requiredOption(
      '--hsm <hsm>',
      'its id, cluster-…, as `drawbridge doctor` shows it, or its name in the configuration',
    )
    .requiredOption('--trust-anchor <file>', 'the certificate that the configuration says of the HSM, in PEM')
    .option('--password-file <file>', "the file with the HSM's PIN, or - for stdin; asked for if not given")
    .addHelpText(
      'after',
      `
The PIN is kept encrypted, under a key of the daemon's HSM. It is presented for the first time when the store is connected.

Example:
  drawbridge key-stores create payments --hsm cluster-1a23b4cdefg --trust-anchor customerCA.crt`,
    )
    .action(async (name: string, options: Options & { hsm: string; trustAnchor: string; passwordFile?: string }) => {
      const certificate = await readPolicy(options.trustAnchor);
      const client = await connectTo(options);
      const answer = await client.call('CreateCustomKeyStore', {
        CustomKeyStoreName: name,
        CloudHsmClusterId: await clusterIdOf(client, options.hsm),
        TrustAnchorCertificate: certificate,
        KeyStorePassword: await password(options.passwordFile),
      });
      if (options.json) return printJson(answer);
      print(String(answer['CustomKeyStoreId']));
      note('it is not connected yet: `drawbridge key-stores connect` does that');
    });
}

function connectCommand(): Command {
  return withJson(withSocket(new Command('connect').description('connect a custom key store, and wait until it is')))
    .argument(...storeArgument)
    .addHelpText(
      'after',
      `
A PIN that the HSM refused is not presented again: disconnect the store, and give it another with \`drawbridge key-stores update\`.
The same one given again changes nothing; where the HSM's PIN was set back to it, give another one first, and then that.

Example:
  drawbridge key-stores connect payments`,
    )
    .action(async (store: string, options: Options) => {
      const client = await connectTo(options);
      const id = await customKeyStoreIdOf(client, store);
      await client.call('ConnectCustomKeyStore', { CustomKeyStoreId: id });
      let told = await describeCustomKeyStore(client, { CustomKeyStoreId: id });
      while (told['ConnectionState'] === 'CONNECTING') {
        await pause(pollMs);
        told = await describeCustomKeyStore(client, { CustomKeyStoreId: id });
      }
      const state = String(told['ConnectionState']);
      if (state !== 'CONNECTED') process.exitCode = 1;
      if (options.json) return printJson(told);
      const code = told['ConnectionErrorCode'];
      print(`${id} is ${state}${code === undefined ? '' : `: ${code}; the log of the daemon says more`}`);
      if (state === 'FAILED') note(afterFailure(store, code as ConnectionErrorCode));
    });
}

/** What brings back one that has failed. */
export function afterFailure(store: string, code: ConnectionErrorCode): string {
  const [disconnect, connect] = ['disconnect', 'connect'].map((act) => `\`drawbridge key-stores ${act} ${store}\``);
  if (!isPasswordRefusal(code)) return `once the cause is mended: ${disconnect}, and then ${connect}`;
  const update = `\`drawbridge key-stores update ${store} --password\``;
  return `the PIN is not presented again: ${disconnect}, ${update}, and then ${connect}`;
}

/** A command that runs one operation on one custom key store, and has nothing to tell but that it is done. */
function simpleCommand(name: string, operation: string, description: string, done: string): Command {
  return withJson(withSocket(new Command(name).description(description)))
    .argument(...storeArgument)
    .addHelpText('after', `\nExample:\n  drawbridge key-stores ${name} payments`)
    .action(async (store: string, options: Options) => {
      const client = await connectTo(options);
      const id = await customKeyStoreIdOf(client, store);
      const answer = await client.call(operation, { CustomKeyStoreId: id });
      if (options.json) printJson(answer);
      else print(`${id} ${done}`);
    });
}

function disconnectCommand(): Command {
  const description = 'disconnect a custom key store, whose keys are unavailable then';
  return simpleCommand('disconnect', 'DisconnectCustomKeyStore', description, 'is disconnected');
}

function deleteCommand(): Command {
  const description = 'delete a custom key store that is disconnected and has no keys';
  return simpleCommand('delete', 'DeleteCustomKeyStore', description, 'is deleted');
}

function updateCommand(): Command {
  return withJson(withSocket(new Command('update').description('give a custom key store another name, PIN or HSM')))
    .argument(...storeArgument)
    .option('--name <name>', 'what it is called from now on')
    .option('--hsm <hsm>', 'another HSM with the same keys and the same certificate, by id or name')
    .option('--password', 'another PIN, which is asked for')
    .option('--password-file <file>', 'another PIN, from this file, or - for stdin')
    .addHelpText(
      'after',
      `
All but the name takes a store that is disconnected.

Example:
  drawbridge key-stores update payments --password`,
    )
    .action(
      async (
        store: string,
        options: Options & { name?: string; hsm?: string; password?: true; passwordFile?: string },
      ) => {
        const { name, hsm, passwordFile } = options;
        const client = await connectTo(options);
        const id = await customKeyStoreIdOf(client, store);
        const isPassword = options.password === true || passwordFile !== undefined;
        const answer = await client.call('UpdateCustomKeyStore', {
          CustomKeyStoreId: id,
          ...(name === undefined ? {} : { NewCustomKeyStoreName: name }),
          ...(hsm === undefined ? {} : { CloudHsmClusterId: await clusterIdOf(client, hsm) }),
          ...(isPassword ? { KeyStorePassword: await password(passwordFile) } : {}),
        });
        if (options.json) printJson(answer);
        else print(`${id} is updated`);
      },
    );
}

/** @param hsm An id, or what the configuration calls the HSM: that is shown to the account's root alone. */
async function clusterIdOf(client: KmsClient, hsm: string): Promise<string> {
  if (hsm.startsWith('cluster-')) return hsm;
  const hsms = (await client.get('/status'))['hsms'] as readonly Members[];
  const found = hsms.find(({ name }) => name === hsm);
  if (found !== undefined) return String(found['clusterId']);
  const names = hsms.map(({ name }) => String(name));
  throw new UsageError(
    names.length === 0
      ? 'the configuration has no HSM for a custom key store: one has `trustAnchorCertificate` and no `pin`'
      : `there is no HSM \`${hsm}\` for a custom key store; name one of ${names.join(', ')}`,
  );
}

/** @param file `-`: stdin. Without one the terminal is asked. A line end behind it is none of it. */
async function password(file: string | undefined): Promise<string> {
  const bytes = file === undefined ? await typed() : (await readSecretFile(file, maxPasswordBytes)).bytes;
  try {
    return bytes.toString('utf8').replace(/\r?\n$/, '');
  } finally {
    bytes.fill(0);
  }
}

function typed(): Promise<Buffer> {
  if (canAsk()) return askSecret('PIN of the HSM: ');
  throw new UsageError('there is no terminal to ask for the PIN; name a file with --password-file');
}
