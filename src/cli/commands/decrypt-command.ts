/** `drawbridge decrypt`: the reverse of `encrypt`. */

import { Command } from 'commander';
import { decryptingStream } from '../files/message-format.ts';
import { transformFile } from '../files/transform-file.ts';
import { collectPairs, connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import type { KmsClient, Members } from '../requests/kms-client.ts';

interface Options extends SocketOptions {
  readonly key?: string;
  readonly context?: Readonly<Record<string, string>>;
  readonly allowUncommitted?: true;
  readonly in?: string;
  readonly out?: string;
}

export function decryptCommand(): Command {
  return withSocket(new Command('decrypt').description('decrypt what `encrypt` or the AWS Encryption SDK wrote'))
    .option('--key <key>', 'decrypt with this key alone; without it, with any that you may use')
    .option(
      '--context <name=value>',
      'a pair that the encryption context must have, and that the message may lack; can be repeated',
      collectPairs,
    )
    .option('--allow-uncommitted', 'read messages without key commitment too, which old AWS Encryption SDKs wrote')
    .option('--in <file>', 'what to decrypt; without it, stdin')
    .option('--out <file>', 'where to; without it, stdout')
    .addHelpText(
      'after',
      `
A named output file is replaced when the whole message is decrypted and verified, and not before; a new one can be
read by you alone. Stdout gets each frame (64 KiB) as soon as that frame is verified: a message that was cut off or
changed further on has by then been written up to there, and only the exit code 1 says that it is not all.
(A message of others that carries a signature is verified as a whole at its end, also with exit code 1 if it fails.)
Messages that follow each other, as \`encrypt >> file\` makes them, are decrypted one after the other, and base64 text is
taken for what it stands for. Whatever else follows a message is a failure, not passed over.
A message that was written with a required encryption context does not store all of it: --context brings what it lacks.

Examples:
  drawbridge decrypt --in dump.sql.enc --out dump.sql
  drawbridge decrypt --context host=web1 < backup.enc | tar t`,
    )
    .action(async (options: Options) => {
      const client = await connectTo(options);
      const keyArn = options.key === undefined ? undefined : await arnOf(client, options.key);
      await transformFile({
        from: options.in,
        to: options.out,
        mode: 0o600,
        label: 'decrypting',
        through: () =>
          decryptingStream(client, {
            keyArn,
            context: options.context ?? {},
            allowsUncommitted: options.allowUncommitted === true,
          }),
      });
    });
}

/** Messages name their keys by ARN. */
async function arnOf(client: KmsClient, key: string): Promise<string> {
  if (key.startsWith('arn:') && key.includes(':key/')) return key;
  const { KeyMetadata } = await client.call('DescribeKey', { KeyId: key });
  return String((KeyMetadata as Members)['Arn']);
}
