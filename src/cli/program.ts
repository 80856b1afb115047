/** The command line as a whole: its commands, in the order in which `--help` lists them. */

import { Command } from 'commander';
import { version } from '../daemon/version.ts';
import { type CommandRow, loadCommands } from './requests/load-commands.ts';
import { print } from './terminal/output.ts';

/** In the order in which `--help` lists them. */
const commands: readonly CommandRow[] = [
  ['init', async () => (await import('./commands/init-command.ts')).initCommand()],
  ['serve', async () => (await import('./commands/serve-command.ts')).serveCommand()],
  ['dev', async () => (await import('./commands/dev-command.ts')).devCommand()],
  ['status', async () => (await import('./commands/status-command.ts')).statusCommand()],
  ['doctor', async () => (await import('./commands/doctor-command.ts')).doctorCommand()],
  ['reconnect', async () => (await import('./commands/reconnect-command.ts')).reconnectCommand()],
  ['domain', async () => (await import('./commands/domain-command.ts')).domainCommand()],
  ['upkeep', async () => (await import('./commands/upkeep-command.ts')).upkeepCommand()],
  ['keys', async (words) => (await import('./commands/keys-command.ts')).keysCommand(words)],
  ['key-stores', async () => (await import('./commands/key-stores-command.ts')).keyStoresCommand()],
  ['encrypt', async () => (await import('./commands/encrypt-command.ts')).encryptCommand()],
  ['decrypt', async () => (await import('./commands/decrypt-command.ts')).decryptCommand()],
  ['sign', async () => (await import('./commands/sign-command.ts')).signCommand()],
  ['verify', async () => (await import('./commands/verify-command.ts')).verifyCommand()],
  ['mac', async () => (await import('./commands/mac-command.ts')).macCommand()],
  ['public-key', async () => (await import('./commands/public-key-command.ts')).publicKeyCommand()],
  ['csr', async () => (await import('./commands/csr-command.ts')).csrCommand()],
  ['certificate', async () => (await import('./commands/certificate-command.ts')).certificateCommand()],
  ['policy', async () => (await import('./commands/policy-command.ts')).policyCommand()],
  ['ssh-agent', async () => (await import('./commands/ssh-agent-command.ts')).sshAgentCommand()],
  ['credentials', async () => (await import('./commands/credentials-command.ts')).credentialsCommand()],
  ['access-keys', async () => (await import('./commands/access-keys-command.ts')).accessKeysCommand()],
  ['tls', async () => (await import('./commands/tls-command.ts')).tlsCommand()],
  ['audit', async () => (await import('./commands/audit-command.ts')).auditCommand()],
  ['backup', async () => (await import('./commands/backup-command.ts')).backupCommand()],
  ['restore', async () => (await import('./commands/restore-command.ts')).restoreCommand()],
  ['census', async () => (await import('./commands/census-command.ts')).censusCommand()],
  ['metadata', async () => (await import('./commands/metadata-command.ts')).metadataCommand()],
];

/** Options of `drawbridge` itself for which no command is needed. */
const answersAlone: ReadonlySet<string | undefined> = new Set(['--version']);

/**
 * @param words What was typed after `drawbridge`. When the first one names a command, only that one is loaded: loading all
 * takes longer than most commands do. Without words, as for help and for a name that is none, the program has all of them.
 */
export async function buildProgram(words: readonly string[] = []): Promise<Command> {
  const program = new Command('drawbridge')
    .description('An HSM behind the AWS KMS API, over a local Unix socket.')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .addHelpText('after', helpText);
  if (!answersAlone.has(words[0])) {
    for (const command of await loadCommands(commands, words)) program.addCommand(command);
  }
  for (const command of withSubcommands(program)) settle(command);
  misspeltIn(program, words)?.helpOption(false);
  return program;
}

/** @returns The command that has none of the next word's name: Commander would show its help, and say nothing of the word. */
function misspeltIn(program: Command, words: readonly string[]): Command | undefined {
  let command = program;
  for (const word of words) {
    if (word.startsWith('-') || word === 'help' || command.commands.length === 0) return undefined;
    const named = command.commands.find((one) => one.name() === word);
    if (named === undefined) return command;
    command = named;
  }
  return undefined;
}

/** Every command ends by throwing, so that `main.ts` alone decides about exit codes. */
function settle(command: Command): void {
  command
    .helpOption('-h, --help', 'print help')
    .exitOverride()
    .showSuggestionAfterError(true)
    .showHelpAfterError(`See \`${fullName(command)} --help\`.`)
    .configureOutput({
      writeOut: print,
      outputError: (text, write) => write(text.replace(/^error: /, 'drawbridge: ')),
    });
  if (command.commands.length > 0) command.helpCommand('help [command]', 'print help of a command');
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}

function withSubcommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withSubcommands)];
}

const helpText = `
Examples:
  drawbridge dev                                    a throw-away instance over SoftHSM2, to try things
  drawbridge init --config drawbridge.yaml --dir .  a configuration and a token
  drawbridge serve --config drawbridge.yaml
  export DRAWBRIDGE_SOCKET=/run/drawbridge/kms.sock
  drawbridge keys create --alias alias/backup
  tar c /srv | drawbridge encrypt --key alias/backup --context host=web1 > backup.enc
  drawbridge decrypt --context host=web1 --in backup.enc | tar t

Exit codes: 0 done, 1 failed, 2 the command line was not understood.
Environment: DRAWBRIDGE_SOCKET is the socket where neither --socket nor --config is given.`;
