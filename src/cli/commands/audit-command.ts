/** `drawbridge audit`: the audit log, for people and for programs, the proof that it is whole, and an operator's word where it is not. */

import { Command, InvalidArgumentError } from 'commander';
import type { RecordedEvent } from '../../audit/read-audit-log.ts';
import { auditFolderOf, parseCount } from '../requests/audit-options.ts';
import { type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { Members } from '../requests/kms-client.ts';
import { facts, inertJson, print, printJson, table } from '../terminal/output.ts';

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
  return new Command('audit')
    .description('show and verify the audit log')
    .addCommand(showCommand())
    .addCommand(verifyCommand())
    .addCommand(acceptCommand());
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
with its place in the chain and its hash. What is no record is passed over: "drawbridge audit verify" judges.

Examples:
  drawbridge audit show --limit 20
  drawbridge audit show --operation Decrypt --json | jq .userIdentity.arn`,
    )
    .action(show);
}

async function show(options: Options): Promise<void> {
  const { readAuditEvents } = await import('../../audit/read-audit-log.ts');
  const folder = await auditFolderOf(options);
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
    if (options.json) print(inertJson(JSON.stringify(event)));
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
    String(identity?.['arn'] ?? identity?.['invokedBy'] ?? '-'),
    String(event['eventName']),
    String(event['errorCode'] ?? 'ok'),
    resources.map((resource) => String(resource['ARN']).split(':').pop()).join(' '),
  ];
}

/** The end of the chain as `audit verify` printed it once: whoever keeps it elsewhere can prove that nothing before it was lost. */
interface NotedHead {
  readonly sequence: number;
  readonly hash: string;
}

interface VerifyOptions extends SocketOptions {
  readonly folder?: string;
  readonly noted?: NotedHead;
  readonly json?: true;
}

function verifyCommand(): Command {
  return withJson(
    withSocket(new Command('verify').description('prove that no event was changed, dropped, added or moved')),
  )
    .option('--folder <folder>', "the log's folder; without it, the configuration or the daemon says where it is")
    .option('--noted <head>', 'a head that was printed earlier, SEQUENCE:HASH; it has to be in the log', parseHead)
    .addHelpText(
      'after',
      `
Each event carries the hash of the one before, so any change shows; events that were cut off at the end, or a log that
was rewritten to its end, show only against a head that was noted before, elsewhere: keep what this prints, and give it
with --noted the next time. An event that the daemon is writing at this moment is reported as incomplete: try again.
What crashes left of lines and was set aside is counted, and so are places that "drawbridge audit accept" has accepted.
The exit code is 1 when the log is not whole.

Examples:
  drawbridge audit verify
  drawbridge audit verify | sed -n 's/^head *//p' > /mnt/elsewhere/head
  drawbridge audit verify --noted "$(cat /mnt/elsewhere/head)"`,
    )
    .action(verify);
}

async function verify(options: VerifyOptions): Promise<void> {
  const { verifyAuditLog } = await import('../../audit/read-audit-log.ts');
  const folder = await auditFolderOf(options);
  const { ok, events, head, accepted, setAside, firstProblem } = await verifyAuditLog(folder);
  let problem =
    firstProblem === undefined ? null : `line ${firstProblem.line}, byte ${firstProblem.offset}: ${firstProblem.what}`;
  const place = firstProblem?.place ?? null;
  const { noted } = options;
  if (ok && noted !== undefined && noted.sequence > 0) {
    const found = await eventAfter(folder, noted.sequence - 1);
    if (found?.drawbridge.sequence !== noted.sequence) problem = `event ${noted.sequence}, noted earlier, is missing`;
    else if (found.drawbridge.hash !== noted.hash) problem = `event ${noted.sequence} is not the one noted earlier`;
  }
  const headText = `${head.sequence}:${head.hash}`;
  if (options.json)
    printJson({ ok: problem === null, folder, events, head: headText, problem, place, accepted, setAside });
  else
    print(
      facts([
        ['audit log', problem === null ? 'whole' : 'NOT WHOLE'],
        ['problem', problem],
        ['place', place],
        ['accepted places', accepted],
        [
          'set aside',
          setAside.map(({ file, bytes, state }) => `${file} (${bytes} bytes, ${state})`).join(', ') || null,
        ],
        ['intact events', events],
        ['head', headText],
      ]),
    );
  if (problem !== null) process.exitCode = 1;
}

interface AcceptOptions extends SocketOptions {
  readonly folder?: string;
  readonly at: string;
  readonly json?: true;
}

function acceptCommand(): Command {
  return withJson(
    withSocket(new Command('accept').description('go on with an audit log that was tampered with or damaged')),
  )
    .option('--folder <folder>', "the log's folder; without it, the configuration says where it is")
    .requiredOption('--at <place>', 'the place, as `drawbridge serve` or `drawbridge audit verify` named it')
    .addHelpText(
      'after',
      `
A daemon does not start on a log with a line that was changed, dropped or added, or that lacks what the metadata says was
there. Keep a copy of the log and find out what happened; then say that it is gone on with. Nothing is removed: the next
record names the place, the bytes that stand there by their hash, and you. Each place is accepted by itself. Only root and
the user of the daemon can do that, while the daemon is stopped.

Example:
  drawbridge audit accept --at audit.jsonl:4711:3240118`,
    )
    .action(accept);
}

async function accept(options: AcceptOptions): Promise<void> {
  const { acceptPlace } = await import('../../audit/accept-place.ts');
  const { becomeOwnerOf } = await import('../../secrets/act-as-owner.ts');
  const folder = await auditFolderOf(options);
  const uid = process.getuid?.() ?? 0;
  becomeOwnerOf(folder);
  const { sequence, hash } = await acceptPlace({ folder, place: options.at, uid });
  const head = `${sequence}:${hash}`;
  if (options.json) printJson({ place: options.at, head });
  else
    print(
      facts([
        ['accepted', options.at],
        ['head', head],
      ]),
    );
}

/** The first event with a higher number; the log is closed again. */
async function eventAfter(folder: string, sequence: number): Promise<RecordedEvent | undefined> {
  const { readAuditEvents } = await import('../../audit/read-audit-log.ts');
  for await (const event of readAuditEvents(folder, { after: sequence, limit: 1 })) return event;
  return undefined;
}

function parseHead(text: string): NotedHead {
  const [, sequence, hash] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  if (sequence === undefined || hash === undefined) {
    throw new InvalidArgumentError('expected SEQUENCE:HASH, as `drawbridge audit verify` prints it.');
  }
  return { sequence: Number(sequence), hash };
}
