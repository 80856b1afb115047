/** `drawbridge policy explain`: why somebody may or may not, and what would change it. */

import { Command } from 'commander';
import { collectValues, withJson, withSocket } from '../../requests/command-options.ts';
import type { Members } from '../../requests/kms-client.ts';
import { UsageError } from '../../terminal/cli-error.ts';
import { readPolicy } from '../../terminal/input.ts';
import { facts, inertJson, print, printable, printJson } from '../../terminal/output.ts';
import {
  askAbout,
  type CircumstanceOptions,
  describeTest,
  type WhoOptions,
  whoOf,
  withCircumstances,
} from './circumstances.ts';

type Options = CircumstanceOptions & WhoOptions & { readonly key?: string; readonly sessionPolicy?: string };

export function explainCommand(): Command {
  const command = new Command('explain')
    .description('say why a principal may or may not do something, and what would change it')
    .argument('<operation>', 'an operation of AWS KMS, such as Decrypt')
    .argument('[key]', 'key id, key ARN, alias name or alias ARN')
    .option('--key <key>', 'the key, for those who are used to it from other commands')
    .option('--principal <arn>', 'who asks, by the ARN of a user, a role, a session or the account')
    .option('--user <name>', 'who asks, as a Unix user of this machine')
    .option('--session-policy <file>', 'the policy of his own that a session of a role has; - for stdin')
    .option('--group <name>', 'a Unix group of his, instead of those that he has; repeatable', collectValues);
  return withJson(withSocket(withCircumstances(command)))
    .addHelpText(
      'after',
      `
The daemon asks itself what it would answer to such a request, by the documents and grants in force. Of key states,
key usages and ciphertexts nothing is said. Only the account's root may ask.

Examples:
  drawbridge policy explain Decrypt alias/backup --user app --context host=web1
  drawbridge policy explain Sign alias/release --principal arn:aws:iam::000000000000:role/ci \\
    --with SigningAlgorithm=ECDSA_SHA_256 --json | jq .allowed`,
    )
    .action(explain);
}

async function explain(operation: string, key: string | undefined, options: Options): Promise<void> {
  if (key !== undefined && options.key !== undefined) throw new UsageError('the key is given twice');
  const report = await askAbout('explain', operation, key ?? options.key, options, await askingOf(options));
  if (options.json) return printJson(report);
  const explanations = report['explanations'] as Members[];
  print(
    [
      facts([
        ['answer', report['allowed'] === true ? 'allowed' : 'REFUSED'],
        ['principal', String(report['principal'])],
      ]),
      ...explanations.map(describeExplanation),
      ...describeLeftOut(report['leftOut'] as string[]),
    ].join('\n\n'),
  );
}

async function askingOf({ sessionPolicy, ...options }: Options): Promise<Members> {
  const who = await whoOf(options);
  return sessionPolicy === undefined ? who : { ...who, SessionPolicy: await readPolicy(sessionPolicy) };
}

function describeLeftOut(names: readonly string[]): string[] {
  return names.length === 0
    ? []
    : [`not given, so that conditions on it find nothing: ${names.join(', ')} (see --with)`];
}

function describeExplanation(explanation: Members): string {
  const decision = explanation['decision'] as Members;
  const [, ...others] = explanation['allowedBy'] as string[];
  return [
    facts([
      ['action', String(explanation['action'])],
      ['resource', String(explanation['resource'])],
      ...(explanation['region'] === undefined ? [] : [['in Region', String(explanation['region'])] as const]),
      ['decision', decision['allowed'] === true ? 'allowed' : 'refused'],
      ['because', String(decision['because'])],
      ...others.map((because) => ['and by', because] as const),
    ]),
    ...section('statements about it:', (explanation['statements'] as Members[]).flatMap(describeStatement)),
    ...section('what would change it:', (explanation['remedies'] as Members[]).map(describeRemedy)),
  ].join('\n');
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [title, ...lines.map((line) => line.replaceAll(/^/gm, '  '))];
}

function describeStatement(report: Members): string[] {
  const effect = { Allow: 'allows', Deny: 'denies', Delegate: 'delegates to the account' }[String(report['effect'])];
  const unmet = (report['tests'] as Members[]).filter((test) => test['holds'] !== true);
  const applies = report['applies'] === true ? '' : ', but does not apply:';
  return [
    `${nameOf(report['statement'] as Members)} ${effect}${applies}`,
    ...unmet.map((test) => `  ${describeTest(test)}`),
  ];
}

function nameOf({ document, kind, sid, index }: Members): string {
  const where =
    document === undefined ? printable(String(kind ?? 'key policy')) : `identity policy ${printable(String(document))}`;
  return `${where} statement ${sid === undefined ? String(index) : JSON.stringify(printable(String(sid)))}`;
}

function describeRemedy(remedy: Members): string {
  const document = (name: string): string => inertJson(JSON.stringify(remedy[name]));
  switch (remedy['kind']) {
    case 'end the denial':
      return `end the denial by ${nameOf(remedy['statement'] as Members)}: nothing that allows is of use beside it`;
    case 'meet the conditions': {
      const tests = (remedy['tests'] as Members[]).map((test) => `  ${describeTest(test)}`);
      return [`meet the conditions of ${nameOf(remedy['statement'] as Members)}:`, ...tests].join('\n');
    }
    case 'add to the key policy':
      return `add a statement to the key policy:\n  ${document('keyPolicyStatement')}`;
    case 'create a grant':
      return `make a grant of ${String(remedy['operation'])} on the key to the principal (CreateGrant)`;
    case 'attach an identity policy':
      return `add a file to the folder of identity policies:\n  ${document('identityPolicy')}`;
    case 'assume the role with another session policy':
      return `assume the role with another session policy, which has:\n  ${document('sessionPolicyStatement')}`;
    case 'delegate to the account and attach an identity policy':
      return `delegate to the account in the key policy:\n  ${document('keyPolicyStatement')}\nand add a file to the folder of identity policies:\n  ${document('identityPolicy')}`;
    default:
      return String(remedy['kind']);
  }
}
