/** `drawbridge policy`: a key's policy, shown and replaced; the commands that explain access are in `policy/`. */

import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../options.ts';
import { print } from '../output.ts';
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
  return withSocket(new Command('show').description("print a key's policy, as it was put"))
    .argument('<key>', 'key id or key ARN')
    .action(async (keyId: string, options: SocketOptions) => {
      const { Policy } = await (await connectTo(options)).call('GetKeyPolicy', { KeyId: keyId });
      print(String(Policy));
    });
}

function putCommand(): Command {
  return withSocket(new Command('put').description("replace a key's policy"))
    .argument('<key>', 'key id or key ARN')
    .argument('<file>', 'the policy document; - is stdin')
    .option('--bypass-lockout-check', 'accept a policy that keeps you from changing it again')
    .addHelpText(
      'after',
      `
Example:
  drawbridge policy show KEY > policy.json && $EDITOR policy.json && drawbridge policy put KEY policy.json`,
    )
    .action(async (keyId: string, file: string, options: SocketOptions & { bypassLockoutCheck?: true }) => {
      const document = file === '-' ? await text(process.stdin) : await readFile(file, 'utf8');
      await (await connectTo(options)).call('PutKeyPolicy', {
        KeyId: keyId,
        Policy: document,
        ...(options.bypassLockoutCheck ? { BypassPolicyLockoutSafetyCheck: true } : {}),
      });
    });
}
