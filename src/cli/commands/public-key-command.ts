/** `drawbridge public-key`: the public half of a key pair in the HSM, as other programs read it. */

import { Command, Option } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import { keyArgument } from '../requests/key-names.ts';
import { assertFitsOutput, pem, writeWhole } from '../terminal/binary-output.ts';

interface Options extends SocketOptions {
  readonly format: 'pem' | 'der';
  readonly out?: string;
}

export function publicKeyCommand(): Command {
  return withSocket(new Command('public-key').description('the public key of a key pair'))
    .argument(...keyArgument)
    .addOption(new Option('--format <format>', 'of the SubjectPublicKeyInfo').choices(['pem', 'der']).default('pem'))
    .option('--out <file>', 'where to; without it, stdout')
    .addHelpText(
      'after',
      `
Example:
  drawbridge public-key alias/releases --out releases.pem
  openssl dgst -sha256 -verify releases.pem -signature app.tar.sig app.tar`,
    )
    .action(async (keyId: string, options: Options) => {
      assertFitsOutput(options.out, options.format === 'pem', '--format pem');
      const { PublicKey } = await (await connectTo(options)).call('GetPublicKey', { KeyId: keyId });
      const der = Buffer.from(String(PublicKey), 'base64');
      await writeWhole(options.out, options.format === 'pem' ? pem(der, 'PUBLIC KEY') : der);
    });
}
