/** `drawbridge dev`: a complete throw-away instance, announced by one line of JSON. */

import { Command, InvalidArgumentError, Option } from 'commander';
import { type LoopbackAddress, parseLoopbackAddress } from '../../config/loopback-address.ts';
import { type NewTokenKind, newTokenKinds } from '../../daemon/token-kinds.ts';
import { isRegionName } from '../../kms/names.ts';
import { print } from '../terminal/output.ts';

interface Options {
  readonly dir?: string;
  readonly tcp?: LoopbackAddress;
  readonly token?: NewTokenKind;
  readonly policies?: string;
  readonly region?: readonly string[];
}

export function devCommand(): Command {
  return new Command('dev')
    .description('run a throw-away instance over a software token')
    .option('--dir <folder>', 'where it lives and stays; without it, a temporary folder that is removed at the end')
    .addOption(
      new Option(
        '--tcp <address>',
        'listen on 127.0.0.1:PORT too, for clients that sign their requests; PORT 0: any free one',
      ).argParser(parseLoopback),
    )
    .addOption(
      new Option('--token <kind>', 'the software token of a new instance; softhsm2 if not given').choices(
        newTokenKinds,
      ),
    )
    .option(
      '--region <name>',
      'a Region beside us-east-1; can be repeated; DIR/NAME.sock is for it, and --tcp takes requests for all',
      collectRegions,
    )
    .option('--policies <folder>', 'identity policies, one in each *.json; SIGHUP reads them again')
    .addHelpText(
      'after',
      `
Prints one line of JSON when it is ready:
  {"socket", "endpoint" (or null), "region", "account", "accessKeyId", "secretAccessKey", "dir"}
The log goes to stderr. It runs until SIGTERM or SIGINT. You, and the system's root, are the account's root.

Examples:
  drawbridge dev
  drawbridge dev --dir ./kms --tcp 127.0.0.1:0
  drawbridge dev --dir ./kms --tcp 127.0.0.1:0 --region eu-central-1`,
    )
    .action(async (options: Options) => {
      const { runUntilSignal, startDev, stopSignal } = await import('../../daemon/index.ts');
      const signal = stopSignal();
      const environment = process.env;
      const { line, daemon, log } = await startDev({ ...options, regions: options.region, environment });
      print(JSON.stringify(line));
      await runUntilSignal(daemon, signal, environment, log);
    });
}

function collectRegions(text: string, regions: readonly string[] = []): readonly string[] {
  if (!isRegionName(text)) throw new InvalidArgumentError('expected the name of a Region, such as eu-central-1.');
  return [...regions, text];
}

function parseLoopback(text: string): LoopbackAddress {
  const address = parseLoopbackAddress(text);
  if (address !== undefined) return address;
  throw new InvalidArgumentError('expected a loopback address and a port, such as 127.0.0.1:8080.');
}
