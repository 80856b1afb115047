/** The command line as a whole: its commands, in the order in which `--help` lists them. */

import { Command } from 'commander';
import { version } from '../daemon/version.ts';
import { accessKeysCommand } from './commands/access-keys-command.ts';
import { auditCommand } from './commands/audit-command.ts';
import { certificateCommand } from './commands/certificate-command.ts';
import { credentialsCommand } from './commands/credentials-command.ts';
import { csrCommand } from './commands/csr-command.ts';
import { decryptCommand } from './commands/decrypt-command.ts';
import { devCommand } from './commands/dev-command.ts';
import { doctorCommand } from './commands/doctor-command.ts';
import { encryptCommand } from './commands/encrypt-command.ts';
import { initCommand } from './commands/init-command.ts';
import { keysCommand } from './commands/keys-command.ts';
import { macCommand } from './commands/mac-command.ts';
import { policyCommand } from './commands/policy-command.ts';
import { publicKeyCommand } from './commands/public-key-command.ts';
import { reconnectCommand } from './commands/reconnect-command.ts';
import { serveCommand } from './commands/serve-command.ts';
import { signCommand } from './commands/sign-command.ts';
import { statusCommand } from './commands/status-command.ts';
import { upkeepCommand } from './commands/upkeep-command.ts';
import { verifyCommand } from './commands/verify-command.ts';
import { print } from './terminal/output.ts';

export function buildProgram(): Command {
  const program = new Command('drawbridge')
    .description('An HSM behind the AWS KMS API, over a local Unix socket.')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .addHelpText('after', helpText);
  const commands = [
    initCommand,
    serveCommand,
    devCommand,
    statusCommand,
    doctorCommand,
    reconnectCommand,
    upkeepCommand,
    keysCommand,
    encryptCommand,
    decryptCommand,
    signCommand,
    verifyCommand,
    macCommand,
    publicKeyCommand,
    csrCommand,
    certificateCommand,
    policyCommand,
    credentialsCommand,
    accessKeysCommand,
    auditCommand,
  ];
  for (const command of commands) program.addCommand(command());
  for (const command of withSubcommands(program)) settle(command);
  return program;
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
