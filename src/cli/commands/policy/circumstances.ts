/** The options that a question about access has: the request, and the circumstances under which it comes. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import { collectPairs, connectTo, type SocketOptions } from '../../requests/command-options.ts';
import { isAlias, withoutAlias } from '../../requests/key-names.ts';
import type { Members } from '../../requests/kms-client.ts';
import { ApiError, UsageError } from '../../terminal/cli-error.ts';
import { printable } from '../../terminal/output.ts';

export interface CircumstanceOptions extends SocketOptions {
  readonly context?: Readonly<Record<string, string>>;
  readonly with?: Readonly<Record<string, string>>;
  readonly at?: string;
  readonly transport?: string;
  readonly sourceIp?: string;
  readonly userAgent?: string;
  readonly executable?: string;
  readonly systemdUnit?: string;
  readonly json?: true;
}

export function withCircumstances(command: Command): Command {
  return command
    .option('--context <name=value>', 'a pair of the encryption context; repeatable', collectPairs)
    .option(
      '--with <member=value>',
      "another member of the operation's request, as text or JSON; repeatable",
      collectPairs,
    )
    .option('--at <time>', 'when, such as 2030-01-31T12:00:00Z; now if not given')
    .option('--transport <unix|tcp|tls>', 'over the Unix socket, or signed over the loopback listener or over TLS')
    .option('--source-ip <address>', 'over tcp and tls, from where')
    .option('--user-agent <text>', 'what the client calls itself')
    .option('--executable <path>', 'the program that calls')
    .option('--systemd-unit <name>', 'the unit of the program that calls');
}

/** Asks the daemon about the key behind an alias where the operation itself takes none. */
export async function askAbout(
  question: 'explain' | 'who-can',
  operation: string,
  key: string | undefined,
  options: CircumstanceOptions,
  who: Members = {},
): Promise<Members> {
  const client = await connectTo(options);
  const ask = async (named: string | undefined): Promise<Members> =>
    client.post(`/access/${question}`, { ...(await circumstancesOf(operation, named, options)), ...who });
  try {
    return await ask(key);
  } catch (error) {
    if (!refusesAlias(error) || key === undefined || !isAlias(key)) throw error;
    return ask(await withoutAlias(client, key));
  }
}

/** Whatever an alias is made to point at is told apart by its text alone. */
function refusesAlias(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  return error.type === 'InvalidArnException' || error.message.includes('Aliases must refer to keys');
}

/** What all questions say. A refusal names the action, `kms:Decrypt`, and whoever asks about it may do so too. */
async function circumstancesOf(asked: string, key: string | undefined, options: CircumstanceOptions): Promise<Members> {
  const operation = asked.replace(/^kms:/, '');
  return {
    Operation: operation,
    Request: await requestOf(operation, key, options),
    At: options.at,
    Transport: options.transport,
    SourceIp: options.sourceIp,
    UserAgent: options.userAgent,
    Executable: options.executable,
    SystemdUnit: options.systemdUnit,
  };
}

/** An operation on two keys is asked about with one key and context for both, where the options do not say more. */
async function requestOf(operation: string, key: string | undefined, options: CircumstanceOptions): Promise<Members> {
  const { findOperation } = await import('../../../operations/find-operation.ts');
  const members = Object.keys(findOperation(operation)?.request.members ?? {});
  // Where the operation has none, the daemon says that it decides nothing.
  const keyMembers = orElse('KeyId', members.filter(isKeyMember));
  const contextMembers = orElse(
    'EncryptionContext',
    members.filter((name) => name.endsWith('EncryptionContext')),
  );
  return {
    ...(key === undefined ? {} : Object.fromEntries(keyMembers.map((name) => [name, key]))),
    ...(options.context === undefined ? {} : Object.fromEntries(contextMembers.map((name) => [name, options.context]))),
    ...Object.fromEntries(Object.entries(options.with ?? {}).map(([name, text]) => [name, parseValue(text)])),
  };
}

function isKeyMember(name: string): boolean {
  return /^(?:Source|Destination|Target)?KeyId$/.test(name);
}

function orElse(name: string, names: readonly string[]): readonly string[] {
  return names.length === 0 ? [name] : names;
}

/** `["Encrypt"]` and `7` are JSON, `ECDSA_SHA_256` is a text. */
function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // No JSON: a text without quotes.
    return text;
  }
}

export interface WhoOptions {
  readonly principal?: string;
  readonly user?: string;
  readonly group?: readonly string[];
}

/** Who is asked about. Of a Unix user the groups are those that he has now, unless others are given. */
export async function whoOf({ principal, user, group }: WhoOptions): Promise<Members> {
  if ((principal === undefined) === (user === undefined)) {
    throw new UsageError('say who asks: either --principal or --user');
  }
  const unixUser = user ?? /:user\/unix\/([^/=]+)$/.exec(principal ?? '')?.[1];
  const groups = group ?? (unixUser === undefined ? undefined : await groupsOf(unixUser));
  return { Principal: principal, UnixUser: user, Groups: groups };
}

const run = promisify(execFile);

/** Numbers, his own group first; `undefined` where there is no such user. */
export async function groupsOf(user: string): Promise<readonly string[] | undefined> {
  try {
    const { stdout } = await run('id', ['-G', '--', user]);
    return stdout.trim().split(' ');
  } catch {
    // The daemon says what it thinks of a user that nobody knows.
    return undefined;
  }
}

/** `Condition StringEquals kms:KeySpec: wants "A" or "B", the request has "C"`. */
export function describeTest(test: Members): string {
  const expected = (test['expected'] as readonly string[]).map(quote).join(' or ');
  const subject = [test['element'], test['operator'], test['key']].filter((part) => part !== undefined).join(' ');
  const actual = test['actual'] as readonly string[] | null | undefined;
  if (actual === undefined) return `${printable(subject)} ${expected}`;
  const has =
    actual === null ? 'does not have this key' : `has ${actual.length === 0 ? 'none' : actual.map(quote).join(', ')}`;
  return `${printable(subject)}: wants ${expected}, the request ${has}`;
}

function quote(text: string): string {
  return JSON.stringify(printable(text));
}
