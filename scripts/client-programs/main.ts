/**
 * Other people's programs, as they come from their registries, against a fresh instance each: what they did, what is on record
 * of it, and the table in `test/clients/README.md`.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { markedPart } from '../marked-part.ts';
import { type ClientRun, clientsFolder, runClient } from './run-client.ts';

const help = `Usage: scripts/clients [--write] [NAME]...

Runs the programs in test/clients, or those that are named, each against an instance of its own (SoftHSM2, with the Unix
socket, the loopback listener, and TLS). Each installs the newest version of its program from its registry into a temporary folder;
one that cannot be installed here is skipped, with the reason.

  --write   put the result into the table of test/clients/README.md; rows of programs that were not run, or cannot be here, stay
  --help    this text

  scripts/clients
  scripts/clients boto3 sops
  scripts/clients --write

Exit codes: 0 all that could be installed did what they should; 1 one did not; 2 wrong usage.`;

const readme = fileURLToPath(new URL('README.md', clientsFolder));
const table = markedPart('scripts/clients');
const heading = ['program', 'version', 'what it did', 'requests on record', 'result', 'date'];

function renderRow({ program, version, did, requests, result, date }: ClientRun): string {
  return `| ${[program, version, did, String(requests), result, date].join(' | ')} |`;
}

/** The rows that stand there, by their programs. */
function writtenRows(text: string): Map<string, string> {
  const rows = table.find(text).split('\n').slice(2);
  return new Map(rows.map((row) => [row.split(' | ')[0]?.replace(/^\| /, '') ?? '', row]));
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { write: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  if (values.help) {
    process.stdout.write(`${help}\n`);
    return 0;
  }
  const all = readdirSync(clientsFolder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
  const unknown = positionals.find((name) => !all.includes(name));
  if (unknown !== undefined) {
    process.stderr.write(`there is no \`${unknown}\` in test/clients; there are ${all.join(', ')}\n`);
    return 2;
  }
  const runs: ClientRun[] = [];
  for (const name of positionals.length === 0 ? all : positionals) {
    process.stdout.write(`${name}: running\n`);
    const run = await runClient(name);
    runs.push(run);
    process.stdout.write(`${name}: ${run.result}; ${run.version}, ${run.requests} requests on record\n`);
    if (run.output !== '') process.stdout.write(`${run.output.replaceAll(/^/gm, '  ')}\n`);
  }
  if (values.write) {
    const text = readFileSync(readme, 'utf8');
    const rows = writtenRows(text);
    for (const run of runs) {
      // What could not be installed here was done elsewhere, on the day that its row says.
      if (!(run.result.startsWith('skipped') && rows.has(run.program))) rows.set(run.program, renderRow(run));
    }
    const sorted = [...rows].sort(([one], [other]) => (one.toLowerCase() < other.toLowerCase() ? -1 : 1));
    const lines = [
      `| ${heading.join(' | ')} |`,
      `|${' --- |'.repeat(heading.length)}`,
      ...sorted.map(([, row]) => row),
    ];
    writeFileSync(readme, table.replace(text, lines.join('\n')));
  }
  return runs.some(({ result }) => result === 'failed') ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}
