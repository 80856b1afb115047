/** `drawbridge keys`: the commands on KMS keys, which stand in `keys/`, in the order of a key's life. */

import { Command } from 'commander';
import { type CommandRow, loadCommands } from '../requests/load-commands.ts';

const commands: readonly CommandRow[] = [
  ['list', async () => (await import('./keys/list-table.ts')).listCommand()],
  ['create', async () => (await import('./keys/make-key.ts')).createCommand()],
  ['import', async () => (await import('./keys/import-key.ts')).importCommand()],
  ['show', async () => (await import('./keys/show-key.ts')).showCommand()],
  ['set-description', async () => (await import('./keys/change-key.ts')).setDescriptionCommand()],
  ['tag', async () => (await import('./keys/key-tags.ts')).tagCommand()],
  ['untag', async () => (await import('./keys/key-tags.ts')).untagCommand()],
  ['rotate', async () => (await import('./keys/rotate-key.ts')).rotateCommand()],
  ['rotation', async () => (await import('./keys/rotate-key.ts')).rotationCommand()],
  ['move', async () => (await import('./keys/move-key.ts')).moveCommand()],
  ['replicate', async () => (await import('./keys/related-regions.ts')).replicateCommand()],
  ['set-primary-region', async () => (await import('./keys/related-regions.ts')).setPrimaryRegionCommand()],
  ['enable', async () => (await import('./keys/change-key.ts')).enableCommand()],
  ['disable', async () => (await import('./keys/change-key.ts')).disableCommand()],
  ['delete-material', async () => (await import('./keys/delete-material.ts')).deleteMaterialCommand()],
  ['delete', async () => (await import('./keys/delete-key.ts')).deleteCommand()],
  ['cancel-deletion', async () => (await import('./keys/change-key.ts')).cancelDeletionCommand()],
];

/** @param words What was typed after `keys`, which may name the one that is needed. */
export async function keysCommand(words: readonly string[]): Promise<Command> {
  const keys = new Command('keys').description(
    'list, create, import, rotate, move, replicate, enable, disable, tag and delete KMS keys',
  );
  for (const command of await loadCommands(commands, words)) keys.addCommand(command);
  return keys;
}
