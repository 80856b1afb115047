/** `drawbridge keys`: the commands on KMS keys, which stand in `keys/`, in the order of a key's life. */

import { Command } from 'commander';
import { cancelDeletionCommand, disableCommand, enableCommand, setDescriptionCommand } from './keys/change-key.ts';
import { deleteCommand } from './keys/delete-key.ts';
import { deleteMaterialCommand } from './keys/delete-material.ts';
import { importCommand } from './keys/import-key.ts';
import { tagCommand, untagCommand } from './keys/key-tags.ts';
import { listCommand } from './keys/list-table.ts';
import { createCommand } from './keys/make-key.ts';
import { rotateCommand, rotationCommand } from './keys/rotate-key.ts';
import { showCommand } from './keys/show-key.ts';

export function keysCommand(): Command {
  return new Command('keys')
    .description('list, create, import, rotate, enable, disable, tag and delete KMS keys')
    .addCommand(listCommand())
    .addCommand(createCommand())
    .addCommand(importCommand())
    .addCommand(showCommand())
    .addCommand(setDescriptionCommand())
    .addCommand(tagCommand())
    .addCommand(untagCommand())
    .addCommand(rotateCommand())
    .addCommand(rotationCommand())
    .addCommand(enableCommand())
    .addCommand(disableCommand())
    .addCommand(deleteMaterialCommand())
    .addCommand(deleteCommand())
    .addCommand(cancelDeletionCommand());
}
