/** `drawbridge init`: a commented configuration, a token, the data folder and its service key. */

import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { type NewTokenKind, newTokenKinds } from '../../daemon/token-kinds.ts';
import { usualConfiguration } from '../requests/command-options.ts';
import { UsageError } from '../terminal/cli-error.ts';
import { print } from '../terminal/output.ts';

interface Options {
  readonly config: string;
  readonly dir?: string;
  readonly token?: NewTokenKind;
  readonly profile?: string;
  readonly library?: string;
  readonly libraryParameters?: string;
  readonly tokenLabel?: string;
  readonly pinFile?: string;
  readonly socket: string;
  readonly region: string;
  readonly account: string;
  readonly toJoin?: true;
}

export function initCommand(): Command {
  return new Command('init')
    .description('write a configuration and initialise a token')
    .option('--config <file>', 'the configuration to write', usualConfiguration)
    .option('--dir <folder>', 'for token, PIN, metadata and audit log; without it, /var/lib/drawbridge')
    .addOption(
      new Option(
        '--token <kind>',
        'make a new software token; softhsm2 if neither this nor --profile is given',
      ).choices(newTokenKinds),
    )
    .option('--profile <name>', 'with --token-label: the vendor profile, by name or path')
    .option('--token-label <label>', 'use this token, which is initialised already, or name the new one')
    .option('--pin-file <file>', "with --profile: the file with the existing token's PIN (mode 0600)")
    .option('--library <file>', 'with --profile: the PKCS#11 library, if not where the profile looks')
    .option('--library-parameters <text>', 'with --profile: for C_Initialize')
    .option('--socket <path>', 'where the daemon will listen', '/run/drawbridge/kms.sock')
    .option('--region <name>', 'the AWS Region in ARNs', 'us-east-1')
    .option('--account <id>', 'the account id in ARNs, 12 digits', '000000000000')
    .option('--to-join', 'make no keys: the HSM gets those of another one, whose domain it joins (see `domain invite`)')
    .addHelpText(
      'after',
      `
Nothing that exists is overwritten. A new token gets a random PIN, in a file that only you can read; SoftHSM2's security officer gets one
of his own, in \`token/so-pin\`.

Examples:
  drawbridge init --token softhsm2
  drawbridge init --token softhsm2 --config ./drawbridge.yaml --dir ./state --socket ./kms.sock
  drawbridge init --profile ./my-hsm.yaml --token-label prod --pin-file /etc/drawbridge/pin
  drawbridge init --token softhsm2 --to-join   on another machine, where a backup is to be restored`,
    )
    .action(init);
}

async function init(options: Options): Promise<void> {
  if (options.token !== undefined && options.profile !== undefined) {
    throw new UsageError('--token makes a new token and --profile uses an existing one; give one of them');
  }
  const { assertAbsent, createInstance, createInstanceWithToken, createLog, securityOfficerPinFile, stopSignal } =
    await import('../../daemon/index.ts');
  // The first signal to stop does not leave a half behind: this is finished, or undone, in a few seconds.
  void stopSignal();
  const config = resolve(options.config);
  const dir = resolve(options.dir ?? '/var/lib/drawbridge');
  await assertAbsent(config);
  const root = [...new Set([0, process.getuid?.() ?? 0])];
  const socket = { path: resolve(options.socket), mode: '0660' };
  const { region, account, profile } = options;
  const choices = { region, account, dataDir: join(dir, 'data'), socket, root };
  const log = createLog('warn');
  const kind = options.toJoin === true ? 'newcomer' : 'instance';
  const keyStore =
    profile === undefined
      ? await createInstanceWithToken(config, newToken(options, dir), choices, process.env, log, kind)
      : await createInstance(config, { ...choices, keyStore: existingToken(options, profile) }, process.env, log, kind);
  await keyStore.close();
  const officer =
    profile === undefined && newToken(options, dir).kind === 'softhsm2'
      ? `\nthe PIN of the token's security officer is in \`${join(dir, 'token', securityOfficerPinFile)}\`: nothing needs it but \`--so-pin-file\` of ` +
        '`drawbridge domain`, so keep it elsewhere'
      : '';
  const next = options.toJoin === true ? 'domain join INVITATION --out REQUEST' : 'serve';
  print(
    `wrote \`${config}\`; the data folder is \`${choices.dataDir}\`${officer}\nnext: drawbridge ${next} --config ${config}`,
  );
}

function newToken({ token: kind = 'softhsm2', tokenLabel: label = 'drawbridge', pinFile }: Options, dir: string) {
  if (pinFile !== undefined) throw new UsageError('--pin-file is for an existing token; a new one gets a random PIN');
  if (!/^[\x20-\x7e]{1,32}$/.test(label)) throw new UsageError('a token label has 1 to 32 ASCII characters');
  return { kind, folder: join(dir, 'token'), label, pinFile: join(dir, 'pin') };
}

function existingToken(options: Options, profile: string) {
  const { tokenLabel, pinFile, library, libraryParameters } = options;
  if (tokenLabel === undefined || pinFile === undefined) {
    throw new UsageError('--profile needs --token-label and --pin-file');
  }
  const { SOFTHSM2_CONF } = process.env;
  return {
    profile: profile.includes('/') ? resolve(profile) : profile,
    token: { label: tokenLabel },
    pinFile: resolve(pinFile),
    environment: SOFTHSM2_CONF === undefined ? {} : { SOFTHSM2_CONF },
    ...(library === undefined ? {} : { library: resolve(library) }),
    ...(libraryParameters === undefined ? {} : { libraryParameters }),
  };
}
