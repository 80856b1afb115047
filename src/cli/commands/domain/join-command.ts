/** `drawbridge domain join`: an HSM that nobody uses yet asks for the keys of a domain, and takes them in. */

import { Command } from 'commander';
import type { Configuration } from '../../../config/configuration-schema.ts';
import { readTrustedConfiguration, withConfig, withJson } from '../../requests/command-options.ts';
import { asOwnerOf, becomeOwnerOf } from '../../requests/owners-work.ts';
import { UsageError } from '../../terminal/cli-error.ts';
import { facts, note, print, printJson } from '../../terminal/output.ts';
import { onlyOf } from './chosen-key-store.ts';
import { openDomainFile, readDomainFile } from './domain-files.ts';

interface Options {
  readonly config: string;
  readonly keyStore?: string;
  readonly member?: string;
  readonly out?: string;
  readonly json?: true;
}

export function joinCommand(): Command {
  return withJson(withConfig(new Command('join').description('have the HSM of a configuration join a domain')))
    .argument('<file>', 'the invitation; and later the response')
    .option('--key-store <name>', 'whose token joins; the only one if not given')
    .option('--member <name>', 'of a key store of several members: which of them joins')
    .option('--out <file>', 'with an invitation: where the request goes')
    .addHelpText(
      'after',
      `
With an invitation it makes an RSA pair in the HSM, writes the request, and prints the fingerprint of both, which somebody has to compare
when the request is accepted: read it here, and type it there. With the response it unwraps the keys in the HSM and holds each to what the invitation
says that it does; then the pair is gone, and the response of no use to anybody. It logs in to the token of the configuration itself; a
daemon need not run. A key store that is not the one of the service keys asks for the domain keys alone, to use what is wrapped under them.
What was interrupted can be repeated with the same file. \`drawbridge domain invite --help\` tells the whole way.

Examples:
  drawbridge domain join invitation --out request
  drawbridge domain join invitation --out request --key-store default --member second
  drawbridge domain join response`,
    )
    .action(join);
}

/** As they have to be given to the next command, where they are not the only ones. */
function choicesOf({
  configuration: { keyStores },
  keyStore,
  member,
}: {
  readonly configuration: Pick<Configuration, 'keyStores'>;
  readonly keyStore: string;
  readonly member: string | undefined;
}): string {
  const isOnly = keyStores.size === 1;
  return `${isOnly ? '' : ` --key-store ${keyStore}`}${member === undefined ? '' : ` --member ${member}`}`;
}

async function join(path: string, { config, keyStore: named, member, out, json }: Options): Promise<void> {
  const daemon = await import('../../../daemon/index.ts');
  const configuration = await readTrustedConfiguration(config);
  const keyStore = named ?? onlyOf([...configuration.keyStores.keys()], '--key-store');
  const members = configuration.keyStores.get(keyStore)?.members ?? [];
  if (member === undefined && members.length > 1)
    throw new UsageError(`--member says which one joins: ${members.map(({ name }) => name).join(', ')}`);
  const file = await readDomainFile(path);
  const log = daemon.createLog('error', configuration.budgets.log);
  const token = { configuration, environment: process.env, keyStore, member, log };
  // Records are verified, and secrets opened, in one key store alone.
  const only = keyStore === configuration.serviceKeyStore ? undefined : 'domain keys';
  if (daemon.isInvitation(file)) {
    if (out === undefined) throw new UsageError('with an invitation, --out says where the request goes');
    const output = await openDomainFile(out);
    try {
      const request = await asOwnerOf(configuration, async () => {
        await daemon.assertPathsAreOurs(configuration);
        return daemon.withConfiguredToken(token, (newcomer) => daemon.beginJoining(newcomer, file, only));
      });
      await output.write(daemon.domainFileText(request));
      const fingerprint = daemon.requestFingerprint(request);
      if (json) return printJson({ keyStore, token: request.token, fingerprint, path: out });
      print(
        facts([
          ['wrote', out],
          ['token', `${request.token.label}, serial ${request.token.serial}`],
          ['fingerprint', fingerprint],
        ]),
      );
      note(`next, beside the daemon that has invited: drawbridge domain accept ${out} --out FILE`);
      note(`then, here: drawbridge domain join FILE${choicesOf(token)}`);
      return;
    } catch (error) {
      await output.abandon();
      throw error;
    }
  }
  if (!daemon.isResponse(file))
    throw new UsageError(
      `\`${path}\` is a request, which \`drawbridge domain accept\` takes where the invitation was made`,
    );
  if (out !== undefined) throw new UsageError('--out is for an invitation; a response leaves its keys in the HSM');
  await becomeOwnerOf(configuration);
  const { label, serial } = await daemon.withConfiguredToken(token, async (newcomer) => {
    await daemon.finishJoining(newcomer, file, only);
    return newcomer.capabilities().token;
  });
  const keys = daemon
    .askedFor(file.invitation.keys, only)
    .map(({ backingKeyId, label: of }) => ({ backingKeyId, label: of }));
  if (json) return printJson({ keyStore, token: { label, serial }, keys });
  print(
    `the token \`${label}\`, serial ${serial}, has joined the domain: it has ${keys.length === 1 ? 'the only key' : `all ${keys.length} keys`}`,
  );
  if (members.length > 1) note(`next, if a daemon runs here: drawbridge reconnect ${keyStore} ${member}`);
  else if (configuration.keyStores.size > 1) note(`next, if a daemon runs here: drawbridge reconnect ${keyStore}`);
}
