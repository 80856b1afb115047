/** `drawbridge audit`: the audit log, for people and for programs. */

import { Command, InvalidArgumentError } from 'commander';
import type { Members } from '../kms-client.ts';
import { configurationIfAny, connectTo, type SocketOptions, withJson, withSocket } from '../options.ts';
import { print, table } from '../output.ts';

/** A log can be larger than the memory: it is shown as a table after the other. */
const tablePageRows = 1_000;

interface Options extends SocketOptions {
  readonly folder?: string;
  readonly after?: number;
  readonly limit?: number;
  readonly operation?: string;
  readonly json?: true;
}

export function auditCommand(): Command {
  return new Command('audit').description('show the audit log').addCommand(showCommand());
}

function showCommand(): Command {
  return withJson(withSocket(new Command('show').description('show the events of the audit log, oldest first')))
    .option('--folder <folder>', "the log's folder; without it, the configuration or the daemon says where it is")
    .option('--after <sequence>', 'only events behind this one', parseCount)
    .option('--limit <count>', 'at most so many events', parseCount)
    .option('--operation <name>', 'only events of this operation')
    .addHelpText(
      'after',
      `
The log is read from its file, so you need to be allowed to read that. With --json each event is one line of JSON,
with its place in the chain and its hash.

Examples:
  drawbridge audit show --limit 20
  drawbridge audit show --operation Decrypt --json | jq .userIdentity.arn`,
    )
    .action(show);
}

async function show(options: Options): Promise<void> {
  const { readAuditEvents } = await import('../../audit/read-audit-log.ts');
  const folder = options.folder ?? (await folderOf(options));
  let rows: string[][] = [];
  const printRows = (): void => {
    if (rows.length > 0) print(table(['SEQUENCE', 'TIME', 'WHO', 'OPERATION', 'RESULT', 'KEYS'], rows));
    rows = [];
  };
  const { after, limit, operation } = options;
  const events = readAuditEvents(folder, {
    ...(after === undefined ? {} : { after }),
    ...(limit === undefined ? {} : { limit }),
    filter: ({ eventName }) => operation === undefined || eventName === operation,
  });
  for await (const event of events) {
    if (options.json) print(JSON.stringify(event));
    else if (rows.push(row(event)) === tablePageRows) printRows();
  }
  printRows();
}

function row(event: Members): string[] {
  const chain = event['drawbridge'] as Members;
  const identity = event['userIdentity'] as Members | undefined;
  const resources = (event['resources'] as Members[] | undefined) ?? [];
  return [
    String(chain['sequence']),
    String(event['eventTime']),
    String(identity?.['arn'] ?? '-'),
    String(event['eventName']),
    String(event['errorCode'] ?? 'ok'),
    resources.map((resource) => String(resource['ARN']).split(':').pop()).join(' '),
  ];
}

async function folderOf(options: Options): Promise<string> {
  const configuration = options.socket === undefined ? await configurationIfAny(options.config) : undefined;
  if (configuration !== undefined) return configuration.audit.folder;
  const { audit } = await (await connectTo(options)).get('/status');
  return String((audit as Members)['folder']);
}

function parseCount(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('expected a whole number.');
  return Number(text);
}
