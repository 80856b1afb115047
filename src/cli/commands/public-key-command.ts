/** `drawbridge public-key`: the public half of a key pair in the HSM, as other programs read it. */

import { Command, Option } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import { keyArgument } from '../requests/key-names.ts';
import { assertFitsOutput, pem, writeWhole } from '../terminal/binary-output.ts';

interface Options extends SocketOptions {
  readonly format: 'pem' | 'der' | 'ssh';
  readonly out?: string;
}

export function publicKeyCommand(): Command {
  return withSocket(new Command('public-key').description('the public key of a key pair'))
    .argument(...keyArgument)
    .addOption(
      new Option('--format <format>', 'SubjectPublicKeyInfo in PEM or DER, or a line for OpenSSH')
        .choices(['pem', 'der', 'ssh'])
        .default('pem'),
    )
    .option('--out <file>', 'where to; without it, stdout')
    .addHelpText(
      'after',
      `
A line for OpenSSH, of an Ed25519, P-256, P-384, P-521 or RSA key, has the name of the key as its comment.

Examples:
  drawbridge public-key alias/releases --out releases.pem
  openssl dgst -sha256 -verify releases.pem -signature app.tar.sig app.tar
  drawbridge public-key alias/ssh/me --format ssh >> ~/.ssh/authorized_keys`,
    )
    .action(async (keyId: string, options: Options) => {
      assertFitsOutput(options.out, options.format !== 'der', '--format pem');
      const { PublicKey } = await (await connectTo(options)).call('GetPublicKey', { KeyId: keyId });
      const der = Buffer.from(String(PublicKey), 'base64');
      await writeWhole(options.out, await formatted(der, options.format, keyId));
    });
}

async function formatted(der: Buffer, format: Options['format'], keyId: string): Promise<Buffer> {
  if (format === 'der') return der;
  if (format === 'pem') return pem(der, 'PUBLIC KEY');
  const { sshKeyLine, sshKeyOfSpki } = await import('../ssh/ssh-public-key.ts');
  return Buffer.from(sshKeyLine(sshKeyOfSpki(der).blob, keyId));
}
