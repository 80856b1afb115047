/** `drawbridge policy`: a key's policy, shown and replaced; the commands that explain access are in `policy/`. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import { keyArgument, withoutAlias } from '../requests/key-names.ts';
import { readPolicy } from '../terminal/input.ts';
import { inertJson, print } from '../terminal/output.ts';
import { checkCommand } from './policy/check.ts';
import { explainCommand } from './policy/explain.ts';
import { simulateCommand } from './policy/simulate.ts';
import { whoCanCommand } from './policy/who-can.ts';

export function policyCommand(): Command {
  return new Command('policy')
    .description('show, replace and check policies, and explain what they do')
    .addCommand(showCommand())
    .addCommand(putCommand())
    .addCommand(checkCommand())
    .addCommand(simulateCommand())
    .addCommand(explainCommand())
    .addCommand(whoCanCommand());
}

function showCommand(): Command {
  return withSocket(new Command('show').description("print a key's policy"))
    .argument(...keyArgument)
    .addHelpText(
      'after',
      `
Example:
  drawbridge policy show alias/backup > policy.json`,
    )
    .action(async (key: string, options: SocketOptions) => {
      const client = await connectTo(options);
      const { Policy } = await client.call('GetKeyPolicy', { KeyId: await withoutAlias(client, key) });
      print(inertJson(String(Policy)));
    });
}

function putCommand(): Command {
  return withSocket(new Command('put').description("replace a key's policy"))
    .argument(...keyArgument)
    .argument('<file>', 'the policy document; - is stdin')
    .option('--bypass-lockout-check', 'accept a policy that keeps you from changing it again')
    .addHelpText(
      'after',
      `
Example:
  drawbridge policy show KEY > policy.json && $EDITOR policy.json && drawbridge policy put KEY policy.json`,
    )
    .action(async (key: string, file: string, options: SocketOptions & { bypassLockoutCheck?: true }) => {
      const document = await readPolicy(file);
      const client = await connectTo(options);
      await client.call('PutKeyPolicy', {
        KeyId: await withoutAlias(client, key),
        Policy: document,
        ...(options.bypassLockoutCheck ? { BypassPolicyLockoutSafetyCheck: true } : {}),
      });
    });
}
