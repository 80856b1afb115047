/** `drawbridge verify`: is this the signature of that file, by that key? */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import { algorithmFor, signingMessage } from '../requests/signing-message.ts';
import { decode, type Encoding, encodingOption } from '../terminal/binary-output.ts';
import { ApiError } from '../terminal/cli-error.ts';
import { readUpTo } from '../terminal/input.ts';
import { print } from '../terminal/output.ts';

/** The API takes 6,144 bytes of signature; in hexadecimal digits and lines that is this at most. */
const maxSignatureFileBytes = 16 * 1024;

interface Options extends SocketOptions {
  readonly key: string;
  readonly signature: string;
  readonly algorithm?: string;
  readonly encoding: Encoding;
  readonly in?: string;
}

export function verifyCommand(): Command {
  return withSocket(new Command('verify').description('verify the signature of a file or a pipe'))
    .requiredOption('--key <key>', 'key id, key ARN, alias/NAME or alias ARN')
    .requiredOption('--signature <file>', 'the signature')
    .option('--algorithm <algorithm>', "the signing algorithm; without it, the key's first")
    .option('--in <file>', 'what was signed; without it, stdin')
    .addOption(encodingOption('the signature'))
    .addHelpText(
      'after',
      `
The exit code is 0 for a good signature alone, and 1 for a bad one.

Example:
  drawbridge verify --key alias/releases --in app.tar --signature app.tar.sig`,
    )
    .action(async (options: Options) => {
      const file = await readUpTo(options.signature, maxSignatureFileBytes);
      if (file === undefined) throw new Error(`\`${options.signature}\` is too long for a signature`);
      const signature = decode(file, options.encoding, `\`${options.signature}\``);
      const client = await connectTo(options);
      const SigningAlgorithm = await algorithmFor(client, options.key, options.algorithm, 'SigningAlgorithms');
      const message = await signingMessage(options.in, SigningAlgorithm);
      try {
        await client.call('Verify', {
          KeyId: options.key,
          SigningAlgorithm,
          ...message,
          Signature: signature.toString('base64'),
        });
      } catch (error) {
        if (!(error instanceof ApiError) || error.type !== 'KMSInvalidSignatureException') throw error;
        throw new Error(
          `bad signature: it is not one of \`${options.in ?? '-'}\` by this key with ${SigningAlgorithm}`,
          {
            cause: error,
          },
        );
      }
      print(`good signature, ${SigningAlgorithm}`);
    });
}
