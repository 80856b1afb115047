/**
 * `drawbridge ssh-agent`: keys in the HSM for everything that asks an SSH agent: ssh, git, ssh-keygen, sshd.
 *
 * It runs as its user and asks the daemon as that user: key policies decide about each signature, and each is on record.
 */

import { Command } from 'commander';
import { collectPairs, collectValues, connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import { note, print } from '../terminal/output.ts';

/** What is offered when nothing was asked for. */
const usualKeys = 'alias/ssh/*';

interface Options extends SocketOptions {
  readonly key?: readonly string[];
  readonly tag?: Readonly<Record<string, string>>;
  readonly listen?: string;
}

export function sshAgentCommand(): Command {
  return withSocket(new Command('ssh-agent').description('an SSH agent whose keys are in the HSM'))
    .argument('[command...]', 'run with the agent in its environment; without it, the agent runs until it is stopped')
    .option(
      '--key <key>',
      `key id, key ARN, alias/NAME or alias/PREFIX*; can be repeated (${usualKeys})`,
      collectValues,
    )
    .option('--tag <name=value>', 'keys with this tag; can be repeated', collectPairs)
    .option('--listen <path>', "the agent's own socket; $XDG_RUNTIME_DIR/drawbridge/ssh-agent.sock if not given")
    .addHelpText(
      'after',
      `
It offers Ed25519, P-256, P-384, P-521 and RSA keys (SHA-256 and SHA-512) for signing. Keys are looked up when a
program asks for them, and only what you may use is offered; why a signature was refused stands on stderr.
ssh-add -l lists them, -x and -X lock and unlock; -s, -d and the like are for the HSM's own commands.
With a command, the agent ends with it and has its exit code.

Examples:
  drawbridge keys create --alias alias/ssh/me --spec ECC_NIST_EDWARDS25519
  drawbridge public-key alias/ssh/me --format ssh >> ~/.ssh/authorized_keys
  drawbridge ssh-agent -- ssh -A web1
  drawbridge ssh-agent --key alias/ssh/me --listen ~/.ssh/agent.sock
  drawbridge ssh-agent --tag purpose=ssh`,
    )
    .action(sshAgent);
}

async function sshAgent(command: readonly string[], options: Options): Promise<void> {
  const { AgentKeys } = await import('../ssh-agent/agent-keys.ts');
  const { AgentLock } = await import('../ssh-agent/agent-lock.ts');
  const { serveAgent } = await import('../ssh-agent/agent-server.ts');
  const { agentPlace, runCommand, stopped } = await import('../ssh-agent/run-with-agent.ts');
  const say = (text: string): void => note(`drawbridge ssh-agent: ${text}`);
  const { key, tag = {} } = options;
  const names = key ?? (options.tag === undefined ? [usualKeys] : []);
  const client = await connectTo(options);
  const keys = new AgentKeys(client, { names, tags: tag }, say);
  const place = await agentPlace(options.listen, command.length > 0);
  try {
    const agent = await serveAgent({ client, keys, lock: new AgentLock(), say }, place.path);
    try {
      if (command.length > 0) process.exitCode = await runCommand(command, agent.path);
      else {
        const stop = stopped();
        print(`SSH_AUTH_SOCK=${agent.path}`);
        await stop;
      }
    } finally {
      await agent.close();
    }
  } finally {
    await place.remove();
  }
}
