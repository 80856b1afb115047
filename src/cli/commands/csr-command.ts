/** `drawbridge csr`: a request for a certificate (PKCS#10), signed by the key in the HSM that it is for. */

import { Command } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import { assertFitsOutput, pem, writeWhole } from '../terminal/binary-output.ts';
import { type ProfileOptions, profileOf, withProfile } from '../x509/certificate-options.ts';

interface Options extends SocketOptions, ProfileOptions {
  readonly key: string;
  readonly subject?: string;
  readonly algorithm?: string;
  readonly der?: true;
  readonly out?: string;
}

export function csrCommand(): Command {
  return withProfile(
    withSocket(new Command('csr').description('request a certificate for a key'))
      .requiredOption('--key <key>', 'key id, key ARN, alias/NAME or alias ARN')
      .option('--subject <name>', 'whom it is for: CN=www.example.org,O=Example,C=AT')
      .option('--algorithm <algorithm>', "the signing algorithm; without it, the key's first"),
  )
    .option('--der', 'DER instead of PEM')
    .option('--out <file>', 'where to; without it, stdout')
    .addHelpText(
      'after',
      `
The subject is written as in RFC 4514, the most specific part first.

Example:
  drawbridge csr --key alias/www --subject CN=www.example.org --san DNS:www.example.org --out www.csr
  openssl req -in www.csr -verify -noout -text`,
    )
    .action(async (options: Options) => {
      assertFitsOutput(options.out, options.der === undefined, 'PEM (without --der)');
      const { parseDistinguishedName } = await import('../x509/distinguished-name.ts');
      const { makeRequest } = await import('../x509/request.ts');
      const { signerFor } = await import('../x509/signer.ts');
      const subject = parseDistinguishedName(options.subject ?? '');
      const profile = await profileOf(options, subject);
      const signer = await signerFor(await connectTo(options), options.key, options.algorithm);
      const request = await makeRequest(subject, profile, signer);
      await writeWhole(options.out, options.der ? request : pem(request, 'CERTIFICATE REQUEST'));
    });
}
