/** `drawbridge metadata`: an operator's word on records that the daemon does not start on. */

import { Command } from 'commander';
import { readTrustedConfiguration, withConfig, withJson } from '../requests/command-options.ts';
import { becomeOwnerOf } from '../requests/owners-work.ts';
import { facts, print, printJson } from '../terminal/output.ts';

export function metadataCommand(): Command {
  return new Command('metadata')
    .description('accept records that were put back or altered')
    .addCommand(acceptCommand());
}

interface AcceptOptions {
  readonly config: string;
  readonly state: string;
  readonly json?: true;
}

function acceptCommand(): Command {
  return withJson(withConfig(new Command('accept').description('go on with the records as they are')))
    .requiredOption('--state <state>', 'the state of the records, as `drawbridge serve` named it')
    .addHelpText(
      'after',
      `
A daemon does not start on records that are not those which it wrote last, or that are older than its audit log says: rows
that somebody removed or put back, or a backup of yours. Keep a copy of the file and find out what happened; what is
accepted is in force again, a policy of that time and an access key that was revoked since included. The next record in the
audit log names the state and you. Records that were edited are not accepted by this: each is still named, and not used.
Only root and the user of the daemon can do that, while the daemon is stopped; the token has to be there.

Example:
  drawbridge metadata accept --state 3f2a6c0d9b8e7a51`,
    )
    .action(accept);
}

async function accept({ config, state, json }: AcceptOptions): Promise<void> {
  const configuration = await readTrustedConfiguration(config);
  const { acceptMetadata, createLog } = await import('../../daemon/index.ts');
  const uid = process.getuid?.() ?? 0;
  await becomeOwnerOf(configuration);
  const log = createLog('error', configuration.budgets.log);
  const accepted = await acceptMetadata({ configuration, environment: process.env, state, uid, log });
  if (json) printJson(accepted);
  else
    print(
      facts([
        ['accepted', accepted.state],
        ['epoch', accepted.epoch],
        ['keys', accepted.keys],
        ['records that do not verify', accepted.quarantined],
        ['creations not finished in them', accepted.droppedIntents],
      ]),
    );
}
