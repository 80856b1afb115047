/** `drawbridge census`: is every key that is on record in the HSM, and does it work? */

import { Command } from 'commander';
import type { ConnectionErrorCode } from '../../kms/connection-states.ts';
import { connectTo, type SocketOptions, withJson, withSocket } from '../requests/command-options.ts';
import type { Members } from '../requests/kms-client.ts';
import { counted } from '../terminal/counted.ts';
import { facts, note, print, printJson, table } from '../terminal/output.ts';
import { showCount } from '../terminal/progress.ts';
import { afterFailure } from './key-stores-command.ts';

type Options = SocketOptions & { readonly json?: true };

export function censusCommand(): Command {
  return withJson(
    withSocket(new Command('census').description('use every key on record once, and list what nobody names')),
  )
    .addHelpText(
      'after',
      `
Each backing key is used: what it encrypts has to come back, what it signs has to verify with the public key on record. What is in the
HSM and belongs to no record is listed and left alone; it may be another daemon's. Exit code 1 says that a key is missing or
does not work, be it in one member of its key store alone (\`worksElsewhere\` of --json). Other requests are served meanwhile. Only the account's root may take it; it is on record.

Examples:
  drawbridge census
  drawbridge census --json | jq -r '.problems[].keyId'`,
    )
    .action(async (options: Options) => {
      const census = await takeCensus(options);
      if (options.json) printJson(census);
      else show(census);
      if (!isWhole(census)) process.exitCode = 1;
    });
}

/** What a census found. */
export interface Census {
  readonly keys: number;
  readonly proven: number;
  readonly problems: readonly Members[];
  readonly orphans: readonly Members[];
  /** Key stores, and members of them as `KEY-STORE/MEMBER`, that could not be asked what is in them. */
  readonly unreachable: readonly string[];
  /** Of these, custom key stores that are disconnected because that is wanted. */
  readonly disconnected: readonly string[];
  /** And those whose connection has failed, with why. */
  readonly failed: Readonly<Record<string, ConnectionErrorCode>>;
  /** KMS keys with a record that does not verify. */
  readonly damaged: number;
}

async function takeCensus(options: Options): Promise<Census> {
  const client = await connectTo(options);
  const count = await showCount('census', 'keys');
  const problems: Members[] = [];
  let keys = 0;
  let proven = 0;
  let next: unknown = null;
  try {
    do {
      const part = await client.post('/census', { after: next });
      keys += Number(part['keys']);
      proven += Number(part['proven']);
      problems.push(...(part['problems'] as Members[]));
      count.update(keys, Math.max(keys, Number(part['totalKeys'])));
      next = part['next'];
    } while (next !== null);
  } finally {
    count.stop();
  }
  const rest = await client.post('/census/orphans', {});
  return {
    keys,
    proven,
    problems,
    ...(rest as unknown as Pick<Census, 'orphans' | 'unreachable' | 'disconnected' | 'failed' | 'damaged'>),
  };
}

/** Is everything there that is on record? */
export function isWhole({
  problems,
  unreachable,
  damaged,
}: Pick<Census, 'problems' | 'unreachable' | 'damaged'>): boolean {
  return problems.length === 0 && unreachable.length === 0 && damaged === 0;
}

function show({ keys, proven, problems, orphans, unreachable, disconnected, failed, damaged }: Census): void {
  print(
    facts([
      ['keys', keys],
      ['backing keys that work', proven],
      ...countProblems(problems),
      ['records that do not verify', damaged],
      ['objects of no record', orphans.length],
    ]),
  );
  showProblems(problems, orphans);
  for (const name of unreachable) {
    const code = failed[name];
    if (code !== undefined)
      note(`the custom key store \`${name}\` has failed (${code}), and is not looked at: ${afterFailure(name, code)}`);
    else if (disconnected.includes(name))
      note(
        `the custom key store \`${name}\` is disconnected, and not looked at: \`drawbridge key-stores connect ${name}\``,
      );
    else note(`the key store, or member of one, \`${name}\` cannot be listed now`);
  }
}

/** Those that whoever uses them misses, those that another member of their key store has, and those of which nothing is known. */
export function countProblems(problems: readonly Members[]): readonly (readonly [string, number])[] {
  const working = problems.filter(({ worksElsewhere }) => worksElsewhere === true).length;
  const unknown = problems.filter(isUnknown).length;
  const rows: (readonly [string, number])[] = [['missing or not working', problems.length - working - unknown]];
  if (working > 0) rows.push(['working, but not in every member', working]);
  if (unknown > 0) rows.push(['not asked, because their token is away', unknown]);
  return rows;
}

function isUnknown({ worksElsewhere, wasAsked }: Members): boolean {
  return wasAsked === false && worksElsewhere !== true;
}

/** Of keys that could not be asked for one reason. */
const namedOfReason = 20;

/** Backing keys that are not as they should be, and objects that nobody names; nothing where there are none. */
export function showProblems(problems: readonly Members[], orphans: readonly Members[]): void {
  const rowOf = ({ keyStore, keyId, backingKeyId, problem }: Members): string[] =>
    [keyStore, keyId, backingKeyId, problem].map(String);
  const orphanRowOf = ({ keyStore, backingKeyId, what, label }: Members): string[] =>
    [keyStore, backingKeyId, what, label].map(String);
  // All keys of a key store that is away have one reason: some are named.
  const unknown = Map.groupBy(problems.filter(isUnknown), ({ keyStore, problem }) => `${keyStore}: ${problem}`);
  const named = [...unknown.values()].flatMap((those) => those.slice(0, namedOfReason));
  const shown = [...problems.filter((problem) => !isUnknown(problem)), ...named];
  if (shown.length > 0) print(`\n${table(['KEY STORE', 'KEY', 'BACKING KEY', 'PROBLEM'], shown.map(rowOf))}`);
  for (const [reason, { length }] of unknown)
    if (length > namedOfReason) print(`\nand ${counted(length - namedOfReason, 'more backing key')} in ${reason}`);
  if (orphans.length > 0) print(`\n${table(['KEY STORE', 'OBJECT', 'WHAT', 'LABEL'], orphans.map(orphanRowOf))}`);
}
