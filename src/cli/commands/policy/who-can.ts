/** `drawbridge policy who-can`: everybody whom a document or a grant lets do something. */

import { Command } from 'commander';
import { withJson, withSocket } from '../../requests/command-options.ts';
import type { Members } from '../../requests/kms-client.ts';
import { note, print, printJson, table } from '../../terminal/output.ts';
import { askAbout, type CircumstanceOptions, describeTest, withCircumstances } from './circumstances.ts';

type Options = CircumstanceOptions & { readonly all?: true };

export function whoCanCommand(): Command {
  const command = new Command('who-can')
    .description('list who may do something')
    .argument('<operation>', 'an operation of AWS KMS, such as Decrypt')
    .argument('[key]', 'key id, key ARN, alias name or alias ARN')
    .option('--all', 'list those too who may not');
  return withJson(withSocket(withCircumstances(command)))
    .addHelpText(
      'after',
      `
Asked about are the account's root, whoever the key policy or an identity policy names, members of the groups to which
one is attached, the grantees of the key, and, in one row, everybody else. "if" stands where the request has to be a
certain one, which the row then describes: give an encryption context with --context, and it is settled. Only the
account's root may ask.

Examples:
  drawbridge policy who-can Decrypt alias/backup
  drawbridge policy who-can Decrypt alias/backup --context host=web1 --json`,
    )
    .action(whoCan);
}

async function whoCan(operation: string, key: string | undefined, options: Options): Promise<void> {
  const report = await askAbout('who-can', operation, key, options);
  const candidates = report['candidates'] as Members[];
  const shown = options.all ? candidates : candidates.filter((one) => answerOf(one) !== 'no');
  if (options.json) return printJson({ ...report, candidates: shown });
  if (shown.length === 0) return note('nobody');
  print(table(['MAY', 'WHO', 'BECAUSE'], shown.flatMap(rows)));
  const first = report['firstGranteesOnly'];
  if (first !== undefined) note(`the key has more grantees than the ${first} that were asked about`);
}

function answerOf({ allowed, unmet }: Members): 'yes' | 'if' | 'no' {
  if (allowed === true) return 'yes';
  return (unmet as unknown[]).length > 0 ? 'if' : 'no';
}

/** One for each statement that would allow him. */
function rows(candidate: Members): string[][] {
  const answer = answerOf(candidate);
  const who = String(candidate['who']);
  if (answer !== 'if') return [[answer, who, String(candidate['because'])]];
  return (candidate['unmet'] as Members[][]).map((tests) => [answer, who, tests.map(describeTest).join('; ')]);
}
