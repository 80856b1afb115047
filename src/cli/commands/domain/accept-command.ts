/** `drawbridge domain accept`: gives the keys of a domain to an HSM whose fingerprint somebody has compared. */

import { Command } from 'commander';
import type { JoinRequest } from '../../../keys/domain/invitation.ts';
import {
  connectTo,
  readTrustedConfiguration,
  type SocketOptions,
  usualConfiguration,
  withJson,
  withSocket,
} from '../../requests/command-options.ts';
import { UsageError } from '../../terminal/cli-error.ts';
import { facts, note, print, printJson } from '../../terminal/output.ts';
import { ask, canAsk } from '../../terminal/questions.ts';
import { joinChoices } from './chosen-key-store.ts';
import { openDomainFile, readDomainFile } from './domain-files.ts';
import { withSecurityOfficer } from './security-officer.ts';

type Options = SocketOptions & {
  readonly out: string;
  readonly fingerprint?: string;
  readonly soPinFile?: string;
  readonly member?: string;
  readonly json?: true;
};

export function acceptCommand(): Command {
  return withJson(withSocket(new Command('accept').description('give the keys of the domain to an HSM that asks')))
    .argument('<request>', 'the file that `drawbridge domain join` wrote')
    .requiredOption('--out <file>', 'where the response goes')
    .option('--fingerprint <text>', 'as `drawbridge domain join` printed it; asked for at a terminal if not given')
    .option('--so-pin-file <file>', "with the security officer's PIN (mode 0600), where the token wants his trust")
    .option(
      '--member <name>',
      'with --so-pin-file, of a key store of several members: whose PIN it is; the first if not given',
    )
    .addHelpText(
      'after',
      `
The fingerprint is the one thing that says whose public key it is: have it read to you from where it was printed. If it is not that of the
request, nothing is given away. The keys leave the HSM wrapped under that public key, so nobody but the other HSM can unwrap them.
Some tokens (SoftHSM2) let their keys out under a public key alone that their security officer trusts. Then --so-pin-file, with --config, has
him trust this one; it is trusted until the keys are wrapped. The daemon never sees his PIN, and nothing tries it twice.
Only the account's root may accept; it is on record. It can be repeated.

Examples:
  drawbridge domain accept request --out response
  drawbridge domain accept request --out response --so-pin-file /media/officer/so-pin --fingerprint 'abcd efgh …'`,
    )
    .action(accept);
}

async function accept(path: string, options: Options): Promise<void> {
  const daemon = await import('../../../daemon/index.ts');
  const request = await readDomainFile(path);
  if (!daemon.isRequest(request))
    throw new UsageError(`\`${path}\` is no request, which \`drawbridge domain join\` writes`);
  const { invitation, token } = request;
  const fingerprint = options.fingerprint ?? (await askFor(token));
  if (!daemon.isFingerprint(fingerprint, daemon.requestFingerprint(request)))
    throw new Error(
      `that is not the fingerprint of \`${path}\`: it was changed on its way, or it is another request; nothing was given away`,
    );
  const client = await connectTo(options);
  const output = await openDomainFile(options.out);
  try {
    const asked = { request: daemon.domainFileText(request), fingerprint };
    const accepted = () => client.post(`/domains/${encodeURIComponent(invitation.keyStore)}/accept`, asked);
    const done = await (options.soPinFile === undefined
      ? accepted()
      : whileTrusted(request, options.soPinFile, options, accepted));
    const { response, ...told } = done;
    await output.write(String(response));
    if (options.json) return printJson({ keyStore: invitation.keyStore, ...told, path: options.out });
    print(
      facts([
        ['wrote', options.out],
        ['for', `the token ${token.label}, serial ${token.serial}`],
        ['keys', (done['keys'] as string[]).length],
      ]),
    );
    note(
      `next, beside that HSM: drawbridge domain join ${options.out}${await joinChoices(client, invitation.keyStore)}`,
    );
  } catch (error) {
    await output.abandon();
    throw error;
  }
}

async function askFor({ label, serial }: { readonly label: string; readonly serial: string }): Promise<string> {
  if (!canAsk())
    throw new UsageError('nobody can be asked here; give --fingerprint as `drawbridge domain join` printed it');
  note(`the token \`${label}\`, serial ${serial}, asks for the keys of this domain`);
  return await ask('fingerprint that `drawbridge domain join` printed beside it: ');
}

/** The public key is the one whose fingerprint was compared, whatever the daemon says. */
async function whileTrusted<Result>(
  request: JoinRequest,
  soPinFile: string,
  { config, member }: Options,
  work: () => Promise<Result>,
): Promise<Result> {
  const daemon = await import('../../../daemon/index.ts');
  const { publicKey, invitation } = request;
  const configuration = await readTrustedConfiguration(config ?? usualConfiguration);
  const token = { configuration, keyStore: invitation.keyStore, member };
  return withSecurityOfficer(token, soPinFile, async (officer) => {
    await officer.trust([{ backingKeyId: daemon.joiningKeyId(invitation), publicKey }]);
    return work();
  });
}
