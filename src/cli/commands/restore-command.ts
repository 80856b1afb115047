/** `drawbridge restore`: gives a backup of the metadata back, or tries whether it could be. */

import { Command } from 'commander';
import { readTrustedConfiguration, withConfig, withJson } from '../requests/command-options.ts';
import type { Members } from '../requests/kms-client.ts';
import { becomeOwnerOf } from '../requests/owners-work.ts';
import { facts, note, print, printJson } from '../terminal/output.ts';
import { showCount } from '../terminal/progress.ts';
import { countProblems, isWhole, showProblems } from './census-command.ts';

interface Options {
  readonly config: string;
  readonly check?: true;
  readonly json?: true;
}

export function restoreCommand(): Command {
  return withJson(withConfig(new Command('restore').description('give a backup of the metadata back')))
    .argument('<file>', 'as `drawbridge backup` wrote it')
    .option('--check', 'only try: the whole of it, but for writing anything; a daemon may run meanwhile')
    .addHelpText(
      'after',
      `
The configuration is there, and the HSM with its keys; the data folder has no metadata, and no daemon runs. The file is verified by a
key in the HSM, each record in it too, and every backing key is used once, before anything is written; keys in HSMs that are away are
named. Custom key stores are opened by one login each, and none with a password that was refused before. Then the records are in force
again as they were: what was revoked since the backup is not revoked any more, and keys that were made since are in the HSM without a
record, or lost if they were wrapped. The audit log says which state was given back, and by whom. Exit code 1 of --check says that a
key is missing, does not work, or could not be asked.

Examples:
  drawbridge restore --check /var/backups/drawbridge/metadata.backup
  drawbridge restore --config /etc/drawbridge/drawbridge.yaml metadata.backup`,
    )
    .action(restore);
}

async function restore(file: string, { config, check, json }: Options): Promise<void> {
  const configuration = await readTrustedConfiguration(config);
  const { createLog, openBackup, restoreBackup, tryBackup } = await import('../../daemon/index.ts');
  const uid = process.getuid?.() ?? 0;
  // Opened before: it may be root's alone.
  const backup = await openBackup(file);
  const count = await showCount('restore', 'keys');
  try {
    await becomeOwnerOf(configuration);
    const log = createLog('error', configuration.budgets.log);
    const progress = (keys: number, total: number): void => count.update(keys, total);
    const restoration = { backup, configuration, environment: process.env, uid, log, progress };
    const restored = check ? await tryBackup(restoration) : await restoreBackup(restoration);
    count.stop();
    const { problems, quarantined } = restored;
    const isComplete = isWhole({
      problems: [...problems] as unknown as Members[],
      unreachable: [],
      damaged: quarantined,
    });
    if (json) printJson(restored);
    else {
      show(restored, check === true);
      if (!isComplete && !check) note(missing);
      if (!check) note(`next: drawbridge serve --config ${config}`);
    }
    if (check && !isComplete) process.exitCode = 1;
  } finally {
    count.stop();
    await backup.close();
  }
}

/** The metadata is back all the same: what it names and the HSM lacks can come back later. */
const missing =
  "not all of it works (above): give the HSM's own backup back where keys are missing, and ask `drawbridge census` again; the daemon serves the others meanwhile";

type Restored = Awaited<ReturnType<typeof import('../../daemon/index.ts')['tryBackup']>>;

function show({ header, state, keys, quarantined, proven, problems, orphans }: Restored, isCheck: boolean): void {
  print(
    facts([
      [isCheck ? 'could be restored' : 'restored', `the metadata of ${new Date(header.madeAtMs).toISOString()}`],
      ['account', header.account],
      ['regions', header.regions.join(', ')],
      ['state', state],
      ['keys', keys],
      ['backing keys that work', proven],
      ...countProblems(problems as unknown as Members[]),
      ['records that do not verify', quarantined],
      ['objects of no record', orphans.length],
    ]),
  );
  showProblems(problems as unknown as Members[], orphans as unknown as Members[]);
}
