/** Commands that are loaded when they are asked for. A command line is one command: the others need not be read for it. */

import type { Command } from 'commander';

/** What is typed for the command, and what makes it; `words` are those that follow its name. */
export type CommandRow = readonly [name: string, load: (words: readonly string[]) => Promise<Command>];

/** The one command that the first of `words` names, or all, in their order, when it names none. */
export function loadCommands(rows: readonly CommandRow[], [word, ...words]: readonly string[]): Promise<Command[]> {
  const named = rows.filter(([name]) => name === word);
  if (named.length > 0) return Promise.all(named.map(([, load]) => load(words)));
  return Promise.all(rows.map(([, load]) => load([])));
}
