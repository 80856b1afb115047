/** Options that several commands have. */

import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseUid, usualConfiguration } from './configured-daemon.ts';

export {
  configurationIfAny,
  connectTo,
  readConfiguration,
  readTrustedConfiguration,
  type SocketOptions,
  usualConfiguration,
} from './configured-daemon.ts';

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

function uidOf(text: string): number {
  const uid = parseUid(text);
  if (uid !== undefined) return uid;
  throw new InvalidArgumentError('expected a uid.');
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
