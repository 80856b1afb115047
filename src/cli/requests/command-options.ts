/**
 * Options that several commands have, and what they mean together: which configuration, which socket.
 *
 * The socket is the first of: --socket, the one in the configuration that --config names, DRAWBRIDGE_SOCKET, the one in the
 * configuration at its usual place, and the usual socket. What is said on the command line goes before the environment.
 */

import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Configuration } from '../../config/configuration-schema.ts';
import { KmsClient } from './kms-client.ts';

export const usualConfiguration = '/etc/drawbridge/drawbridge.yaml';
const usualSocket = '/run/drawbridge/kms.sock';

export interface SocketOptions {
  readonly socket?: string;
  readonly daemonUid?: number;
  readonly config?: string;
}

export function withSocket(command: Command): Command {
  return command
    .addOption(new Option('--socket <path>', "the daemon's socket").env('DRAWBRIDGE_SOCKET'))
    .addOption(
      new Option('--daemon-uid <uid>', "who may listen there beside root, you, and the owner of the socket's folder")
        .env('DRAWBRIDGE_DAEMON_UID')
        .argParser(uidOf),
    )
    .option('--config <file>', `the configuration that names the socket (usually ${usualConfiguration})`)
    .hook('preAction', (_, acting) => {
      if (acting.getOptionValueSource('socket') !== 'env') return;
      const { socket, config } = acting.opts();
      // A variable that is set to nothing is how a shell unsets one for a single command.
      if (socket === '' || config !== undefined) acting.setOptionValue('socket', undefined);
    });
}

export function withConfig(command: Command): Command {
  return command.option('--config <file>', 'the configuration', usualConfiguration);
}

export function withJson(command: Command): Command {
  return command.option('--json', 'print JSON instead of text for people');
}

export async function connectTo({ socket, config, daemonUid }: SocketOptions): Promise<KmsClient> {
  if (socket !== undefined) return new KmsClient(socket, daemonUid);
  const configuration = await configurationIfAny(config);
  return new KmsClient(configuration === undefined ? usualSocket : socketOf(configuration), daemonUid);
}

function uidOf(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('expected a uid.');
}

/** Of several Regions the first is asked; `--socket` names another one's. */
function socketOf({ regions: [{ socket }] }: Configuration): string {
  return socket.path;
}

/** Loaded when it is needed, as its libraries take longer to load than most commands run. */
export async function readConfiguration(path: string): Promise<Configuration> {
  const { loadConfiguration } = await import('../../config/load.ts');
  return loadConfiguration(path);
}

/** As `readConfiguration`, for commands that load the library that it names. */
export async function readTrustedConfiguration(path: string): Promise<Configuration> {
  const { loadTrustedConfiguration } = await import('../../config/load.ts');
  return loadTrustedConfiguration(path);
}

/** The named configuration, or the usual one if there is one. */
export async function configurationIfAny(config: string | undefined): Promise<Configuration | undefined> {
  if (config !== undefined) return readConfiguration(config);
  return existsSync(usualConfiguration) ? readConfiguration(usualConfiguration) : undefined;
}

/** For a repeatable option: all its values, in their order. */
export function collectValues(value: string, values: readonly string[] = []): readonly string[] {
  return [...values, value];
}

/** For a repeatable option `k=v`: collects into one record and refuses what is not of that form or comes twice. */
export function collectPairs(text: string, pairs: Readonly<Record<string, string>> = {}): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('expected NAME=VALUE.');
  const name = text.slice(0, at);
  if (Object.hasOwn(pairs, name)) throw new InvalidArgumentError(`${name} is given twice.`);
  return { ...pairs, [name]: text.slice(at + 1) };
}
