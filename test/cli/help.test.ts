/** What `--help` promises, for every command. */

import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { buildProgram } from '../../src/cli/program.ts';

const program = await buildProgram();

/** Those that do something, by what one types. */
const commands = new Map(leaves(program, []));

function leaves(command: Command, path: readonly string[]): [string, Command][] {
  const typed = [...path, command.name()];
  if (command.commands.length === 0) return [[typed.join(' '), command]];
  return command.commands.flatMap((sub) => leaves(sub, typed));
}

function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (piece) => (text += piece) });
  command.outputHelp();
  return text;
}

/** The lines after `Example:`, those that end with a backslash with the next one. */
function examplesOf(command: Command): string[] {
  const [, examples = ''] = helpOf(command).split(/^Examples?\b.*:$/m);
  return examples
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.startsWith('  '));
}

test.each([...commands])('%s says what each option is for, and shows an example', (typed, command) => {
  for (const { long, description } of command.options) expect([long, description]).not.toEqual([long, '']);
  expect(examplesOf(command).join('\n')).toContain(typed);
});

test('a command is loaded by its own name, and without the others', async () => {
  for (const { name, subcommands } of program.commands.map((command) => ({
    name: command.name(),
    subcommands: command.commands.map((sub) => sub.name()),
  }))) {
    const { commands: loaded } = await buildProgram([name, ...subcommands.slice(-1)]);
    expect(loaded.map((command) => command.name())).toEqual([name]);
    if (name !== 'keys') continue;
    for (const sub of subcommands) {
      const [keys] = (await buildProgram([name, sub])).commands;
      expect(keys?.commands.map((command) => command.name())).toEqual([sub]);
    }
  }
});

test('every example gives a command options that it has', () => {
  const mistakes: string[] = [];
  const all = [helpOf(program).split('Examples:')[1]?.split('\n') ?? [], ...[...commands.values()].map(examplesOf)];
  let seen = 0;
  for (const [, path = '', rest = ''] of all
    .flat()
    .flatMap((line) => [...line.matchAll(/\b(drawbridge(?: [a-z][a-z-]*)+)([^|&]*)/g)])) {
    seen++;
    const words = path.split(' ');
    const command = commands.get(words.slice(0, 3).join(' ')) ?? commands.get(words.slice(0, 2).join(' '));
    const known = command?.options.map(({ long }) => long) ?? [];
    for (const [option] of rest.matchAll(/--[a-z-]+/g))
      if (!known.includes(option)) mistakes.push(`${path}${rest}: ${option}`);
  }
  expect(mistakes).toEqual([]);
  expect(seen).toBeGreaterThan(commands.size);
});
