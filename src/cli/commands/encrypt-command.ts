/** `drawbridge encrypt`: a file or pipe of any size, under a data key that the HSM wrapped. */

import { Command } from 'commander';
import { encryptingStream } from '../files/message-format.ts';
import { transformFile } from '../files/transform-file.ts';
import { collectPairs, connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import { UsageError } from '../terminal/cli-error.ts';
import { isTerminal } from '../terminal/whole-file.ts';

interface Options extends SocketOptions {
  readonly key: string;
  readonly context?: Readonly<Record<string, string>>;
  readonly in?: string;
  readonly out?: string;
}

export function encryptCommand(): Command {
  return withSocket(new Command('encrypt').description('encrypt a file or a pipe of any size'))
    .requiredOption('--key <key>', 'key id, key ARN, alias/NAME or alias ARN')
    .option('--context <name=value>', 'a pair of encryption context; can be repeated', collectPairs)
    .option('--in <file>', 'what to encrypt; without it, stdin')
    .option('--out <file>', 'where to; without it, stdout')
    .addHelpText(
      'after',
      `
The result is a message of the AWS Encryption SDK, which its libraries and aws-encryption-cli read.
The encryption context is bound to the message and can be read in it: it is no place for secrets.
A named output file is replaced when everything is written, and not before.

Examples:
  drawbridge encrypt --key alias/backup --in dump.sql --out dump.sql.enc
  tar c /srv | drawbridge encrypt --key alias/backup --context host=web1 > backup.enc`,
    )
    .action(async (options: Options) => {
      if (isTerminal(options.out)) throw new UsageError('ciphertext is not for a terminal; give --out or a pipe');
      const client = await connectTo(options);
      await transformFile({
        from: options.in,
        to: options.out,
        mode: 0o666,
        label: 'encrypting',
        through: () => encryptingStream(client, options.key, options.context ?? {}),
      });
    });
}
