/** `drawbridge upkeep`: what the daemon will do of its own accord, what is late, and an operator's word on it. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { Members } from '../requests/kms-client.ts';
import { durationText } from '../terminal/duration-text.ts';
import { note, print, printJson, table } from '../terminal/output.ts';

type Options = SocketOptions & { readonly json?: true };

export function upkeepCommand(): Command {
  return new Command('upkeep')
    .description('show what the daemon does of its own accord, and confirm what waits')
    .addCommand(listCommand(), { isDefault: true })
    .addCommand(confirmCommand());
}

function listCommand(): Command {
  return withJson(withSocket(new Command('list').description('show what is scheduled, waiting and late')))
    .addHelpText(
      'after',
      `
Keys are deleted when their waiting period is over. Early is what may never happen: while the daemon runs, the wall clock and
the time that really passed must both say that something is due. What came due while it was stopped waits for another 24 hours
of running time, because nobody watched the clock meanwhile, or until you confirm it. Only the account's root may see this.

Examples:
  drawbridge upkeep
  drawbridge upkeep list --json | jq -r '.work[] | select(.state == "late").because'`,
    )
    .action(async (options: Options) => {
      const answer = await (await connectTo(options)).get('/upkeep');
      if (options.json) return printJson(answer);
      const work = answer['work'] as Members[];
      if (work.length === 0) return note('nothing is scheduled, waiting or late');
      print(table(['WORK', 'DUE', 'STATE', 'WHY'], work.map(row)));
      if (Number(answer['more']) > 0) note(`and ${answer['more']} more, which are due later`);
    });
}

function row(work: Members): string[] {
  return [String(work['work']), String(work['dueAt']), String(work['state']), whyNot(work)];
}

/** Why it is not done yet, and when it will be. */
export function whyNot({ because, state, leftMs }: Members): string {
  if (because === null) return '';
  const left = durationText(Number(leftMs));
  return state === 'late'
    ? `${because}; it is tried again in ${left}`
    : `${because}; it is done after another ${left} of running time, or when it is confirmed`;
}

function confirmCommand(): Command {
  return withJson(
    withSocket(new Command('confirm').description('say that the clock is right, so that what waits is done')),
  )
    .argument('<work...>', 'what `drawbridge upkeep` calls it')
    .option(
      '--leave-material',
      'of deletion and moved-keys: do it although the HSM is lost; what is in that stays there',
    )
    .addHelpText(
      'after',
      `
What is late is tried again at once. Nothing can be confirmed before its date. Only the account's root may; it is on record.

A key is not deleted while its HSM is away, because its material could not be destroyed. Where that HSM does not come back,
--leave-material has the key deleted without it. Should it come back, \`drawbridge census\` lists what is left in it.

Examples:
  drawbridge upkeep confirm deletion us-east-1 1234abcd-12ab-34cd-56ef-1234567890ab
  drawbridge upkeep confirm --leave-material deletion us-east-1 1234abcd-12ab-34cd-56ef-1234567890ab`,
    )
    .action(async (words: readonly string[], options: Options & { leaveMaterial?: true }) => {
      const work = words.join(' ');
      const { leaveMaterial } = options;
      const word = leaveMaterial === undefined ? {} : { leaveMaterial };
      const answer = await (await connectTo(options)).post('/upkeep/confirm', { work, ...word });
      if (options.json) printJson(answer);
      else print(`${work} is confirmed and done now; \`drawbridge upkeep\` shows it for as long as it is not`);
    });
}
