/** `drawbridge sign`: the signature of a file or pipe, made by a key in the HSM. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import { algorithmFor, signingMessage } from '../requests/signing-message.ts';
import { assertFitsOutput, type Encoding, encode, encodingOption, writeWhole } from '../terminal/binary-output.ts';

interface Options extends SocketOptions {
  readonly key: string;
  readonly algorithm?: string;
  readonly encoding: Encoding;
  readonly in?: string;
  readonly out?: string;
}

export function signCommand(): Command {
  return withSocket(new Command('sign').description('sign a file or a pipe of any size'))
    .requiredOption('--key <key>', 'key id, key ARN, alias/NAME or alias ARN')
    .option('--algorithm <algorithm>', "the signing algorithm; without it, the key's first")
    .option('--in <file>', 'what to sign; without it, stdin')
    .option('--out <file>', 'where to; without it, stdout')
    .addOption(encodingOption('the signature'))
    .addHelpText(
      'after',
      `
The file is hashed while it is read, and the HSM signs the digest; Ed25519 and ML-DSA sign the file itself, which can
then be 4,096 bytes at most. Signatures of elliptic curves are DER, as openssl makes and takes them.

Examples:
  drawbridge sign --key alias/releases --in app.tar --out app.tar.sig
  drawbridge sign --key alias/releases --algorithm RSASSA_PSS_SHA_256 --encoding base64 < app.tar`,
    )
    .action(async (options: Options) => {
      assertFitsOutput(options.out, options.encoding !== 'raw', '--encoding base64');
      const client = await connectTo(options);
      const SigningAlgorithm = await algorithmFor(client, options.key, options.algorithm, 'SigningAlgorithms');
      const message = await signingMessage(options.in, SigningAlgorithm);
      const { Signature } = await client.call('Sign', { KeyId: options.key, SigningAlgorithm, ...message });
      await writeWhole(options.out, encode(Buffer.from(String(Signature), 'base64'), options.encoding));
    });
}
